//! The processes of the machine, from `/proc`.

use std::{fs, path::Path};

/// `PF_KTHREAD` of `linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Whether `/proc/<pid>/stat` describes a program that still runs: neither a thread of the kernel nor a process that
/// has ended and only waits to be reaped (`proc_pid_stat(5)`).
#[must_use]
pub fn is_running_program(stat: &str) -> bool {
    // The name, in parentheses, may hold anything, parentheses included.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_whitespace();
    let state = fields.next();
    let flags: Option<u64> = fields.nth(5).and_then(|field| field.parse().ok());
    !matches!(state, Some("Z" | "X") | None) && flags.is_some_and(|flags| flags & KERNEL_THREAD == 0)
}

/// The pids of all running programs but init and those in `except`.
#[must_use]
pub fn others(proc: &Path, except: &[i32]) -> Vec<i32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != 1 && !except.contains(pid))
        .filter(|pid| fs::read_to_string(proc.join(format!("{pid}/stat"))).is_ok_and(|text| is_running_program(&text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernel_threads_and_zombies_are_no_programs() {
        assert!(is_running_program("42 (nomad) S 1 42 42 0 -1 4194560 1 2"));
        assert!(is_running_program("43 (a) b (c) R 1 42 42 0 -1 4194560 1 2"));
        assert!(!is_running_program("44 (sh) Z 1 42 42 0 -1 4194560 1 2"));
        assert!(!is_running_program("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!is_running_program(""));
    }

    #[test]
    fn this_test_is_a_running_program() {
        let own = std::process::id().cast_signed();
        assert!(others(Path::new("/proc"), &[]).contains(&own));
        assert!(!others(Path::new("/proc"), &[own]).contains(&own));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text: String) {
            let _ = is_running_program(&text);
        }
    }
}
