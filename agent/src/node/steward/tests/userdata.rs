//! What keys of user-data do.

use super::*;

#[test]
fn runcmd_puts_the_address_into_nomads_file() {
    let nomad = healthy_server();
    let more = "runcmd:\n- IP=$(hostname -I | awk '{print $1}')\n- sed -i \"s/LOCAL_IP/$IP/g\" /etc/nomad.d/server.hcl\n- \
                mkdir -p /opt/data\n- modprobe there\n- chown consul /opt/data\n- systemctl enable --now nomad\n";
    let text = user_data(nomad.address().port()).replace("bootstrap_expect = 1", "bootstrap_expect = 1 # LOCAL_IP");
    let (seed, _) = seed(&(text + more));
    let machine = Machine::new();
    fs::create_dir_all(below(machine.root.path(), "/sys/module/there")).unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Ready);
    assert!(machine.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect = 1 # 10.0.5.10"));
    assert!(below(machine.root.path(), "/opt/data").is_dir());
    let findings = machine.status().findings;
    assert!(findings.iter().any(|f| f.starts_with("/opt/data: owner consul:")), "{findings:?}");
}

/// What the commands made of the files counts, not only what the plan expected.
#[test]
fn the_roles_promise_is_kept_behind_commands_too() {
    let more = "runcmd:\n- cp /opt/there.hcl /etc/nomad.d/\n";
    let (seed, _) = seed(&(user_data(1) + more));
    let machine = Machine::new();
    fs::create_dir_all(below(machine.root.path(), "/opt")).unwrap();
    fs::write(below(machine.root.path(), "/opt/there.hcl"), "client { enabled = true }").unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(!below(machine.root.path(), "/run/steppe/units/nomad.json").exists());
}

/// A reboot that is asked for once must not come again at each boot.
#[test]
fn what_is_to_be_done_once_is_done_once() {
    let nomad = healthy_server();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&calls);
    let home = serve(move |path| {
        heard.lock().unwrap().push(path.to_owned());
        (200, String::new())
    });
    let more = format!(
        "phone_home: {{url: 'http://{}/$INSTANCE_ID', post: [hostname]}}\npower_state: {{mode: reboot}}\n",
        home.address()
    );
    let (seed, _) = seed(&(user_data(nomad.address().port()) + &more));
    let first = Machine::new();
    first.give_lease();
    first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    first.messages_until(&Message::Power(notify::Power::Reboot));
    let done = |name: &str| below(first.root.path(), "/state/steppe/done").join(name);
    // A machine that is off phones nobody.
    assert!(done("phone-home").exists());
    assert_eq!(fs::read_to_string(done("power-state")).unwrap(), "i-1");
    // An answer that is lost makes it call again.
    let before = calls.lock().unwrap().clone();
    assert!(!before.is_empty() && before.iter().all(|path| path == "/i-1"), "{before:?}");

    let second = Machine::new();
    fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
    second.give_lease();
    second.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    second.messages_until(&Message::Ready);
    second.init.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut datagram = [0; 4096];
    while let Ok(length) = second.init.recv(&mut datagram) {
        assert!(!notify::parse(&datagram[..length]).contains(&Message::Power(notify::Power::Reboot)));
    }
    assert_eq!(*calls.lock().unwrap(), before);
}

#[test]
fn authorities_and_the_time_zone_are_the_plans() {
    let nomad = healthy_server();
    let more = "ca_certs: {trusted: [\"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\"]}\ntimezone: Mars/Olympus\n";
    let (seed, _) = seed(&(user_data(nomad.address().port()) + more));
    let machine = Machine::new();
    let template = below(machine.root.path(), "/usr/share/steppe/etc/ssl/certs");
    fs::create_dir_all(&template).unwrap();
    fs::write(template.join("ca-certificates.crt"), "the image's\n").unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Ready);
    let bundle = machine.read("/etc/ssl/certs/ca-certificates.crt");
    assert!(bundle.starts_with("the image's\n-----BEGIN") && bundle.ends_with("-----\n"), "{bundle}");
    let findings = machine.status().findings;
    assert!(findings.iter().any(|f| f.starts_with("timezone: the image has no zone Mars/Olympus")), "{findings:?}");
}

#[test]
fn a_file_is_fetched_and_held_against_the_role() {
    let nomad = healthy_server();
    let text = Arc::new(Mutex::new(String::from("client { enabled = true }")));
    let shown = Arc::clone(&text);
    let files = serve(move |_| (200, shown.lock().unwrap().clone()));
    let more = format!("- path: /etc/nomad.d/more.hcl\n  source: {{uri: 'http://{}/x'}}\n", files.address());
    let (seed, data) = seed(&(user_data(nomad.address().port()) + &more));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    *text.lock().unwrap() = "region = \"eu\"".into();
    let changed = data.lock().unwrap().clone() + "# again\n";
    *data.lock().unwrap() = changed;
    machine.messages_until(&Message::Ready);
    assert_eq!(machine.read("/etc/nomad.d/more.hcl"), "region = \"eu\"");
}

/// An address may be good for one use, or its server down at the next boot.
#[test]
fn what_is_included_is_fetched_and_remembered() {
    let nomad = healthy_server();
    for (header, asked) in [("#include-once", 1), ("#include", 2)] {
        let text = user_data(nomad.address().port());
        let once = std::sync::atomic::AtomicBool::new(true);
        let included = serve(move |_| {
            let first = once.swap(false, std::sync::atomic::Ordering::SeqCst);
            if first { (200, text.clone()) } else { (403, String::new()) }
        });
        let (seed, _) = seed(&format!("{header}\nhttp://{}/a?token=hunter2\n", included.address()));
        let first = Machine::new();
        first.give_lease();
        first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
        first.messages_until(&Message::Ready);

        let second = Machine::new();
        fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
        second.give_lease();
        second.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
        second.messages_until(&Message::Ready);
        assert_eq!(second.read("/etc/hostname"), "server-vm-0\n");
        assert_eq!(included.requests(), asked, "{header}");
    }
}

#[test]
fn what_cannot_be_included_keeps_nomad_from_starting_and_shows_no_secret() {
    let included = serve(|_| (404, String::new()));
    let (seed, _) = seed(&format!("#include\nhttp://{}/a?token=hunter2\n", included.address()));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    let want = format!("refused: user-data:2:1: failed to include http://{}/a: status 404", included.address());
    assert!(status.findings.contains(&want) && !format!("{:?}", status.findings).contains("hunter2"), "{status:?}");
}
