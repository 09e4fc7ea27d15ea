//! Who the machine is: the same one, another one, a copy; and metadata that is not there or changes.

use super::*;

const NONE: Patience = Patience { media: [Duration::ZERO; 2], network: Duration::ZERO };

/// A copied disk of a server, in another machine, and what it is told.
struct Copied {
    machine: Machine,
    seed: Cloud,
}

fn copied_server() -> (Copied, Server, Server) {
    let nomad = healthy_server();
    let (cloud, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let original = Machine::with_uuid(HERE);
    original.boot(Role::Server, &line(&seed));
    original.messages_until(&Message::Ready);
    original.write_data(NODE_ID);
    original.write_data("server/raft/raft.db");
    cloud.set(|c| c.1 = "i-2".into());
    (Copied { machine: original.next(ELSEWHERE), seed: cloud }, seed, nomad)
}

fn cloned_server() -> (Machine, Server, Server) {
    let (copied, seed, nomad) = copied_server();
    (copied.machine, seed, nomad)
}

/// Another id on the same machine is no reason to forget anything.
#[test]
fn a_changed_id_on_the_same_machine_writes_files_anew_and_keeps_nomads_data() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let first = Machine::with_uuid(HERE);
    first.boot(Role::Server, &line(&seed));
    first.messages_until(&Message::Ready);
    first.write_data(NODE_ID);

    cloud.set(|c| (c.1, c.2) = ("i-2".into(), user_data(port).replace("server-vm-0", "renamed")));
    let second = first.next(HERE);
    second.boot(Role::Server, &line(&seed));
    second.messages_until(&Message::Ready);
    assert_eq!(second.read("/etc/hostname"), "renamed\n");
    assert!(second.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect"));
    assert!(second.has_data(NODE_ID) && !second.has_data("set-aside"));
    assert!(second.read("/state/steppe/identity.json").contains("i-2"));
}

/// The same machine, the same id, as at every ordinary boot; and the same id on other hardware.
#[test]
fn the_same_id_keeps_everything_even_on_other_hardware() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let mut machine = Machine::with_uuid(HERE);
    for uuid in [HERE, ELSEWHERE, ELSEWHERE] {
        machine.boot(Role::Server, &line(&seed));
        machine.messages_until(&Message::Ready);
        machine.write_data(NODE_ID);
        machine = machine.next(uuid);
    }
    assert!(machine.has_data(NODE_ID) && !machine.has_data("set-aside"));
}

/// Without the guard, two servers would have one raft id.
#[test]
fn a_cloned_server_is_held_until_a_person_decides_and_then_set_aside() {
    let (clone, seed, _nomad) = cloned_server();
    clone.boot(Role::Server, &line(&seed));
    let status = clone.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("steppe.clone=reset")));
    assert!(!status.healthy && !clone.starts_soon());
    assert!(clone.has_data(NODE_ID) && !clone.has_data("set-aside"), "nothing is touched");

    let undecided = clone.next(ELSEWHERE);
    undecided.boot(Role::Server, &line(&seed));
    undecided.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("steppe.clone=reset")));

    let decided = undecided.next(ELSEWHERE);
    decided.boot(Role::Server, &(line(&seed) + " steppe.clone=reset"));
    decided.messages_until(&Message::Ready);
    assert!(decided.finding("clone: ").contains("set-aside/"));
    assert!(!decided.has_data("server"));
    let aside = fs::read_dir(decided.root.path().join("var/lib/nomad/set-aside")).unwrap().next().unwrap().unwrap();
    assert!(aside.path().join(NODE_ID).exists() && aside.path().join("server/raft/raft.db").exists());

    // The decision holds: the machine is now its own.
    decided.write_data(NODE_ID);
    let later = decided.next(ELSEWHERE);
    later.boot(Role::Server, &line(&seed));
    later.messages_until(&Message::Ready);
    assert!(later.has_data(NODE_ID));
}

#[test]
fn a_cloned_server_may_be_kept() {
    let (clone, seed, _nomad) = cloned_server();
    clone.boot(Role::Server, &(line(&seed) + " steppe.clone=keep"));
    clone.messages_until(&Message::Ready);
    assert!(clone.has_data(NODE_ID) && !clone.has_data("set-aside"));
}

/// For clouds whose users have no access to the kernel's command line. The key may stay: it counts once for an instance id.
#[test]
fn the_user_data_settles_a_copy_once() {
    let (cloud, seed, nomad) = copied_server();
    let held = cloud.machine;
    held.boot(Role::Server, &line(&seed));
    held.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("`steppe: {clone: ...}`")));

    // A changed user-data is enough, without a reboot.
    let decided = user_data(nomad.address().port()).replacen('\n', "\nsteppe: {clone: reset}\n", 1);
    cloud.seed.set(|c| c.2 = decided);
    held.messages_until(&Message::Ready);
    assert!(held.finding("clone: ").contains("set-aside/") && !held.has_data("server"));

    held.write_data(NODE_ID);
    let later = held.next(ELSEWHERE);
    later.boot(Role::Server, &line(&seed));
    later.messages_until(&Message::Ready);
    assert!(later.has_data(NODE_ID), "reset again for the same instance id");

    // A copy of the copy has an id of its own.
    cloud.seed.set(|c| c.1 = "i-3".into());
    let next = later.next(HERE);
    next.boot(Role::Server, &line(&seed));
    next.messages_until(&Message::Ready);
    assert!(!next.has_data(NODE_ID));
}

#[test]
fn the_command_line_wins_over_the_user_data_about_a_copy() {
    let (cloud, seed, nomad) = copied_server();
    let reset = user_data(nomad.address().port()).replacen('\n', "\nsteppe: {clone: reset}\n", 1);
    cloud.seed.set(|c| c.2 = reset);
    cloud.machine.boot(Role::Server, &(line(&seed) + " steppe.clone=keep"));
    cloud.machine.messages_until(&Message::Ready);
    assert!(cloud.machine.has_data(NODE_ID) && !cloud.machine.has_data("set-aside"));
}

/// A server whose directory is not below `data_dir` is as much of a copy.
#[test]
fn a_copy_is_seen_where_the_configuration_puts_its_server() {
    let nomad = healthy_server();
    let elsewhere =
        |dir: &str| user_data(nomad.address().port()).replace("server {", &format!("server {{ data_dir = \"{dir}\""));
    let (cloud, seed) = Cloud::new("i-1", &elsewhere("/var/raft"));
    let original = Machine::with_uuid(HERE);
    original.boot(Role::Server, &line(&seed));
    original.messages_until(&Message::Ready);
    let id = |machine: &Machine| machine.root.path().join("var/raft/node-id");
    fs::create_dir_all(id(&original).parent().unwrap()).unwrap();
    fs::write(id(&original), "x").unwrap();
    cloud.set(|c| c.1 = "i-2".into());
    let clone = original.next(ELSEWHERE);
    clone.boot(Role::Server, &line(&seed));
    clone.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("steppe.clone=reset")));
    let decided = clone.next(ELSEWHERE);
    decided.boot(Role::Server, &(line(&seed) + " steppe.clone=reset"));
    decided.messages_until(&Message::Ready);
    assert!(!id(&decided).exists() && decided.root.path().join("var/raft/set-aside").is_dir());
}

/// A fleet of clients is made from one disk: each becomes a node of its own.
#[test]
fn a_cloned_client_is_a_new_node() {
    let text = "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {\n      \
                enabled = true\n      servers = [\"127.0.0.1:1\"]\n    }\n    tls { http = true }\n";
    let (cloud, seed) = Cloud::new("i-1", text);
    let original = Machine::with_uuid(HERE);
    original.boot(Role::Client, &line(&seed));
    original.messages_until(&start());
    original.write_data("client/client-id");
    cloud.set(|c| c.1 = "i-2".into());
    let clone = original.next(ELSEWHERE);
    clone.boot(Role::Client, &line(&seed));
    clone.messages_until(&start());
    assert!(!clone.has_data("client") && clone.has_data("set-aside"));
}

/// What another machine remembers would make a second one of it.
#[test]
fn a_clone_without_metadata_does_not_use_what_is_remembered() {
    let (clone, _seed, _nomad) = cloned_server();
    clone.boot(Role::Server, "");
    let status = clone.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("another machine's")));
    assert!(status.instance_id.is_none() && !clone.starts_soon());
}

#[test]
fn without_metadata_at_the_first_boot_no_identity_is_made_up() {
    let machine = Machine { patience: NONE, ..Machine::with_uuid(HERE) };
    machine.boot(Role::Server, "");
    machine.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("a volume labelled cidata")));
    assert!(!machine.starts_soon());
    assert!(!below(machine.root.path(), "/state/steppe/identity.json").exists());
    assert_eq!((machine.status().instance_id, machine.status().hostname), (None, None));
}

/// Metadata that is down at a reboot and comes back later.
#[test]
fn stale_metadata_is_replaced_when_the_cloud_answers_again() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let first = Machine::with_uuid(HERE);
    first.boot(Role::Server, &line(&seed));
    first.messages_until(&Message::Ready);

    cloud.set(|c| c.0 = false);
    let second = Machine { patience: NONE, ..first.next(HERE) };
    second.boot(Role::Server, &line(&seed));
    second.messages_until(&Message::Ready);
    assert!(second.finding("stale-metadata: ").contains("an earlier boot"));

    cloud.set(|c| (c.0, c.2) = (true, user_data(port).replace("server-vm-0", "renamed")));
    second.shared.update(|view| view.devices += 1);
    let changed = second.finding("changed: ");
    assert!(changed.contains("the user-data (from nocloud") && changed.contains("started again"), "{changed}");
    assert!(!second.status().findings.iter().any(|finding| finding.starts_with("stale-metadata")));
    assert_eq!(second.read("/etc/hostname"), "server-vm-0\n", "a running node is not changed");

    cloud.set(|c| c.0 = false);
    let third = Machine { patience: NONE, ..second.next(HERE) };
    third.boot(Role::Server, &line(&seed));
    third.messages_until(&Message::Ready);
    assert_eq!(third.read("/etc/hostname"), "renamed\n", "what came back was remembered");
}

#[test]
fn changed_user_data_is_told_once_and_applied_at_the_next_boot() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let machine = Machine::with_uuid(HERE);
    machine.boot(Role::Server, &line(&seed));
    machine.messages_until(&Message::Ready);

    let good = user_data(port).replace("server-vm-0", "renamed");
    cloud.set(|c| c.2 = "#cloud-config\nhostname: [".into());
    machine.shared.update(|view| view.devices += 1);
    assert!(machine.finding("changed: ").contains("and it will be refused: user-data:"));
    cloud.set(|c| c.2.clone_from(&good));
    machine.shared.update(|view| view.devices += 1);
    machine.until(|status| status.findings.iter().any(|f| f.starts_with("changed: ") && !f.contains("refused")));
    assert!(machine.read("/state/steppe/last-good.json").len() > 10);
    assert_eq!(machine.read("/etc/hostname"), "server-vm-0\n");

    let next = machine.next(HERE);
    next.boot(Role::Server, &line(&seed));
    next.messages_until(&Message::Ready);
    assert_eq!(next.read("/etc/hostname"), "renamed\n");
    assert!(!next.status().findings.iter().any(|finding| finding.starts_with("changed")));
}

/// The second boot has no metadata at all (and a volume would have to appear in 2 s): the last good seed is used.
#[test]
fn without_metadata_the_last_good_seed_is_used_and_said_to_be_stale() {
    let nomad = healthy_server();
    let (seed, _) = seed(&user_data(nomad.address().port()));
    let first = Machine::new();
    first.give_lease();
    first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    first.messages_until(&Message::Ready);

    let second = Machine::new();
    fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
    second.give_lease();
    second.boot(Role::Server, "");
    second.messages_until(&Message::Ready);
    let status = second.status();
    assert!(status.findings.iter().any(|finding| finding.starts_with("stale-metadata")), "{:?}", status.findings);
    assert_eq!(second.read("/etc/hostname"), "server-vm-0\n");
}
