//! The lock file that a build with everything newest would leave, without the build.

use agent::facts::NomadSource;
use anyhow::Result;

use super::{Build, Request, builder_id};
use crate::{cache::Cache, lock::Lock, nomad::NomadError, packages::Archive, progress::Progress};

/// The newest packages of the archive for `request`'s recipe, and the release of Nomad that it names. With `fetch` they are
/// downloaded, as the next build will need them, and the lock has their licences; without, it has those of packages that
/// did not change.
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
        let kept = |why: &dyn std::fmt::Display| {
            self.progress.warn(&format!("Nomad stays as it is in the lock file: {why}"));
            self.locked_nomad().cloned()
        };
        now.nomad = match self.obtain(None) {
            Ok(nomad) if nomad.source == NomadSource::Release => self.release(&nomad),
            Ok(_) => kept(&"the one that is named is not the release"),
            Err(error @ NomadError::Unavailable { .. }) => kept(&error),
            Err(error) => return Err(error.into()),
        };
        Ok(now)
    }
}
