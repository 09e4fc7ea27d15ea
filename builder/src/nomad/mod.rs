//! Where the Nomad of an image comes from.
//!
//! In this order, the first that applies:
//! 1. the file that the user names ([`Request::path`]): the program, or the official zip;
//! 2. the pinned version in the cache, its digest checked again;
//! 3. the official release: zip, checksums, and the signature of the checksums by the pinned key, all checked;
//! 4. the stand-in, and only when the server of 3 cannot be reached or does not serve. It is marked as what it is.
//!
//! Nothing takes over for a release that fails a check, or for a version that does not exist; nor for a key that cannot be
//! had while the release can ([`trust`]).

mod archive;
mod cache;
mod download;
mod error;
mod fingerprint;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod key;
mod program;
mod release;
mod sums;
#[cfg(test)]
mod tests;
mod trust;
#[cfg(test)]
mod trust_tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use agent::facts::NomadSource;

use self::{
    cache::{Cache, Record},
    key::Key,
    program::Kind,
    release::{Release, digest},
    trust::Trust,
};
pub use self::{error::NomadError, fingerprint::Fingerprint};
use crate::architecture::Architecture;

/// The vendor's server.
pub const RELEASES: &str = "https://releases.hashicorp.com";

/// Where the vendor publishes the key that signs its releases.
pub const KEY: &str = "https://www.hashicorp.com/.well-known/pgp-key.txt";

/// Where a mirror has the key, if it has it.
pub const KEY_OF_MIRROR: &str = "/.well-known/pgp-key.txt";

/// What is wanted, and what may be used for it.
#[derive(Clone)]
pub struct Request<'a> {
    /// What `--nomad` or `NOMAD` names.
    pub path: Option<PathBuf>,
    /// The version that the recipe pins, without a leading `v`.
    pub version: String,
    /// What the image is for.
    pub architecture: Architecture,
    /// The builder's cache directory.
    pub cache_dir: PathBuf,
    /// [`RELEASES`], or a mirror with the same paths (`--nomad-mirror`).
    pub base_url: String,
    /// The key that must have signed the release.
    pub signer: Fingerprint,
    /// Where that key is published: [`KEY`], after a mirror's own copy. The first that has it counts.
    pub key_urls: Vec<String>,
    /// A file with an OpenPGP public key that counts in place of `signer` (`--nomad-key`).
    pub key: Option<PathBuf>,
    /// The stand-in's program, if it may be used.
    pub standin: Option<PathBuf>,
    /// The digest that the program must have (`--locked`).
    pub locked_sha256: Option<String>,
    /// Told how many bytes of the archive are here, and how many there will be if that is known.
    pub progress: &'a dyn Fn(u64, Option<u64>),
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("path", &self.path)
            .field("version", &self.version)
            .field("architecture", &self.architecture)
            .field("base_url", &self.base_url)
            .field("signer", &self.signer)
            .field("key_urls", &self.key_urls)
            .field("key", &self.key)
            .field("standin", &self.standin)
            .finish_non_exhaustive()
    }
}

/// A program for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// The program: executable, and not to be written to.
    pub path: PathBuf,
    /// Its version, without the leading `v`.
    pub version: String,
    /// Where it comes from.
    pub source: NomadSource,
    /// SHA-256 of the program, in hexadecimal.
    pub sha256: String,
    /// What the user should be told, one sentence each: why the stand-in is used, that the copy of the key is old.
    pub notes: Vec<String>,
}

/// Finds or gets the program for an image.
///
/// # Errors
/// When there is none, or the one there is must not be used. Each error names the input and what to do.
pub fn obtain(request: &Request<'_>) -> Result<Obtained, NomadError> {
    let obtained = match (&request.path, &request.standin) {
        (Some(path), _) => given(path, request),
        (None, standin) => match (official(request), standin) {
            (Err(reason @ NomadError::Unavailable { .. }), Some(standin)) => stand_in(standin, request, &reason),
            (result, _) => result,
        },
    }?;
    match &request.locked_sha256 {
        Some(locked) if !locked.eq_ignore_ascii_case(&obtained.sha256) => Err(NomadError::Locked {
            path: obtained.path.display().to_string(),
            version: obtained.version,
            found: obtained.sha256,
            locked: locked.clone(),
        }),
        _ => Ok(obtained),
    }
}

/// The program that [`obtain`] would give without asking anybody and without keeping anything; nothing when it would have to.
///
/// # Errors
/// As [`obtain`], for a program that is named.
pub fn at_hand(request: &Request<'_>) -> Result<Option<Obtained>, NomadError> {
    let kept = |group: &str, name: &str, source| {
        let (program, record) = Cache::look(&request.cache_dir, group).find(name)?;
        Some(from_record(program, &record, source, vec![]))
    };
    match &request.path {
        Some(path) if Kind::of(path)? != Kind::Zip => local(path, request, NomadSource::Path, vec![]).map(Some),
        Some(path) => Ok(kept("given", &digest(path)?.0.hex(), NomadSource::Path)),
        None => {
            let trust = trust(request)?;
            let name = release::name(&request.version, request.architecture);
            Ok(kept(trust.fingerprint().as_str(), &name, NomadSource::Release))
        }
    }
}

fn trust<'a>(request: &'a Request<'_>) -> Result<Trust<'a>, NomadError> {
    Ok(match &request.key {
        Some(path) => Trust::Named(Key::read(path)?),
        None => Trust::Pinned { fingerprint: &request.signer, urls: &request.key_urls },
    })
}

fn given(path: &Path, request: &Request<'_>) -> Result<Obtained, NomadError> {
    if Kind::of(path)? != Kind::Zip {
        return local(path, request, NomadSource::Path, vec![]);
    }
    let cache = Cache::open(&request.cache_dir, "given")?;
    let (archive_sha256, _) = digest(path)?;
    let name = archive_sha256.hex();
    let (program, record) = match cache.find(&name) {
        Some(found) => found,
        None => {
            let mut file = cache.temporary()?;
            archive::extract(path, &path.display().to_string(), &mut file)?;
            let sha256 = digest(file.path())?.0;
            check(file.path(), path, request.architecture)?;
            // Asked where it lies now: what is no Nomad does not get into the cache.
            let file = cache::executable(file)?;
            let record = Record { version: program::version(&file)?, sha256, archive_sha256 };
            (cache.store(&name, file, &record)?, record)
        }
    };
    check(&program, path, request.architecture)?;
    Ok(from_record(program, &record, NomadSource::Path, vec![]))
}

fn official(request: &Request<'_>) -> Result<Obtained, NomadError> {
    if !program::is_version(&request.version) {
        return Err(NomadError::BadVersion(request.version.clone()));
    }
    let trust = trust(request)?;
    let cache = Cache::open(&request.cache_dir, trust.fingerprint().as_str())?;
    let release = Release {
        base_url: &request.base_url,
        version: &request.version,
        architecture: request.architecture,
        trust: &trust,
    };
    let (program, record) = release.obtain(&cache, request.progress)?;
    check(&program, &program, request.architecture)?;
    Ok(from_record(program, &record, NomadSource::Release, age(&trust).into_iter().collect()))
}

/// A word about a named key whose copy is past its end. Only a word: see [`key`] for why that is no error. Of a key that
/// is fetched a renewed copy is taken without being asked.
fn age(trust: &Trust<'_>) -> Option<String> {
    let Trust::Named(key) = trust else { return None };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    key.expires().filter(|&until| until <= now).map(|_| {
        format!(
            "the copy of the release key {} has expired; signatures from before that are still accepted, for newer \
             ones give the renewed key with --nomad-key",
            key.fingerprint()
        )
    })
}

fn stand_in(path: &Path, request: &Request<'_>, reason: &NomadError) -> Result<Obtained, NomadError> {
    let note = format!("THE STAND-IN IS USED, NOT NOMAD, and the image is good for tests only: {reason}");
    local(path, request, NomadSource::StandIn, vec![note])
}

/// The program at `path` as it is.
fn local(path: &Path, request: &Request<'_>, source: NomadSource, notes: Vec<String>) -> Result<Obtained, NomadError> {
    check(path, path, request.architecture)?;
    let (sha256, _) = digest(path)?;
    let path = std::path::absolute(path).map_err(NomadError::io("find", path))?;
    Ok(Obtained { version: program::version(&path)?, path, source, sha256: sha256.hex(), notes })
}

fn from_record(path: PathBuf, record: &Record, source: NomadSource, notes: Vec<String>) -> Obtained {
    Obtained { path, version: record.version.clone(), source, sha256: record.sha256.hex(), notes }
}

/// Whether `program`, which the user knows as `name`, is one for the image.
fn check(program: &Path, name: &Path, wanted: Architecture) -> Result<(), NomadError> {
    let path = name.display().to_string();
    let (found, wanted) = match Kind::of(program)? {
        Kind::Program(architecture) if architecture == wanted => return Ok(()),
        Kind::Program(architecture) => (architecture.as_str().to_owned(), wanted.as_str()),
        Kind::Foreign(found) => (found, wanted.as_str()),
        Kind::Zip | Kind::Other => return Err(NomadError::NotAProgram { path }),
    };
    Err(NomadError::Architecture { path, found, wanted })
}
