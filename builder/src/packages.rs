//! The packages of a recipe: from the cache where the lock file says which, else from the archive.

use std::{fs, path::PathBuf};

use crate::{
    apt::{Apt, AptError, Candidate},
    cache::{Cache, CacheError, GETTING},
    content::Digest,
    deb::{Deb, DebError},
    lock::{Lock, Locked},
    mirror::{Mirrors, Security},
    progress::Progress,
    recipe::Recipe,
};

/// How much the lock file counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Exactly what it says, or an error.
    Locked,
    /// What it says while the archive still has it.
    Prefer,
    /// Whatever the archive has now.
    Update,
}

/// A package on this machine.
#[derive(Debug, Clone)]
pub struct Package {
    /// What it is.
    pub locked: Locked,
    /// Where it is.
    pub path: PathBuf,
}

/// Every package of a recipe, and the lock that names them.
#[derive(Debug)]
pub struct Packages {
    /// What was taken, without a word about Nomad. Else equal to the lock that was given, unless the archive moved on.
    pub lock: Lock,
    /// The packages, kernel included, by name.
    pub packages: Vec<Package>,
}

impl Packages {
    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> Option<&Package> {
        self.packages.iter().find(|package| package.locked.name == self.lock.kernel)
    }
}

/// Gets the packages of `recipe`. `mirrors` are asked for only when something is not in the cache.
///
/// # Errors
/// When they cannot be had, or `policy` forbids what can.
pub fn get(
    recipe: &Recipe,
    lock: Option<&Lock>,
    policy: Policy,
    mirrors: &dyn Fn() -> Mirrors,
    cache: &Cache,
    progress: &Progress,
) -> Result<Packages, PackageError> {
    let usable = lock.filter(|lock| policy != Policy::Update && lock.lacks(recipe).is_empty());
    if let Some(lock) = usable {
        let wanted = select(recipe, lock);
        if let Some(packages) = all_cached(&wanted, cache, progress) {
            return Ok(Packages { lock: Lock { packages: wanted, nomad: None, ..lock.clone() }, packages });
        }
    } else if policy == Policy::Locked {
        let missing = lock.map_or_else(|| vec!["everything"], |lock| lock.lacks(recipe)).join(", ");
        return Err(PackageError::NotLocked { missing });
    }

    let Archive { lock: archive, candidates: mut now, apt } = Archive::ask(recipe, &mirrors(), cache, progress)?;
    if let Some(lock) = usable {
        let wanted = Lock { packages: select(recipe, lock), nomad: None, ..lock.clone() };
        let cached = |package: &Locked| is_cached(package, cache);
        now.extend(older(&wanted.packages, &apt, |package| cached(package) || has(&now, package))?);
        let differences = missed(&wanted, &archive, |package| cached(package) || has(&now, package));
        if policy == Policy::Locked && !differences.is_empty() {
            return Err(PackageError::Moved { differences: differences.join("; ") });
        }
        for line in &differences {
            progress.warn(&format!("the archive moved on: {line}"));
        }
        if differences.is_empty() {
            let packages = fetch(&wanted.packages, &now, &apt, cache, progress)?;
            return Ok(Packages { lock: wanted, packages });
        }
    }
    Archive { lock: archive, candidates: now, apt }.fetch(cache, progress)
}

fn has(candidates: &[Candidate], package: &Locked) -> bool {
    candidates.iter().any(|candidate| candidate.sha256 == package.sha256)
}

/// Of what is locked, and not at hand, that which the archive still has beside something newer: a security update does not take away
/// the version before it.
fn older(wanted: &[Locked], apt: &Apt, at_hand: impl Fn(&Locked) -> bool) -> Result<Vec<Candidate>, AptError> {
    let mut found = Vec::new();
    for package in wanted.iter().filter(|package| !at_hand(package)) {
        let candidate = apt.version(&package.name, &package.version)?;
        found.extend(candidate.filter(|candidate| candidate.sha256 == package.sha256));
    }
    Ok(found)
}

/// Where the archive is no help for what is locked. What is at hand need not be the newest that it has.
fn missed(wanted: &Lock, archive: &Lock, at_hand: impl Fn(&Locked) -> bool) -> Vec<String> {
    let mut lines = wanted.differences(archive);
    lines.retain(|line| {
        let name = line.split(':').next().unwrap_or_default();
        let name = if name == "kernel" { &wanted.kernel } else { name };
        wanted.package(name).is_none_or(|package| !at_hand(package))
    });
    lines
}

/// What the archive has now of a recipe's packages.
#[derive(Debug)]
pub struct Archive {
    /// As a lock, without the licences, which are in the packages.
    pub lock: Lock,
    candidates: Vec<Candidate>,
    apt: Apt,
}

impl Archive {
    /// Asks `mirrors`, that of the security updates too when the recipe's suite has them. Only lists are fetched.
    ///
    /// # Errors
    /// When they cannot be had, or lack a package.
    pub fn ask(recipe: &Recipe, mirrors: &Mirrors, cache: &Cache, progress: &Progress) -> Result<Self, PackageError> {
        let (mirror, suite) = (&mirrors.archive, &recipe.packages.suite);
        let security = mirrors.security().filter(|_| recipe.packages.security);
        let and = security.map_or_else(String::new, |security| format!(", {security} for {suite}-security"));
        progress.say(&format!("asking {mirror} for {suite}{and}"));
        let apt = Apt::new(&cache.folder("apt")?, mirror, security, &recipe.packages, recipe.architecture)?;
        if recipe.packages.security && mirrors.security == Security::Unknown {
            progress.warn(&format!(
                "{mirror} is asked alone, and has security updates with the next point release of {suite} only: name a mirror of them \
                 with --security-mirror, or say --security-mirror {}",
                Mirrors::NONE
            ));
        }
        apt.update()?;
        let candidates = candidates(recipe, &apt)?;
        Ok(Self { lock: as_lock(recipe, &candidates)?, candidates, apt })
    }

    /// Gets the packages.
    ///
    /// # Errors
    /// When one cannot be had.
    pub fn fetch(self, cache: &Cache, progress: &Progress) -> Result<Packages, PackageError> {
        let packages = fetch(&self.lock.packages, &self.candidates, &self.apt, cache, progress)?;
        let lock = Lock { packages: packages.iter().map(|package| package.locked.clone()).collect(), ..self.lock };
        Ok(Packages { lock, packages })
    }
}

/// The packages that a lock has for this recipe, whether the cache has them or not.
#[must_use]
pub fn locked(recipe: &Recipe, lock: &Lock, cache: &Cache) -> Packages {
    let wanted = select(recipe, lock);
    let one = |locked: &Locked| Package { locked: locked.clone(), path: cache.package(locked.sha256) };
    let packages = wanted.iter().map(one).collect();
    Packages { lock: Lock { packages: wanted, nomad: None, ..lock.clone() }, packages }
}

/// Of a lock the packages of this recipe, by name.
fn select(recipe: &Recipe, lock: &Lock) -> Vec<Locked> {
    let wanted = |package: &&Locked| recipe.packages.names.contains(&package.name) || package.name == lock.kernel;
    let mut packages: Vec<_> = lock.packages.iter().filter(wanted).cloned().collect();
    packages.sort();
    packages
}

fn all_cached(wanted: &[Locked], cache: &Cache, progress: &Progress) -> Option<Vec<Package>> {
    let one = |locked: &Locked| {
        let path = cache.package(locked.sha256);
        let whole = is_cached(locked, cache);
        if !whole && path.exists() {
            let Locked { name, version, .. } = locked;
            progress.warn(&format!("{} is not {name} {version} any more: it is fetched again", path.display()));
        }
        whole.then(|| Package { locked: locked.clone(), path })
    };
    // Of all: each that is damaged is worth a word.
    wanted.iter().map(one).collect::<Vec<_>>().into_iter().collect()
}

/// Whether the cache has the package, and whole. It is read only when it changed since it was last looked at.
fn is_cached(locked: &Locked, cache: &Cache) -> bool {
    cache.digest(&cache.package(locked.sha256)).is_ok_and(|digest| digest == locked.sha256)
}

fn candidates(recipe: &Recipe, apt: &Apt) -> Result<Vec<Candidate>, PackageError> {
    let meta = apt.show(&recipe.kernel.package)?;
    let kernel = meta.depends.iter().find(|name| name.starts_with("linux-image-")).unwrap_or(&meta.name);
    let mut all = vec![apt.show(kernel)?];
    for name in &recipe.packages.names {
        all.push(apt.show(name)?);
    }
    Ok(all)
}

/// The first candidate is the kernel.
fn as_lock(recipe: &Recipe, candidates: &[Candidate]) -> Result<Lock, PackageError> {
    let kernel =
        candidates.first().ok_or_else(|| PackageError::NotLocked { missing: recipe.kernel.package.clone() })?;
    let one = |c: &Candidate| Locked {
        name: c.name.clone(),
        version: c.version.clone(),
        sha256: c.sha256,
        size: c.size,
        licences: Vec::new(),
    };
    let mut packages: Vec<_> = candidates.iter().map(one).collect();
    packages.sort();
    Ok(Lock { suite: recipe.packages.suite.clone(), kernel: kernel.name.clone(), nomad: None, packages })
}

fn fetch(
    wanted: &[Locked],
    candidates: &[Candidate],
    apt: &Apt,
    cache: &Cache,
    progress: &Progress,
) -> Result<Vec<Package>, PackageError> {
    let mut packages = Vec::new();
    for locked in wanted {
        let path = cache.package(locked.sha256);
        if !is_cached(locked, cache) {
            let missing = || PackageError::NotLocked { missing: locked.name.clone() };
            let candidate = candidates.iter().find(|c| c.sha256 == locked.sha256).ok_or_else(missing)?;
            progress.say(&format!("downloading {} {}", locked.name, locked.version));
            let store = cache.folder("packages")?;
            let temporary = tempfile::Builder::new()
                .prefix(GETTING)
                .tempdir_in(&store)
                .map_err(|e| CacheError::write(&store, e))?;
            let file = apt.download(candidate, temporary.path())?;
            let got = cache.digest(&file)?;
            if got != locked.sha256 {
                return Err(PackageError::Digest { name: locked.name.clone(), wanted: locked.sha256, got });
            }
            fs::rename(&file, &path).map_err(|e| CacheError::write(&path, e))?;
        }
        let mut locked = locked.clone();
        if locked.licences.is_empty() {
            locked.licences = Deb::read(&path, &locked.name, &locked.version, &|_| false)?.licences;
        }
        packages.push(Package { locked, path });
    }
    Ok(packages)
}

/// Why the packages of a recipe cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// apt failed.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A package cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// `--locked` without a lock for it.
    #[error("the lock file does not name {missing}: `builder lock` writes it anew")]
    NotLocked {
        /// What it lacks.
        missing: String,
    },
    /// `--locked`, and the archive has other versions.
    #[error(
        "--locked, but the archive has other packages than the lock file: {differences}; `builder lock` takes them"
    )]
    Moved {
        /// What differs.
        differences: String,
    },
    /// What was downloaded is not what the lists promise.
    #[error(
        "the downloaded {name} has the digest {got}, not {wanted}: try again, or name another mirror with --mirror"
    )]
    Digest {
        /// The package.
        name: String,
        /// What it should have.
        wanted: Digest,
        /// What it has.
        got: Digest,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::tests::Archive;

    fn package(name: &str, version: &str) -> Locked {
        Locked {
            name: name.into(),
            version: version.into(),
            sha256: Digest::of(version.as_bytes()),
            size: 1,
            licences: Vec::new(),
        }
    }

    #[test]
    fn a_security_update_does_not_take_away_what_is_locked() {
        let archive = Archive::new(&[("debian", "trixie", "1"), ("debian-security", "trixie-security", "2")]);
        let apt = archive.apt(Some("debian-security"));
        apt.update().unwrap();
        let newest = apt.show("libc6").unwrap();
        assert_eq!(newest.version, "2");
        let at_hand = |package: &Locked| has(std::slice::from_ref(&newest), package);
        let found = |locked: Locked| older(&[locked], &apt, at_hand).unwrap();
        assert_eq!(found(package("libc6", "1")).iter().map(|one| one.version.as_str()).collect::<Vec<_>>(), ["1"]);
        assert!(found(package("libc6", "2")).is_empty(), "it is there already");
        assert!(found(package("libc6", "0")).is_empty(), "the archive does not have it");
        let other = Locked { sha256: Digest::of(b"other"), ..package("libc6", "1") };
        assert!(found(other).is_empty(), "other bytes under that version");
    }

    #[test]
    fn only_what_is_not_cached_is_missed() {
        let lock = |kernel: &str, version: &str| Lock {
            suite: "trixie".into(),
            kernel: kernel.into(),
            nomad: None,
            packages: vec![package(kernel, version), package("libc6", version), package("same", "1")],
        };
        let (wanted, archive) = (lock("linux-image-1", "1"), lock("linux-image-2", "2"));
        assert_eq!(missed(&wanted, &archive, |_| false).len(), 2);
        // The archive moved on; the one package that the cache has lost is as it was.
        assert!(missed(&wanted, &archive, |package| package.name != "same").is_empty());
        let kernel = missed(&wanted, &archive, |package| package.name != "linux-image-1");
        assert_eq!(kernel, ["kernel: locked linux-image-1, the archive has linux-image-2"]);
        assert_eq!(missed(&wanted, &archive, |package| package.name != "libc6").len(), 1);
    }
}
