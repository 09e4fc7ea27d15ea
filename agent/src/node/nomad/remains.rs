//! What Nomad left in its directories on another machine: who it was, and, of a server, the state of its cluster.
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
//! What else is there stays: data that a user put there belongs to the disk, not to the machine. A directory that the
//! configuration puts elsewhere may be a volume of its own, which cannot be renamed: what is in it is moved within it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{durable, places::Places};
use crate::node::files::roots;

/// Where it goes: below `data_dir`, or below a directory that is elsewhere.
const ASIDE: &str = "set-aside";

/// What is there of another machine; the state of a cluster is among it when the server's directory is.
#[must_use]
pub fn find(places: &Places) -> Vec<&Path> {
    let there = |dir: &&Path| if is_elsewhere(places, dir) { !children(dir).is_empty() } else { dir.exists() };
    places.dirs.iter().map(PathBuf::as_path).filter(there).collect()
}

/// Whether losing them would lose the state of a cluster.
#[must_use]
pub fn hold_a_cluster(places: &Places, remains: &[&Path]) -> bool {
    remains.contains(&places.server())
}

/// Moves them into directories with the date of `now`, and makes that durable. Returns the directory below `data_dir`. What a
/// power cut interrupted is done by doing it again.
///
/// # Errors
/// When a directory cannot be moved, or holds more than Nomad's.
pub fn set_aside(places: &Places, now: SystemTime) -> io::Result<PathBuf> {
    let date = date(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let remains = find(places);
    // Before anything is moved.
    if let Some(shared) = remains.iter().find(|dir| is_elsewhere(places, dir) && is_shared(places, dir)) {
        let why = format!("{} is not Nomad's alone: move what is Nomad's away yourself", shared.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let to = fresh(&places.data_dir, &date)?;
    for dir in remains {
        if is_elsewhere(places, dir) {
            let to = fresh(dir, &date)?;
            for name in children(dir) {
                fs::rename(dir.join(&name), to.join(&name))?;
            }
            durable::flush(dir)?;
        } else {
            fs::rename(dir, to.join(dir.file_name().unwrap_or_default()))?;
        }
    }
    durable::flush(&places.data_dir)?;
    Ok(to)
}

/// A new directory for what is set aside.
fn fresh(dir: &Path, date: &str) -> io::Result<PathBuf> {
    let aside = dir.join(ASIDE);
    let mut to = aside.join(date);
    for n in 2.. {
        if !to.exists() {
            break;
        }
        to = aside.join(format!("{date}-{n}"));
    }
    fs::create_dir_all(&to)?;
    Ok(to)
}

fn is_elsewhere(places: &Places, dir: &Path) -> bool {
    dir.parent() != Some(&places.data_dir)
}

/// Whether a directory may hold what is not Nomad's: a writable one as a whole, or one that `data_dir` is in.
fn is_shared(places: &Places, dir: &Path) -> bool {
    places.data_dir.starts_with(dir) || roots::WRITABLE.iter().any(|root| dir == Path::new(root))
}

/// Names of what is in a directory, without what was set aside, and without what a file system has of its own.
fn children(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    entries.filter(|name| name != ASIDE && name != "lost+found").collect()
}

/// `20261123T043007Z` of a time since 1970; by the algorithm `civil_from_days` of Howard Hinnant.
#[must_use]
pub fn date(since_1970: Duration) -> String {
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
        let places = Places::new(data.path(), "", &Default::default());
        assert!(hold_a_cluster(&places, &find(&places)));
        let now = UNIX_EPOCH + Duration::from_secs(1_795_408_207);
        let to = set_aside(&places, now).unwrap();
        assert_eq!(to, data.path().join("set-aside/20261123T043007Z"));
        assert_eq!(fs::read_to_string(to.join("server/node-id")).unwrap(), "a");
        assert!(to.join("server/raft").is_dir() && to.join("client/client-id").exists());
        assert!(find(&places).is_empty() && data.path().join("host_volumes/v1").is_dir());
        fs::create_dir(data.path().join("client")).unwrap();
        assert!(!hold_a_cluster(&places, &find(&places)));
        let again = set_aside(&places, now).unwrap();
        assert!(again.ends_with("20261123T043007Z-2") && again.join("client").is_dir());
    }

    #[test]
    fn what_is_elsewhere_is_set_aside_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["data/alloc", "raft/server/raft", "raft/server/lost+found", "srv/state"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("srv/state/client-id"), "b").unwrap();
        let mut elsewhere = [Some("/raft/server".into()), Some("/srv/state/".into()), None, None];
        let places = Places::new(root.path(), "/data", &elsewhere);
        assert!(hold_a_cluster(&places, &find(&places)));
        let to = set_aside(&places, UNIX_EPOCH).unwrap();
        assert!(to.join("alloc").is_dir() && find(&places).is_empty());
        let aside = |dir: &str| root.path().join(dir).join("set-aside/19700101T000000Z");
        assert!(aside("raft/server").join("raft").is_dir() && aside("srv/state").join("client-id").exists());
        assert!(root.path().join("raft/server/lost+found").is_dir());
        // What others may use is not moved, nor anything else then.
        fs::create_dir_all(root.path().join("data/server")).unwrap();
        elsewhere = [None, Some("/".into()), None, None];
        let places = Places::new(root.path(), "/data", &elsewhere);
        assert!(set_aside(&places, UNIX_EPOCH).unwrap_err().to_string().contains("not Nomad's alone"));
        assert!(root.path().join("data/server").is_dir());
    }

    #[test]
    fn dates() {
        let of = |seconds| date(Duration::from_secs(seconds));
        assert_eq!(of(0), "19700101T000000Z");
        assert_eq!(of(951_782_400), "20000229T000000Z");
        assert_eq!(of(4_107_542_399), "21000228T235959Z");
    }
}
