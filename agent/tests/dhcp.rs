//! The DHCP client against dnsmasq, over a pair of virtual Ethernet interfaces in network namespaces of its own.
//!
//! Needs root, `ip` and `dnsmasq`: `cargo test -p agent --test dhcp -- --ignored`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output},
    sync::Arc,
    time::Duration,
};

use agent::node::net::{Network, Shared};
use nix::sched::{CloneFlags, unshare};

/// The server's side: a named namespace and a dnsmasq in it. Both end with the test.
struct Server {
    namespace: String,
    dnsmasq: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn ip(args: &str) -> Output {
    let output = Command::new("ip").args(args.split(' ')).output().expect("the program ip");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn start(dir: &Path, namespace: &str, options: &[&str]) -> Server {
    ip(&format!("netns add {namespace}"));
    ip(&format!("link add wire type veth peer name server netns {namespace}"));
    ip(&format!("-n {namespace} addr add 10.0.5.1/24 dev server"));
    let dnsmasq = Command::new("ip")
        .args(["netns", "exec", namespace, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0"])
        .args(["--interface=server", "--dhcp-range=10.0.5.10,10.0.5.20,2m", "--dhcp-authoritative", "--log-dhcp"])
        .arg(format!("--dhcp-leasefile={}", dir.join("leases").display()))
        .arg(format!("--log-facility={}", dir.join("log").display()))
        .args(options)
        .spawn()
        .expect("the program dnsmasq");
    Server { namespace: namespace.to_owned(), dnsmasq }
}

/// How often dnsmasq acknowledged something.
fn acknowledged(dir: &Path) -> usize {
    fs::read_to_string(dir.join("log")).unwrap_or_default().matches("DHCPACK").count()
}

#[test]
#[ignore = "needs root, ip and dnsmasq"]
fn a_late_carrier_a_lease_and_its_renewal() {
    // Only this thread moves; what it starts moves with it.
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let namespace = format!("steppe-dhcp-{}", std::process::id());
    let server = start(
        dir.path(),
        &namespace,
        &[
            "--dhcp-option=option:T1,3",
            "--dhcp-option=option:T2,60",
            "--dhcp-option=option:dns-server,10.0.5.1",
            "--dhcp-option=option:mtu,1400",
            "--dhcp-option=option:ntp-server,10.0.5.1",
            "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.0.5.254,192.168.7.0/24,10.0.5.253",
            "--domain=steppe.example",
        ],
    );
    let shared = Arc::new(Shared::default());
    let mut network = Network::open(dir.path(), Arc::clone(&shared), true).unwrap();

    // The wire's other end is down: no carrier, nothing to wait for but one.
    assert!(!network.run_until(Duration::from_secs(1), |s| s.view().primary().is_some()));
    assert_eq!(shared.view().describe_wait(), "a carrier on wire");

    ip(&format!("-n {namespace} link set server up"));
    assert!(network.run_until(Duration::from_secs(20), |s| s.view().primary().is_some()), "no lease");
    let (name, lease) = shared.view().primary().cloned().unwrap();
    assert_eq!((name.as_str(), lease.prefix, lease.mtu), ("wire", 24, Some(1400)));
    assert_eq!(lease.ntp, [std::net::Ipv4Addr::new(10, 0, 5, 1)]);

    let routes = String::from_utf8(ip("route").stdout).unwrap();
    assert!(routes.contains("default via 10.0.5.254 dev wire proto dhcp"), "{routes}");
    assert!(routes.contains("192.168.7.0/24 via 10.0.5.253"), "{routes}");
    let link = String::from_utf8(ip("addr show dev wire").stdout).unwrap();
    assert!(link.contains("mtu 1400") && link.contains(&format!("{}/24", lease.address)), "{link}");
    assert!(link.contains("valid_lft 1"), "the kernel knows that the address ends: {link}");
    let resolv = fs::read_to_string(dir.path().join("etc/resolv.conf")).unwrap();
    assert!(resolv.contains("search steppe.example") && resolv.contains("nameserver 10.0.5.1"), "{resolv}");

    // T1 is three seconds: the renewal goes to the server alone, from the address.
    let before = acknowledged(dir.path());
    assert!(network.run_until(Duration::from_secs(20), |_| acknowledged(dir.path()) > before), "no renewal");
    assert_eq!(shared.view().primary().map(|(_, l)| l.address), Some(lease.address));
    drop(server);
}
