//! The lock file that a build with everything newest would leave, without the build.

use agent::facts::NomadSource;
use anyhow::Result;

use super::{Build, Request, builder_id};
use crate::{
    cache::Cache,
    lock::{Lock, LockedNomad},
    nomad::{self, NomadError},
    packages::Archive,
    progress::Progress,
};

/// The newest packages of the archive for `request`'s recipe, and the release of Nomad that it names. With `fetch` they are
/// downloaded, as the next build will need them, and the lock has their licences; without, it has those of packages that
/// did not change, and Nomad is looked for on this machine alone.
///
/// A release that cannot be had leaves what the lock said of Nomad, with a warning: a machine without the vendor's server
/// can still follow the archive.
///
/// # Errors
/// When the archive cannot be asked, or what it gives cannot be used.
pub fn newest(request: &Request, fetch: bool, progress: &Progress) -> Result<Lock> {
    let cache = Cache::open(&request.cache, || progress.say("another build has the cache: waiting for it to end"))?;
    let build = Build { request, progress, cache: &cache, builder: builder_id(&cache)? };
    let result = build.newest(fetch);
    cache.save();
    result
}

impl Build<'_> {
    fn newest(&self, fetch: bool) -> Result<Lock> {
        let Request { recipe, lock, .. } = self.request;
        let archive = Archive::ask(recipe, &self.mirrors(), self.cache, self.progress)?;
        let mut now = if fetch { archive.fetch(self.cache, self.progress)?.lock } else { archive.lock };
        for package in now.packages.iter_mut().filter(|package| package.licences.is_empty()) {
            let known = lock.as_ref().and_then(|lock| lock.package(&package.name));
            if let Some(known) = known.filter(|known| known.sha256 == package.sha256) {
                package.licences.clone_from(&known.licences);
            }
        }
        now.nomad = self.newest_nomad(fetch)?;
        Ok(now)
    }

    /// The release of Nomad that the recipe names; what the lock says when it cannot be had.
    fn newest_nomad(&self, fetch: bool) -> Result<Option<LockedNomad>, NomadError> {
        let kept = |why: &dyn std::fmt::Display| {
            self.progress.warn(&format!("Nomad stays as it is in the lock file: {why}"));
            Ok(self.locked_nomad().cloned())
        };
        let found = if fetch { self.obtain(None).map(Some) } else { self.with_nomad(None, nomad::at_hand) };
        match found {
            Ok(Some(nomad)) if nomad.source == NomadSource::Release => Ok(self.release(&nomad)),
            Ok(Some(_)) => kept(&"the one that is named is not the release"),
            Ok(None) => {
                let version = &self.request.recipe.nomad_version;
                kept(&format!("the release {version} is not on this machine, and none is downloaded"))
            }
            Err(error @ NomadError::Unavailable { .. }) => kept(&error),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use agent::facts::Role;

    use super::*;
    use crate::{build::NomadSources, content::Digest, nomad::fixture::Server, packages::Policy, recipe::Recipe};

    #[test]
    fn without_fetch_no_nomad_is_asked_for() {
        let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
        let cache = Cache::open(&folder.path().join("cache"), || ()).unwrap();
        let nomad = LockedNomad { version: "2.0.4".into(), sha256: Digest::of(b"nomad") };
        let lock = Lock { suite: "trixie".into(), kernel: "k".into(), nomad: Some(nomad.clone()), packages: vec![] };
        let request = Request {
            recipe: Recipe::embedded(Role::Server, None).unwrap(),
            lock: Some(lock),
            policy: Policy::Update,
            output: PathBuf::new(),
            formats: vec![],
            compressions: vec![],
            mirror: None,
            security_mirror: None,
            cache: cache.root().to_path_buf(),
            agent: None,
            nomad: NomadSources { mirror: Some(server.url()), ..NomadSources::default() },
        };
        let build =
            Build { request: &request, progress: &Progress::silent(), cache: &cache, builder: Digest::of(b"b") };
        assert_eq!(build.newest_nomad(false).unwrap(), Some(nomad));
        assert_eq!(server.requests(), Vec::<String>::new());
        // What would have been asked for otherwise.
        let _ = build.newest_nomad(true);
        assert!(server.requests().iter().any(|path| path.contains("/nomad/2.0.5/")), "{:?}", server.requests());
    }
}
