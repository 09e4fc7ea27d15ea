//! PID 1.
//!
//! The first stage runs in the initramfs ([`early`]): modules, the root, switch. The second runs in the root
//! ([`root`]): mounts, the state partition ([`state`]), units ([`units`], [`supervise`]), and at the end the
//! [`shutdown`]. One thread, one loop ([`manager`]), no async; the only waiter for children. The logs have a thread of
//! their own ([`previous`]).

pub mod button;
pub mod crash;
mod devices;
pub mod disks;
pub(crate) mod dm;
mod early;
pub mod etc;
mod fallback;
mod flush;
pub mod gpt;
pub mod kmsg;
mod listener;
mod manager;
mod mend;
pub mod modules;
pub mod mountinfo;
pub mod mounts;
pub mod output;
mod panic;
mod previous;
pub mod processes;
mod root;
pub mod rootfs;
mod shutdown;
pub mod state;
mod stay;
pub mod supervise;
pub mod sysctl;
mod system;
pub mod timeline;
mod trial;
pub mod uevent;
mod units;
pub mod unmount;
pub mod verity;
mod watchdog;

use std::process::ExitCode;

pub(crate) use system::machine_id;

/// Runs PID 1; never returns.
pub fn run() -> ExitCode {
    panic::install();
    crate::log::set_process("steppe");
    if early::is_initramfs() { early::run() } else { root::run() }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// What comes over the network is read by `node`, a process without PID 1's place and rights.
    #[test]
    fn pid_1_names_nothing_that_reads_a_network() {
        fn look(folder: &Path, looked: &mut usize) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    look(&path, looked);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let shipped = text.split("#[cfg(test)]").next().unwrap();
                for word in
                    ["crate::node", "super::node", "std::net", "TcpStream", "UdpSocket", "ureq", "netlink_packet"]
                {
                    assert!(!shipped.contains(word), "{} has {word}", path.display());
                }
                *looked += 1;
            }
        }
        let mut looked = 0;
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/init"), &mut looked);
        assert!(looked > 30, "{looked} files");
    }
}
