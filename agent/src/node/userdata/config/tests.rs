use super::*;
use crate::{
    facts::Role,
    node::{
        seed::Metadata,
        userdata::{Include, Plan},
    },
};

fn seed(user_data: &str, vendor_data: &[&str]) -> Seed {
    Seed {
        user_data: user_data.into(),
        vendor_data: vendor_data.iter().map(|text| text.as_bytes().to_vec()).collect(),
        metadata: Metadata { launch_index: Some(0), ..Metadata::default() },
        ..Seed::default()
    }
}

fn plan(user_data: &str, vendor_data: &[&str]) -> (Plan, Vec<String>) {
    let mut fetch = |_: Include<'_>| Err("not fetched here".to_owned());
    let plan = Plan::from_seed(&seed(user_data, vendor_data), Role::Server, &mut fetch);
    let findings = plan.findings.iter().map(ToString::to_string).collect();
    (plan, findings)
}

fn parts(parts: &[&str]) -> String {
    let mut text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n".to_owned();
    for (n, part) in parts.iter().enumerate() {
        text += &format!("--o\nContent-Type: text/cloud-config; name={n}.yaml\n{part}\n");
    }
    text + "--o--\n"
}

const SERVER: &str = "write_files:\n- path: /etc/nomad.d/a.hcl\n  content: server { enabled = true }\n";

fn paths(plan: &Plan) -> Vec<&str> {
    plan.files.iter().map(|file| file.path.rsplit('/').next().unwrap()).collect()
}

#[test]
fn a_later_part_replaces_a_list_and_that_is_said() {
    let text = parts(&[
        &format!("\n{SERVER}"),
        "\nwrite_files:\n- path: /etc/nomad.d/b.hcl\n  content: server { enabled = true }",
    ]);
    let (plan, findings) = plan(&text, &[]);
    assert_eq!(paths(&plan), ["b.hcl"]);
    assert_eq!(plan.refused().count(), 0, "{findings:?}");
    let warning = findings.iter().find(|finding| finding.contains("replaces the whole list")).unwrap();
    assert!(
        warning.starts_with("ignored: user-data part 1 (0.yaml):1:1: write_files: user-data part 2 (1.yaml) replaces"),
        "{warning}"
    );
    let applied = "applied: user-data part 2 (1.yaml):1:1: write_files: takes effect";
    assert!(findings.iter().any(|finding| finding == applied), "{findings:?}");
}

#[test]
fn a_part_names_how_it_joins_in_its_headers_or_its_body() {
    let second = "write_files:\n- path: /etc/b\n";
    for part in [
        format!("Merge-Type: list(append)+dict(recurse_list)\n\n{second}"),
        format!("X-Merge-Type: list(append)+dict(recurse_list)\n\n{second}"),
        format!("\nmerge_how: list(append)+dict(recurse_list)\n{second}"),
        format!(
            "\n{second}merge_type:\n- {{name: list, settings: [append]}}\n- {{name: dict, settings: [recurse_array]}}\n"
        ),
        // What the body names counts before what the headers name.
        format!("Merge-Type: list(prepend)+dict(replace)\n\nmerge_how: list(append)+dict(recurse_list)\n{second}"),
    ] {
        let (plan, findings) = plan(&parts(&[&format!("\n{SERVER}"), &part]), &[]);
        assert_eq!(paths(&plan), ["a.hcl", "b"], "{part}");
        assert!(!findings.iter().any(|finding| finding.contains("replaces the whole")), "{findings:?}");
        assert!(
            findings.iter().any(|f| f.starts_with("applied: user-data part 2 (1.yaml)") && f.contains("erge")),
            "{findings:?}"
        );
        assert_eq!(plan.refused().count(), 0, "{findings:?}");
    }
}

#[test]
fn a_merger_that_is_none_is_refused_where_it_stands() {
    for (part, want) in [
        (
            "\nhostname: b\nmerge_how: append\n",
            "refused: user-data part 2 (1.yaml):2:1: merge_how: \"append\" is no merger",
        ),
        (
            "Merge-Type: tuple()\n\nhostname: b\n",
            "refused: user-data part 2 (1.yaml):1:1: Merge-Type: \"tuple\" is no merger",
        ),
        ("\nmerge_how: list(append)\nhostname: b\n", "part 2 (1.yaml):1:1: merge_how: names no merger for maps"),
    ] {
        let (plan, findings) = plan(&parts(&["\nhostname: a\n", part]), &[]);
        assert!(findings.iter().any(|finding| finding.contains(want)), "{want}: {findings:?}");
        assert_eq!(plan.hostname.as_deref(), Some("a"));
    }
    assert!(
        plan("#cloud-config\nmerge_how: dict()\n", &[])
            .1
            .iter()
            .any(|f| f.contains("2:1: merge_how: no part stands before"))
    );
}

#[test]
fn findings_name_part_line_and_column() {
    let text =
        parts(&["\n# a\nhostname: a\nhostname: b\n", "\n\nchef: {}\n", "\na: [\n", "\n- x\n", &format!("\n{SERVER}")]);
    let (_, findings) = plan(&text, &[]);
    for want in [
        "ignored: user-data part 1 (0.yaml):3:1: hostname: stands twice",
        "refused: user-data part 2 (1.yaml):2:1: chef:",
        "refused: user-data part 3 (2.yaml):",
        "refused: user-data part 4 (3.yaml):1:1: a #cloud-config must be a map",
    ] {
        assert!(findings.iter().any(|finding| finding.starts_with(want)), "{want}: {findings:#?}");
    }
}

#[test]
fn a_plain_payload_keeps_its_plain_places() {
    let (plan, findings) = plan(&format!("#cloud-config\nchef: {{}}\n{SERVER}"), &["#cloud-config\nchefs: {}\n"]);
    assert!(findings.iter().any(|f| f.starts_with("refused: user-data:2:1: chef:")), "{findings:?}");
    assert!(findings.iter().any(|f| f.starts_with("ignored: vendor-data:2:1: chefs: unknown key")), "{findings:?}");
    assert_eq!((plan.files[0].at.line, plan.files[0].part.as_deref()), (5, None));
}

#[test]
fn launch_index_in_the_body_counts_unless_a_header_does() {
    let text = parts(&[
        "\nlaunch-index: 1\nhostname: b\n",
        "Launch-Index: 0\n\nlaunch-index: 1\nfqdn: c.d\n",
        "\nlaunch-index: x\n",
    ]);
    let (plan, findings) = plan(&text, &[]);
    assert_eq!((plan.hostname.as_deref(), plan.fqdn.as_deref()), (Some("c"), Some("c.d")));
    assert!(
        findings.iter().any(|f| f.starts_with("ignored: user-data part 1 (0.yaml):1:15: is for the machine")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|f| f.contains("part 3 (2.yaml):1:15: launch-index: launch-index must be")),
        "{findings:?}"
    );
}

#[test]
fn the_user_wins_over_the_vendor_and_the_later_vendor_over_the_earlier() {
    let vendors =
        ["#cloud-config\nhostname: v\nfqdn: v.v\nntp: {enabled: false, servers: [a]}\n", "#cloud-config\nfqdn: v.w\n"];
    let (plan, findings) = plan(&format!("#cloud-config\nhostname: u\nntp: {{servers: [b]}}\n{SERVER}"), &vendors);
    assert_eq!((plan.hostname.as_deref(), plan.fqdn.as_deref()), (Some("u"), Some("v.w")));
    // Maps are joined, lists are not.
    assert_eq!((plan.ntp.enabled, plan.ntp.servers), (false, vec!["b".to_owned()]));
    assert!(findings.iter().any(|f| f == "applied: vendor-data2:2:1: fqdn: takes effect"), "{findings:?}");
}

#[test]
fn vendor_data_can_be_switched_off_each_alone() {
    let vendors = ["#cloud-config\nhostname: v\n", "#cloud-config\nfqdn: v.w\n"];
    for (key, names) in [
        ("vendor_data: {enabled: false}", (Some("v"), Some("v.w"))),
        ("vendor_data2: {enabled: no}", (Some("v"), None)),
        ("vendor_data2: false", (Some("v"), None)),
        ("vendor_data: {prefix: [a]}", (Some("v"), Some("v.w"))),
    ] {
        let (plan, findings) = plan(&format!("#cloud-config\n{key}\n{SERVER}"), &vendors);
        assert_eq!((plan.hostname.as_deref(), plan.fqdn.as_deref()), names, "{key}");
        let off = findings.iter().any(|finding| finding.contains("switched off by vendor_data"));
        assert_eq!(off, !key.contains("prefix"), "{findings:?}");
        assert_eq!(plan.refused().count(), 0, "{findings:?}");
    }
    let (plan, _) = plan(&format!("#cloud-config\nvendor_data: {{enabled: false}}\n{SERVER}"), &vendors[..1]);
    assert_eq!(plan.hostname, None);
}

#[test]
fn the_vendor_never_keeps_a_node_from_starting() {
    let vendors =
        [parts(&["\nruncmd: [rm -rf /]\n", "\n- x\n"]).replacen("text/cloud-config", "text/x-shellscript", 1)];
    for vendor in [vendors[0].as_str(), "#!/bin/sh\n", "#include http://h/a\n", "garbage", "#cloud-config\n["] {
        let (plan, findings) = plan(&format!("#cloud-config\n{SERVER}"), &[vendor]);
        assert_eq!(plan.refused().count(), 0, "{vendor}: {findings:?}");
        assert!(findings.iter().any(|finding| finding.starts_with("ignored: vendor-data")), "{findings:?}");
    }
    let role = "#cloud-config\nwrite_files: [{path: /etc/nomad.d/c.hcl, content: 'client { enabled = true }'}]\n";
    assert!(plan("", &[role]).0.refused().any(|finding| finding.role));
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let config = assemble(&seed("#cloud-config\na: hunter2\n", &[]), &mut |_| Err("no".into()));
    assert!(config.root().is_some());
    assert!(!format!("{:?}", config.notes).contains("hunter2"));
}
