//! The DHCP clients against dnsmasq, over pairs of virtual Ethernet interfaces in network namespaces.
//!
//! Where this is not possible (no root, no `ip`, no `dnsmasq`) each test says so and ends.

mod namespace;

use std::{fs, path::Path, time::Duration};

use agent::node::netconfig::{DhcpOptions, Interface, NetworkMode, NetworkPlan, Select};
use namespace::{Machine, dnsmasq, ip};

const SOON: Duration = Duration::from_secs(20);
const MAC: &str = "02:00:00:00:00:0a";

fn called(name: &str) -> Interface {
    let select = Select { name: Some(name.into()), ..Select::default() };
    Interface { id: name.into(), select, ..Interface::default() }
}

#[test]
fn a_late_carrier_a_lease_and_its_renewal() {
    if !dnsmasq() {
        return;
    }
    let mut machine = Machine::new();
    machine.wire("wire", MAC, "server");
    ip(&format!("-n {} link set dev server down", machine.outside));
    let routes = machine.path("options");
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    write(&routes, "option:classless-static-route,0.0.0.0/0,10.0.5.254,192.168.7.0/24,10.0.5.253\n");
    let routes_option = format!("--dhcp-optsfile={}", routes.display());
    machine.serve(
        "server",
        "10.0.5",
        &[
            "--dhcp-option=option:T1,3",
            "--dhcp-option=option:T2,60",
            "--dhcp-option=option:dns-server,10.0.5.1",
            "--dhcp-option=option:mtu,1400",
            "--dhcp-option=option:ntp-server,10.0.5.1",
            "--domain=steppe.example",
            &routes_option,
        ],
    );
    let mut network = machine.network();
    let shared = std::sync::Arc::clone(&machine.shared);

    // The wire's other end is down: no carrier, nothing to wait for but one.
    assert!(!network.run_until(Duration::from_secs(1), |s| s.view().primary().is_some()));
    assert_eq!(shared.view().describe_wait(), "a carrier on wire");

    ip(&format!("-n {} link set dev server up", machine.outside));
    assert!(network.run_until(SOON, |s| s.view().primary().is_some()), "no lease");
    let (name, lease) = shared.view().leases[0].clone();
    assert_eq!((name.as_str(), lease.prefix, lease.mtu), ("wire", 24, Some(1400)));
    let primary = shared.view().primary().cloned().unwrap();
    assert_eq!((primary.address, primary.gateway), (lease.address.into(), Some([10, 0, 5, 254].into())));
    assert_eq!(lease.ntp, [std::net::Ipv4Addr::new(10, 0, 5, 1)]);

    let text = ip("route");
    assert!(text.contains("default via 10.0.5.254 dev wire proto dhcp"), "{text}");
    assert!(text.contains("192.168.7.0/24 via 10.0.5.253"), "{text}");
    let link = ip("addr show dev wire");
    assert!(link.contains("mtu 1400") && link.contains(&format!("{}/24", lease.address)), "{link}");
    assert!(link.contains("valid_lft 1"), "the kernel knows that the address ends: {link}");
    let resolv = machine.resolv_conf();
    assert!(resolv.contains("search steppe.example") && resolv.contains("nameserver 10.0.5.1"), "{resolv}");

    // T1 is three seconds: the renewal goes to the server alone, from the address, and says the name that is known now.
    shared.set_host_name("server-vm-0");
    let named = "client provides name: server-vm-0";
    assert!(network.run_until(SOON, |_| machine.said("server", named) > 0), "no name");
    let before = machine.said("server", "DHCPACK");
    assert!(network.run_until(SOON, |_| machine.said("server", "DHCPACK") > before), "no renewal");
    assert_eq!(shared.view().primary().map(|primary| primary.address), Some(lease.address.into()));

    // A route that the server does not name any more is taken away at the next renewal.
    write(&routes, "option:classless-static-route,0.0.0.0/0,10.0.5.254\n");
    machine.signal_first(nix::sys::signal::Signal::SIGHUP);
    let gone = network.run_until(SOON, |_| !ip("route").contains("192.168.7.0/24"));
    assert!(gone && ip("route").contains("default via 10.0.5.254 dev wire"), "{}", ip("route"));
}

#[test]
fn a_plan_keeps_the_leases_that_it_wants_and_takes_the_others() {
    if !dnsmasq() {
        return;
    }
    let mut machine = Machine::new();
    machine.wire("eth0", MAC, "a");
    machine.wire("eth1", "02:00:00:00:00:0b", "b");
    machine.serve("a", "10.0.5", &["--dhcp-option=option:dns-server,10.0.5.1"]);
    machine.serve("b", "10.0.6", &["--dhcp-option=option:dns-server,10.0.6.1"]);
    let mut network = machine.network();
    assert!(network.run_until(SOON, |s| s.view().leases.len() == 2), "{:?}", machine.shared.view());
    assert!(machine.shared.view().is_settled());
    let leased = machine.shared.view().leases[1].1.address;
    let asked = machine.said("b", "DHCPDISCOVER");

    let mut eth1 = called("eth1");
    eth1.dhcp4 = Some(DhcpOptions { metric: Some(7), use_dns: false, ..DhcpOptions::default() });
    eth1.dns.servers = vec!["10.0.6.53".parse().unwrap()];
    machine.apply(&mut network, NetworkPlan { interfaces: vec![eth1], ..NetworkPlan::default() });
    let view = machine.shared.view();
    assert_eq!(
        view.leases.iter().map(|(name, lease)| (name.as_str(), lease.address)).collect::<Vec<_>>(),
        [("eth1", leased)]
    );
    assert_eq!(machine.said("b", "DHCPDISCOVER"), asked, "the lease is the same one");
    assert!(ip("route").contains("default via 10.0.6.1 dev eth1 proto dhcp src") && ip("route").contains("metric 7"));
    assert!(!ip("addr show dev eth0").contains("inet 10.0.5."), "what the plan does not name has no lease");
    let resolv = machine.resolv_conf();
    assert!(resolv.contains("nameserver 10.0.6.53\n") && !resolv.contains("10.0.6.1\n"), "{resolv}");

    // Without a plan everybody asks again.
    machine.shared.apply(NetworkMode::Fallback);
    assert!(network.run_until(SOON, |s| s.view().leases.len() == 2));
}

#[test]
fn two_interfaces_where_the_first_has_no_server() {
    if !dnsmasq() {
        return;
    }
    let mut machine = Machine::new();
    machine.wire("eth0", MAC, "a");
    machine.wire("eth1", "02:00:00:00:00:0b", "b");
    machine.serve("b", "10.0.6", &[]);
    let mut network = machine.network();
    assert!(network.run_until(SOON, |s| s.view().primary().is_some()), "no lease");
    let view = machine.shared.view();
    assert_eq!(view.primary().unwrap().interface, "eth1");
    assert_eq!(view.awaited, ["a DHCP lease on eth0"]);
    let mut eth0 = called("eth0");
    (eth0.dhcp4, eth0.optional) = (Some(DhcpOptions::default()), true);
    let mut eth1 = called("eth1");
    eth1.dhcp4 = Some(DhcpOptions::default());
    machine.apply(&mut network, NetworkPlan { interfaces: vec![eth0, eth1], ..NetworkPlan::default() });
    assert!(machine.shared.view().is_settled(), "an optional interface is not waited for");
}

#[test]
fn a_link_local_address_until_there_is_a_better_one() {
    if !dnsmasq() {
        return;
    }
    let mut machine = Machine::new();
    machine.wire("eth0", MAC, "a");
    let mut network = machine.network();
    machine.shared.want_link_local();
    let online =
        |view: &agent::node::net::View| view.addresses.iter().any(|a| a.address.to_string().starts_with("169.254."));
    assert!(network.run_until(SOON, |s| online(&s.view())), "{:?}", machine.shared.view());
    assert!(machine.shared.view().primary().is_none() && machine.shared.view().is_online());
    machine.serve("a", "10.0.5", &[]);
    assert!(network.run_until(SOON, |s| s.view().primary().is_some() && !online(&s.view())), "{}", ip("addr"));
}
