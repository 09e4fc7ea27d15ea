//! When Nomad is started, with which address, and what is proven of it.

use super::*;

/// Without the gate, Nomad would be started before the servers have a keyring.
#[test]
fn a_client_is_held_back_until_the_servers_have_a_key() {
    let ready = Arc::new(Mutex::new(false));
    let inner = Arc::clone(&ready);
    let servers = serve(move |path| match path {
        "/.well-known/jwks.json" if *inner.lock().unwrap() => (200, "{\"keys\":[{}]}".into()),
        "/.well-known/jwks.json" => (200, "{\"keys\":[]}".into()),
        _ => (404, String::new()),
    });
    let port = servers.address().port();
    let (seed, _) = seed(&format!(
        "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {{\n      enabled = true\n      \
         servers = [\"127.0.0.1:4647\"]\n    }}\n    ports {{ http = {port} }}\n"
    ));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Client, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("a server that can register clients: 127.0.0.1:4647"));
    machine.init.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length) = machine.init.recv(&mut buffer) {
        assert!(!notify::parse(&buffer[..length]).contains(&start()), "started too early");
    }
    *ready.lock().unwrap() = true;
    machine.init.set_read_timeout(Some(LIMIT)).unwrap();
    machine.messages_until(&start());
}

/// The agent has no TLS: without the exception the client would start only when the gate gives up, after 90 s.
#[test]
fn a_client_with_tls_is_not_held_back() {
    let (seed, _) = seed(
        "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {\n      enabled = true\n      \
         servers = [\"127.0.0.1:1\"]\n    }\n    tls { http = true }\n",
    );
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Client, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&start());
}

/// The lease without a way out comes first; the node speaks from the other one all the same.
#[test]
fn of_two_links_the_one_with_a_default_route_is_taken() {
    let (seed, _) = seed(&user_data(1));
    let machine = Machine::new();
    machine.shared.update(|view| view.awaited = vec!["a DHCP lease on eth1".into()]);
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Phase("files".into()));
    // From here to the choice of an address nothing is waited for but the second link.
    thread::sleep(Duration::from_millis(300));
    let ip = Ipv4Addr::new(192, 168, 7, 2);
    machine.shared.update(|view| {
        view.addresses.push(address("eth1", ip, Some(100)));
        view.awaited.clear();
        view.changes += 1;
    });
    machine.messages_until(&start());
    let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
    assert_eq!(config["advertise"]["rpc"], "192.168.7.2");
}

/// A Nomad that talks to nobody without a certificate: without the exception `READY` would never come.
#[test]
fn what_is_not_proven_of_a_nomad_behind_tls_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_, seed) = Cloud::new("i-1", &(user_data(port) + "    tls { http = true }\n"));
    let machine = Machine::with_uuid(HERE);
    let root = machine.root.path();
    fs::remove_dir(root.join("proc")).unwrap();
    std::os::unix::fs::symlink("/proc", root.join("proc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let program = root.join("usr/bin/nomad");
    fs::write(&program, "#!/bin/sh\necho 'remote error: tls: certificate required' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    let unit =
        |state| UnitStatus { name: "nomad".into(), state, pid: Some(me), restarts: 0, last_exit: None, message: None };
    let init = |state| {
        let status = InitStatus { units: vec![unit(state)], timeline: vec![] };
        fs::write(below(root, paths::INIT_STATUS), serde_json::to_vec(&status).unwrap()).unwrap();
    };
    init(UnitState::Starting);
    machine.boot(Role::Server, &line(&seed));
    machine.until(|status| status.awaits.as_deref() == Some("an answer of Nomad's HTTP interface"));
    init(UnitState::Ready);
    machine.messages_until(&Message::Ready);
    assert!(machine.finding("health: ").contains("only that its process is ready and listens"));
}

/// Without it, Nomad would advertise an address that nobody has any more.
#[test]
fn a_new_address_is_given_to_nomad() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let machine = Machine::with_uuid(HERE);
    machine.boot(Role::Server, &line(&seed));
    machine.messages_until(&Message::Ready);
    let told = || {
        let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
        config["advertise"]["rpc"].as_str().unwrap().to_owned()
    };
    machine.shared.update(|view| {
        view.addresses = vec![address("eth1", Ipv4Addr::new(10, 0, 5, 77), None)];
        view.changes += 1;
    });
    machine.messages_until(&Message::Restart("nomad".into()));
    assert_eq!(told(), "10.0.5.77");
    assert!(machine.read("/etc/hosts").contains("10.0.5.77 server-vm-0"));
}
