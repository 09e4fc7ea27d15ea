//! From a seed to a Nomad that runs, and what stands in the way.

use super::*;

#[test]
fn from_a_seed_to_ready() {
    let nomad = healthy_server();
    let (seed, _) = seed(&user_data(nomad.address().port()));
    let machine = Machine::new();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.raft_multiplier=5", seed.address()));
    let status = machine.until(|status| status.awaits.is_some());
    assert!(status.awaits.unwrap().starts_with("an address, to ask http://"), "it says what it awaits");
    machine.give_lease();

    let phase = |name: &str| Message::Phase(name.into());
    let before: Vec<Message> =
        ["datasource", "plan", "files", "time"].into_iter().map(phase).chain([start()]).collect();
    assert_eq!(machine.messages_until(&start()), before);
    machine.messages_until(&Message::Ready);

    assert!(machine.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect = 1"));
    assert_eq!(machine.read("/etc/hostname"), "server-vm-0\n");
    assert_eq!(machine.read("/etc/hosts"), "127.0.0.1 localhost\n10.0.5.10 server-vm-0\n");
    let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
    assert_eq!((&config["name"], &config["advertise"]["rpc"]), (&"server-vm-0".into(), &"10.0.5.10".into()));
    assert_eq!(config["server"]["raft_multiplier"], 5);
    let unit: UnitSpec = serde_json::from_str(&machine.read("/run/steppe/units/nomad.json")).unwrap();
    assert_eq!(unit.argv[1], "agent");
    assert!(machine.root.path().join("var/lib/nomad").is_dir());
    let status = machine.until(|status| status.ready_at_ms.is_some());
    assert!(status.healthy && status.leader.as_deref() == Some("10.0.5.10:4647") && status.awaits.is_none());
    assert_eq!(status.instance_id.as_deref(), Some("i-1"));
    assert!(!machine.read(paths::PLAN).contains("bootstrap_expect = 1"), "the plan shows no content");
    for path in [paths::PLAN, paths::NODE_STATUS, "/run/steppe/units/nomad.json"] {
        let mode = fs::metadata(below(machine.root.path(), path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{path} is for root only");
    }
}

#[test]
fn broken_user_data_says_where_and_a_fixed_seed_heals_it() {
    let nomad = healthy_server();
    let (seed, text) = seed("#cloud-config\nhostname: a\nwrite_files: [\n");
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(status.findings[0].starts_with("refused: user-data:"), "{:?}", status.findings);
    assert!(!below(machine.root.path(), "/run/steppe/units/nomad.json").exists());
    *text.lock().unwrap() = user_data(nomad.address().port());
    machine.messages_until(&Message::Ready);
}

#[test]
fn a_mistake_on_a_spare_link_is_said_and_one_on_the_only_link_keeps_nomad_from_starting() {
    let nomad = healthy_server();
    let text = user_data(nomad.address().port());
    let boot = |network: &'static str, cmdline: &str| {
        let text = text.clone();
        let seed = serve(move |path| match path {
            "/user-data" => (200, text.clone()),
            "/meta-data" => (200, "instance-id: i-1\n".into()),
            "/network-config" => (200, network.into()),
            _ => (404, String::new()),
        });
        let machine = Machine::new();
        machine.give_lease();
        machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ {cmdline}", seed.address()));
        (machine, seed)
    };
    let (spare, _seed) = boot("version: 2\nethernets: {eth0: {dhcp4: true}, eth1: {dhcp4: true, mtu: 9}}", "");
    spare.messages_until(&Message::Ready);
    let finding = &spare.status().findings[0];
    assert!(finding.starts_with("ignored: network-config:2:59: ethernets.eth1.mtu: "), "{finding}");

    let broken = "version: 2\nethernets: {eth0: {dhcp5: true}}";
    let (only, _seed) = boot(broken, "");
    let status = only.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    let want = "refused: network-config:2:20: ethernets.eth0.dhcp5: unknown key; did you mean dhcp4?";
    assert!(status.findings.iter().any(|finding| finding == want), "{status:?}");

    // The command line is the way out.
    let (saved, _seed) = boot(broken, "ip=dhcp");
    saved.messages_until(&Message::Ready);
}

#[test]
fn the_roles_promise_is_kept_even_when_the_user_goes_on() {
    let (seed, _) =
        seed("#cloud-config\nwrite_files:\n- path: /etc/nomad.d/a.hcl\n  content: 'client { enabled = true }'\n");
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(status.findings[0].contains("/etc/nomad.d/a.hcl:1:1: client { enabled = true } in a server image"));
}

#[test]
fn going_on_leaves_out_what_was_refused() {
    let nomad = healthy_server();
    let (seed, _) = seed(&(user_data(nomad.address().port()) + "runcmd: ['curl x | sh']\n"));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    machine.messages_until(&Message::Ready);
    assert!(machine.status().findings[0].contains("runcmd[0]"));
}

/// A disk that is full for a while must not need new user-data.
#[test]
fn what_could_not_be_written_is_tried_again() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let machine = Machine::with_uuid(HERE);
    let dir = below(machine.root.path(), "/etc/nomad.d");
    fs::remove_dir(&dir).unwrap();
    fs::write(&dir, "in the way").unwrap();
    machine.boot(Role::Server, &line(&seed));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    fs::remove_file(&dir).unwrap();
    machine.messages_until(&Message::Ready);
}
