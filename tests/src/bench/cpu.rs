//! Processor time of processes, from `/proc/<pid>/stat` (`proc_pid_stat(5)`).

use std::fs;

use anyhow::Context as _;

/// Clock ticks in a second, as the kernel tells them to programs: the same on every x86-64 Linux.
const USER_HZ: f64 = 100.0;

/// Processor time in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    /// Of the process, all its threads together.
    pub own: u64,
    /// Of its children that ended and were waited for.
    pub children: u64,
}

/// Processor seconds of a process so far: all its threads and the children that it waited for.
///
/// # Errors
/// When there is no such process.
pub fn seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let ticks = parse(&text).with_context(|| format!("failed to parse {path}"))?;
    #[allow(clippy::cast_precision_loss, reason = "2^53 ticks are more than a million years")]
    Ok((ticks.own + ticks.children) as f64 / USER_HZ)
}

/// The name is in parentheses and may hold spaces and parentheses itself; what follows its end has fixed places.
fn parse(stat: &str) -> Option<Ticks> {
    // The state is field 3, user and system time are fields 14 and 15, those of the children 16 and 17.
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(14 - 3);
    let mut sum = || Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?);
    Some(Ticks { own: sum()?, children: sum()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 2 3 0 -1 4194560 9 8 7 6 700 44 20 1 20 0 5 0 99 123";
        for name in ["qemu-system-x86", "a) b (c", ""] {
            assert_eq!(parse(&format!("42 ({name}) {rest}")), Some(Ticks { own: 744, children: 21 }));
        }
        assert_eq!(parse("42 (short) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let mut turns = 0_u64;
        while seconds(std::process::id()).unwrap() < 0.01 {
            turns += 1;
        }
        assert!(seconds(std::process::id()).unwrap() >= 0.01, "after {turns} turns");
    }
}
