//! Network namespaces for tests: one for the machine under test (this thread's), one for whoever is at the other ends
//! of its wires.
#![allow(dead_code, reason = "each of the test programs uses a part of it")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent::node::{
    net::{Network, Shared},
    netconfig::{NetworkMode, NetworkPlan},
};
use nix::sched::{CloneFlags, unshare};

/// Whether this machine lets us make namespaces; says why not.
pub(crate) fn available() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let ip = Command::new("ip").arg("-V").output().is_ok();
    if !root || !ip {
        eprintln!("skipped: needs root and the program ip");
    }
    root && ip
}

/// The same for a DHCP server.
pub(crate) fn dnsmasq() -> bool {
    let there = Command::new("dnsmasq").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: needs the program dnsmasq");
    }
    there && available()
}

/// Runs `ip` with these words.
pub(crate) fn ip(args: &str) -> String {
    let output = try_ip(args);
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The same, where it may fail.
pub(crate) fn try_ip(args: &str) -> Output {
    Command::new("ip").args(args.split_whitespace()).output().expect("the program ip")
}

/// A machine in a namespace of its own, whose wires end in another one.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
    /// The namespace at the other ends.
    pub(crate) outside: String,
    pub(crate) shared: Arc<Shared>,
    children: Vec<Child>,
}

impl Machine {
    /// Moves this thread into a new namespace; what it starts moves with it.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        ip("link set lo up");
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("etc")).expect("a directory");
        symlink("/proc", dir.path().join("proc")).expect("a link");
        let outside = format!("steppe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        ip(&format!("netns add {outside}"));
        Self { dir, outside, shared: Arc::default(), children: vec![] }
    }

    /// A wire: `name` here, `peer` outside, which is up.
    pub(crate) fn wire(&self, name: &str, mac: &str, peer: &str) {
        let outside = &self.outside;
        ip(&format!("link add {name} address {mac} type veth peer name {peer} netns {outside}"));
        ip(&format!("-n {outside} link set dev {peer} up"));
    }

    /// The node's network.
    pub(crate) fn network(&self) -> Network {
        Network::open(self.dir.path(), Arc::clone(&self.shared), true).expect("netlink")
    }

    /// Orders a plan and works until it was carried out.
    pub(crate) fn apply(&self, network: &mut Network, plan: NetworkPlan) {
        let ticket = self.shared.apply(NetworkMode::Plan(Box::new(plan)));
        let done = network.run_until(Duration::from_secs(20), |shared| shared.view().applied >= ticket);
        assert!(done, "the plan was not carried out");
    }

    /// Starts dnsmasq on the outer end of a wire, for the first three bytes of a network.
    pub(crate) fn serve(&mut self, peer: &str, network: &str, options: &[&str]) {
        ip(&format!("-n {} addr add {network}.1/24 dev {peer}", self.outside));
        let range = format!("--dhcp-range={network}.10,{network}.20,2m");
        self.dnsmasq(peer, &[&[range.as_str(), "--dhcp-authoritative"], options].concat());
    }

    /// Starts dnsmasq on the outer end of a wire.
    pub(crate) fn dnsmasq(&mut self, peer: &str, options: &[&str]) {
        let file = |name: &str| self.path(&format!("{peer}.{name}")).display().to_string();
        let own = [
            "--no-daemon".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--port=0".to_owned(),
            "--bind-interfaces".to_owned(),
            "--log-dhcp".to_owned(),
            format!("--interface={peer}"),
            format!("--dhcp-leasefile={}", file("leases")),
            format!("--log-facility={}", file("log")),
            format!("--pid-file={}", file("pid")),
        ];
        let args: Vec<&str> = own.iter().map(String::as_str).chain(options.iter().copied()).collect();
        self.start("dnsmasq", &args);
    }

    /// How often that dnsmasq said something.
    pub(crate) fn said(&self, peer: &str, what: &str) -> usize {
        read(&self.path(&format!("{peer}.log"))).matches(what).count()
    }

    /// Starts a program outside; it ends with the test.
    pub(crate) fn start(&mut self, program: &str, args: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.outside, program]).args(args);
        self.children.push(command.spawn().expect("the program"));
    }

    /// Tells the program that was started first something; `ip netns exec` has become that program.
    pub(crate) fn signal_first(&self, signal: nix::sys::signal::Signal) {
        let id = self.children.first().expect("a program").id();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(id).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn resolv_conf(&self) -> String {
        read(&self.path("etc/resolv.conf"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.outside]).status();
    }
}

/// A file's text; empty while there is none.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
