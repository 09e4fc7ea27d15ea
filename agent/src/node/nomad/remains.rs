//! What Nomad left in its `data_dir` on another machine: who it was, and, of a server, the state of its cluster.
//!
//! A copied disk that joins with it is a second machine with the same ids: two servers with one raft id, or a node that
//! two machines report for. So it is set aside, whole, and never deleted:
//!
//! - `server/`: `node-id` and `raft/` only work together (contract 96), the snapshot of `serf/` would lead the copy to
//!   the peers of the original, and an old `serf.keyring` would win over the `encrypt` that the new machine was given.
//!   `keystore/` goes along: the keys are in raft, and a member gets those of its cluster by replication (contract 101).
//! - `client/`: `client-id`, `secret-id` and `state.db` only work together (contract 97).
//! - `alloc/` and `alloc_mounts/`: work of the other node, for which the new one would never care.
//!
//! What else is there stays: data that a user put there belongs to the disk, not to the machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::durable;

/// A server's directory.
const SERVER: &str = "server";
/// Everything that is the other machine's.
const REMAINS: [&str; 4] = [SERVER, "client", "alloc", "alloc_mounts"];
/// Where it goes, below `data_dir`.
const ASIDE: &str = "set-aside";

/// What is there of another machine, by name; the state of a cluster is among it when `server` is.
#[must_use]
pub fn find(data_dir: &Path) -> Vec<&'static str> {
    REMAINS.into_iter().filter(|name| data_dir.join(name).exists()).collect()
}

/// Whether losing them would lose the state of a cluster.
#[must_use]
pub fn hold_a_cluster(remains: &[&str]) -> bool {
    remains.contains(&SERVER)
}

/// Moves them into a directory with the date of `now`, and makes that durable. Returns the directory. What a power cut
/// interrupted is done by doing it again.
///
/// # Errors
/// When a directory cannot be moved.
pub fn set_aside(data_dir: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let date = date(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let aside = data_dir.join(ASIDE);
    let mut to = aside.join(&date);
    for n in 2.. {
        if !to.exists() {
            break;
        }
        to = aside.join(format!("{date}-{n}"));
    }
    fs::create_dir_all(&to)?;
    for name in find(data_dir) {
        fs::rename(data_dir.join(name), to.join(name))?;
    }
    durable::flush(data_dir)?;
    Ok(to)
}

/// `20261123T043007Z` of a time since 1970; by the algorithm `civil_from_days` of Howard Hinnant.
fn date(since_1970: Duration) -> String {
    let (days, second) = (since_1970.as_secs() / 86_400 + 719_468, since_1970.as_secs() % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month < 3);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_other_machine_goes_and_nothing_else() {
        let data = tempfile::tempdir().unwrap();
        for dir in ["server/raft", "client", "host_volumes/v1"] {
            fs::create_dir_all(data.path().join(dir)).unwrap();
        }
        fs::write(data.path().join("server/node-id"), "a").unwrap();
        fs::write(data.path().join("client/client-id"), "b").unwrap();
        assert!(hold_a_cluster(&find(data.path())));
        let now = UNIX_EPOCH + Duration::from_secs(1_795_408_207);
        let to = set_aside(data.path(), now).unwrap();
        assert_eq!(to, data.path().join("set-aside/20261123T043007Z"));
        assert_eq!(fs::read_to_string(to.join("server/node-id")).unwrap(), "a");
        assert!(to.join("server/raft").is_dir() && to.join("client/client-id").exists());
        assert!(find(data.path()).is_empty() && data.path().join("host_volumes/v1").is_dir());
        fs::create_dir(data.path().join("client")).unwrap();
        assert!(!hold_a_cluster(&find(data.path())));
        let again = set_aside(data.path(), now).unwrap();
        assert!(again.ends_with("20261123T043007Z-2") && again.join("client").is_dir());
    }

    #[test]
    fn dates() {
        let of = |seconds| date(Duration::from_secs(seconds));
        assert_eq!(of(0), "19700101T000000Z");
        assert_eq!(of(951_782_400), "20000229T000000Z");
        assert_eq!(of(4_107_542_399), "21000228T235959Z");
    }
}
