//! The shapes in which people publish user-data for Nomad. Each works as it is, or is refused with words that say what to
//! do instead. The files are our own; what they ask for is what public ones ask for.

use std::{fs, path::Path};

use agent::{
    facts::Role,
    node::{
        seed::Metadata,
        userdata::{Finding, Plan, Verdict},
    },
};

fn plan(name: &str, role: Role) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes").join(name);
    Plan::from_user_data(&fs::read(path).unwrap(), &Metadata::default(), role)
}

fn refusals(plan: &Plan) -> Vec<String> {
    plan.refused().map(ToString::to_string).collect()
}

#[test]
fn these_work_unchanged() {
    for (name, role) in [
        ("a-files-and-service.yaml", Role::Server),
        ("b-own-unit.yaml", Role::Client),
        ("c-packages.yaml", Role::Server),
        ("d-address-by-sed.yaml", Role::Client),
        ("d-address-by-metadata.yaml", Role::Server),
        ("e-install-by-hand.yaml", Role::Server),
        ("h-proxmox.yaml", Role::Client),
        ("i-json-elsewhere.yaml", Role::Client),
    ] {
        let plan = plan(name, role);
        assert_eq!(refusals(&plan), [""; 0], "{name}");
        assert_eq!((plan.nomad.server, plan.nomad.client), (role == Role::Server, role == Role::Client), "{name}");
    }
}

/// Each with the place and the words of the first refusal.
#[test]
fn these_are_refused_with_the_way_out() {
    for (name, role, place, words) in [
        ("e-installer.yaml", Role::Server, "user-data:8:5: runcmd[0]", "there is no shell in this image"),
        ("e-acl-bootstrap.yaml", Role::Server, "user-data:16:5: runcmd[1]", "what Nomad needs goes into write_files"),
        ("f-script.sh", Role::Server, "user-data:1:1", "builder convert"),
        ("g-ignition.json", Role::Server, "user-data:1:1", "an Ignition configuration"),
    ] {
        let refused = refusals(&plan(name, role));
        let first = refused.first().unwrap_or_else(|| panic!("{name} is not refused"));
        assert!(first.starts_with(&format!("refused: {place}")) && first.contains(words), "{name}: {refused:?}");
        assert_eq!(refused.len(), 1, "{name}: {refused:?}");
    }
}

#[test]
fn of_two_lists_the_last_counts_and_it_is_said() {
    let plan = plan("j-two-lists.yaml", Role::Server);
    let twice = |finding: &&Finding| finding.message.contains("stands twice");
    let finding = plan.findings.iter().find(twice).expect("the key that stands twice is named");
    assert_eq!((finding.verdict, finding.key.as_str()), (Verdict::Ignored, "runcmd"));
}

#[test]
fn what_the_address_is_put_into_is_seen_before() {
    let files = plan("d-address-by-sed.yaml", Role::Client).nomad_files();
    let text = String::from_utf8(files[0].1.clone()).unwrap();
    assert!(!text.contains("LOCAL_IP") && text.matches("192.0.2.1").count() == 4, "{text}");
}

#[test]
fn a_unit_names_where_the_configuration_is() {
    let plan = plan("i-json-elsewhere.yaml", Role::Client);
    assert_eq!(plan.launch.config, ["/opt/nomad/config.d"]);
    assert!(plan.launch.environment_files.contains(&"/opt/nomad/nomad.env".to_owned()));
    assert_eq!(plan.nomad.servers, ["10.0.1.1"]);
}
