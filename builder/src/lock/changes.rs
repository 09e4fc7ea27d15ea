//! What differs between two lock files, or the packages of two images.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Lock, Locked};
use crate::content::Digest;

/// What is known of one thing on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its version.
    pub version: String,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes of the package; nothing for Nomad, of which a lock file does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One package, or Nomad, that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Name of the package, `kernel`, or `nomad`.
    pub name: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Side>,
    /// What is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Side>,
}

impl Change {
    /// Bytes that it is larger now; negative when smaller.
    #[must_use]
    pub fn growth(&self) -> i64 {
        let size = |side: &Option<Side>| {
            let size = side.as_ref().and_then(|side| side.size).unwrap_or_default();
            i64::try_from(size).unwrap_or(i64::MAX)
        };
        size(&self.new) - size(&self.old)
    }

    /// Whether only the bytes differ: a package that was built again under the version that it had.
    #[must_use]
    pub fn same_version(&self) -> bool {
        matches!((&self.old, &self.new), (Some(old), Some(new)) if old.version == new.version)
    }
}

/// `libc6 2.41-11 -> 2.41-12 (+1.2 kB)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<Side>| side.as_ref().map_or_else(|| "none".to_owned(), |side| side.version.clone());
        write!(f, "{} {} -> {}", self.name, side(&self.old), side(&self.new))?;
        if self.same_version() {
            f.write_str(", other bytes")?;
        }
        match self.growth() {
            0 => Ok(()),
            by => {
                let sign = if by < 0 { '-' } else { '+' };
                write!(f, " ({sign}{})", crate::progress::bytes(by.unsigned_abs()))
            }
        }
    }
}

impl Lock {
    /// Everything that is not the same in `now`: the kernel first, whose package has another name with each version, then
    /// the packages by name, then Nomad.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let kernel = |lock: &Self| {
            lock.package(&lock.kernel).map(|package| Side { version: lock.kernel.clone(), ..side(package) })
        };
        let mut changes: Vec<Change> = change("kernel", kernel(self), kernel(now)).into_iter().collect();
        let others = |lock: &Self| -> Vec<Locked> {
            lock.packages.iter().filter(|package| package.name != lock.kernel).cloned().collect()
        };
        changes.extend(packages(&others(self), &others(now)));
        let nomad = |lock: &Self| {
            lock.nomad.clone().map(|nomad| Side { version: nomad.version, sha256: nomad.sha256, size: None })
        };
        changes.extend(change("nomad", nomad(self), nomad(now)));
        changes
    }
}

/// The packages that are not the same on both sides, by name.
#[must_use]
pub fn packages(old: &[Locked], new: &[Locked]) -> Vec<Change> {
    let mut both: BTreeMap<&str, [Option<Side>; 2]> = BTreeMap::new();
    for (index, list) in [old, new].into_iter().enumerate() {
        for package in list {
            both.entry(&package.name).or_default()[index] = Some(side(package));
        }
    }
    both.into_iter().filter_map(|(name, [old, new])| change(name, old, new)).collect()
}

fn side(package: &Locked) -> Side {
    Side { version: package.version.clone(), sha256: package.sha256, size: Some(package.size) }
}

fn change(name: &str, old: Option<Side>, new: Option<Side>) -> Option<Change> {
    (old != new).then(|| Change { name: name.to_owned(), old, new })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockedNomad;

    fn locked(name: &str, version: &str, size: u64) -> Locked {
        Locked {
            name: name.into(),
            version: version.into(),
            sha256: Digest::of(version.as_bytes()),
            size,
            licences: Vec::new(),
        }
    }

    #[test]
    fn every_kind_of_change_in_words() {
        let old = Lock {
            suite: "trixie".into(),
            kernel: "linux-image-1".into(),
            nomad: Some(LockedNomad { version: "2.0.4".into(), sha256: Digest::of(b"4") }),
            packages: vec![locked("gone", "1", 10), locked("libc6", "1", 3000), locked("linux-image-1", "1", 50)],
        };
        let new = Lock {
            kernel: "linux-image-2".into(),
            nomad: Some(LockedNomad { version: "2.0.5".into(), sha256: Digest::of(b"5") }),
            packages: vec![locked("libc6", "2", 1500), locked("linux-image-2", "2", 50), locked("new", "3", 7)],
            ..old.clone()
        };
        let lines: Vec<String> = old.changes(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "kernel linux-image-1 -> linux-image-2",
                "gone 1 -> none (-10 B)",
                "libc6 1 -> 2 (-1.5 kB)",
                "new none -> 3 (+7 B)",
                "nomad 2.0.4 -> 2.0.5",
            ]
        );
        assert!(old.changes(&old).is_empty());
        let mut rebuilt = old.clone();
        rebuilt.packages[1].sha256 = Digest::of(b"again");
        assert_eq!(old.changes(&rebuilt)[0].to_string(), "libc6 1 -> 1, other bytes");
    }
}
