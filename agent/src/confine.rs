//! What a unit can never do: capabilities out of its reach, and system calls that are refused.
//!
//! `node` reads what the network says, and Nomad's server is asked things by the network. Neither may become more than it
//! is: what they execute gains no rights (`no_new_privs`), what they do not need is out of their bounding set, and the calls
//! that programs like them never make, and attackers do, answer `EPERM`. Nothing is killed: a call that is refused by mistake
//! costs a feature and a line in the log, not the node.

use nix::libc::{self, c_long, sock_filter};

/// Capabilities, a bit each, by their numbers in `linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

const CHOWN: u64 = 1;
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const FOWNER: u64 = 1 << 3;
const FSETID: u64 = 1 << 4;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_TIME: u64 = 1 << 25;
const SYSLOG: u64 = 1 << 34;

/// Those of `node`.
pub const NODE: Capabilities = Capabilities(
    // Files of user-data, with owners and modes, in directories of others.
    CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID
    // Addresses and routes; DHCP, on packet sockets and on ports below 1024.
    | NET_ADMIN | NET_RAW | NET_BIND_SERVICE
    // Which sockets are those of Nomad's process.
    | SYS_PTRACE
    // Host name, volumes, swap, partition tables.
    | SYS_ADMIN
    // The clock.
    | SYS_TIME,
);

/// Those of the console: the kernel's log, and Nomad's certificates for its command line.
pub const CONSOLE: Capabilities = Capabilities(DAC_READ_SEARCH | SYSLOG);

/// Those of a program that does not run as root: none, whatever it executes.
pub const NONE: Capabilities = Capabilities(0);

/// Calls that are refused.
const REFUSED: [c_long; 35] = [
    // Another kernel, another end of the machine, parts of the kernel.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    // Code and measurements in the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    // Other processes, and what they hold.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Other views of the machine.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // What attacks on the kernel begin with.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_vhangup,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
];

/// Calls that only PCs have: I/O ports, segments, and two that nobody has used for long.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: [c_long; 5] =
    [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: [c_long; 0] = [];

/// `AUDIT_ARCH_X86_64` or `AUDIT_ARCH_AARCH64` of `linux/audit.h`: the program is one of this architecture and makes no calls
/// of its 32-bit form.
const ARCHITECTURE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
/// Calls with this bit are those of x32; other architectures have none that are so high.
const X32: u32 = 0x4000_0000;
/// Places of the two fields in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const CALLS: usize = REFUSED.len() + REFUSED_HERE.len();
/// Four instructions before the calls, and what is said to those in no list and to the others.
const LENGTH: usize = 4 + CALLS + 2;

/// The filter, a program for `seccomp(2)`.
pub static FILTER: [sock_filter; LENGTH] = program();

const fn instruction(code: u16, k: u32, jt: usize, jf: usize) -> sock_filter {
    assert!(jt < 256 && jf < 256, "a jump is too long");
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    sock_filter { code, jt: jt as u8, jf: jf as u8, k }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of calls are small and positive")]
const fn program() -> [sock_filter; LENGTH] {
    const REFUSE_AT: usize = LENGTH - 1;
    let mut all = [instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0); LENGTH];
    all[0] = instruction(LOAD, ARCHITECTURE_AT, 0, 0);
    all[1] = instruction(IF_EQUAL, ARCHITECTURE, 0, REFUSE_AT - 2);
    all[2] = instruction(LOAD, NUMBER_AT, 0, 0);
    all[3] = instruction(IF_AT_LEAST, X32, REFUSE_AT - 4, 0);
    let mut at = 0;
    while at < CALLS {
        let call = if at < REFUSED.len() { REFUSED[at] } else { REFUSED_HERE[at - REFUSED.len()] };
        all[4 + at] = instruction(IF_EQUAL, call as u32, REFUSE_AT - 5 - at, 0);
        at += 1;
    }
    all[REFUSE_AT] = instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would make of a call.
    fn verdict(architecture: u32, number: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = FILTER[at];
            at += 1;
            match code {
                LOAD => accumulator = if k == ARCHITECTURE_AT { architecture } else { number },
                IF_EQUAL => at += usize::from(if accumulator == k { jt } else { jf }),
                IF_AT_LEAST => at += usize::from(if accumulator >= k { jt } else { jf }),
                RETURN => return k,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    #[test]
    fn exactly_the_listed_calls_are_refused() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let listed = |number: u32| REFUSED.iter().chain(&REFUSED_HERE).any(|call| *call == c_long::from(number));
        for number in 0..1024 {
            let expected = if listed(number) { refused } else { libc::SECCOMP_RET_ALLOW };
            assert_eq!(verdict(ARCHITECTURE, number), expected, "{number}");
            assert_eq!(verdict(0x4000_0003, number), refused, "i386 {number}");
            assert_eq!(verdict(ARCHITECTURE, X32 + number), refused, "x32 {number}");
        }
        for needed in [libc::SYS_mount, libc::SYS_clock_settime, libc::SYS_clone3, libc::SYS_swapon, libc::SYS_execve] {
            assert!(!listed(u32::try_from(needed).unwrap()), "{needed}");
        }
    }
}
