//! What a build starts from: agent, Nomad, packages, module lists.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::facts::NomadSource;
use anyhow::{Context as _, Result};

use super::{Build, Request};
use crate::{
    content::{Digest, Key},
    embedded,
    lock::{Lock, LockedNomad},
    mirror::Mirrors,
    modules::ModuleLists,
    nomad::{self, NomadError, Obtained},
    packages::{self, Packages, Policy},
    programs::{self, Program},
    progress,
    recipe::ExtraFile,
};

/// What is known before anything is made.
pub(super) struct Inputs {
    pub(super) packages: Packages,
    pub(super) agent: PathBuf,
    pub(super) agent_sha256: Digest,
    pub(super) nomad: Obtained,
    /// What the image is made from: the packages, and Nomad when it is the release.
    pub(super) lock: Lock,
    pub(super) lists: ModuleLists,
    /// Files of the user's own, with their bytes.
    pub(super) files: Vec<(ExtraFile, Arc<[u8]>)>,
    /// The packages of which files were taken that boot what is written.
    pub(super) boots: RefCell<BTreeSet<&'static str>>,
}

impl Inputs {
    /// What the user's own files come to, whatever their sources are called.
    pub(super) fn files_key(&self) -> Digest {
        let add = |key: Key, (file, bytes): &(ExtraFile, Arc<[u8]>)| {
            key.with("path", file.place()).with("mode", &file.mode).with("bytes", bytes)
        };
        self.files.iter().fold(Key::new("files", 1), add).finish()
    }
}

impl Build<'_> {
    pub(super) fn inputs(&self) -> Result<Inputs> {
        let Request { recipe, lock, policy, .. } = self.request;
        let (lists, files) = (self.lists()?, self.files()?);
        let agent = programs::find(Program::Agent, recipe.architecture, self.request.agent.as_deref())?;
        let agent_sha256 = self.cache.digest(&agent)?;
        let nomad = self.progress.step("nomad", || {
            let nomad = self.nomad()?;
            for note in &nomad.notes {
                self.progress.warn(note);
            }
            let from = match nomad.source {
                NomadSource::Path => "as named",
                NomadSource::Release => "official release",
                NomadSource::StandIn => "STAND-IN",
            };
            let summary = format!("{} ({from})", nomad.version);
            anyhow::Ok((nomad, summary))
        })?;
        let packages = self.progress.step("packages", || {
            let mirrors = || self.mirrors();
            let packages = packages::get(recipe, lock.as_ref(), *policy, &mirrors, self.cache, self.progress)?;
            let size = packages.packages.iter().map(|package| package.locked.size).sum();
            let summary =
                format!("{} of {}, {}", packages.packages.len(), recipe.packages.suite, progress::bytes(size));
            anyhow::Ok((packages, summary))
        })?;
        let lock = Lock { nomad: self.release(&nomad), ..packages.lock.clone() };
        Ok(Inputs { packages, agent, agent_sha256, nomad, lock, lists, files, boots: RefCell::default() })
    }

    /// Where packages come from.
    pub(super) fn mirrors(&self) -> Mirrors {
        let Request { mirror, security_mirror, .. } = self.request;
        Mirrors::choose(mirror.as_deref(), security_mirror.as_deref(), Path::new("/"))
    }

    /// The modules that the recipe asks for.
    pub(super) fn lists(&self) -> Result<ModuleLists> {
        let recipe = &self.request.recipe;
        let list = embedded::module_list(&recipe.kernel.modules);
        let unknown = || format!("there is no module list {:?}: use \"cloud\" or \"metal\"", recipe.kernel.modules);
        let list = list.with_context(unknown)?;
        let mut lists = ModuleLists::parse(&format!("modules-{}.toml", recipe.kernel.modules), list)?;
        recipe.modules.add_to(&mut lists);
        Ok(lists)
    }

    /// The user's own files.
    pub(super) fn files(&self) -> Result<Vec<(ExtraFile, Arc<[u8]>)>> {
        self.request.recipe.files.iter().map(|file| Ok((file.clone(), file.read()?))).collect()
    }

    /// What a lock file says of `nomad`. Unless --locked was given, which refuses it, another digest of the same version
    /// is worth a word: vendors do not change what they have published.
    pub(super) fn release(&self, nomad: &Obtained) -> Option<LockedNomad> {
        let sha256 = Digest::parse(&nomad.sha256).filter(|_| nomad.source == NomadSource::Release)?;
        let now = LockedNomad { version: nomad.version.clone(), sha256 };
        if let Some(locked) = self.locked_nomad()
            && locked.version == now.version
            && locked.sha256 != now.sha256
        {
            let LockedNomad { version, sha256 } = locked;
            self.progress
                .warn(&format!("the lock file has Nomad {version} with the SHA-256 {sha256}, not {}", now.sha256));
        }
        Some(now)
    }

    pub(super) fn locked_nomad(&self) -> Option<&LockedNomad> {
        self.request.lock.as_ref()?.nomad.as_ref()
    }

    fn nomad(&self) -> Result<Obtained> {
        let (named, architecture) = (self.request.nomad.standin.as_deref(), self.request.recipe.architecture);
        // A stand-in that is named must be usable; one that merely could be there is missed only when it is needed.
        let standin = match (programs::find(Program::StandIn, architecture, named), named) {
            (Err(error), Some(_)) => return Err(error.into()),
            (found, _) => found,
        };
        match (self.obtain(standin.as_ref().ok().cloned()), standin) {
            (Err(error @ NomadError::Unavailable { .. }), Err(standin)) => {
                Err(anyhow::Error::new(error).context(format!("no Nomad, and nothing to take its place: {standin}")))
            }
            (result, _) => Ok(result?),
        }
    }

    /// Nomad from the first place that has it; `standin` when none does.
    pub(super) fn obtain(&self, standin: Option<PathBuf>) -> Result<Obtained, NomadError> {
        self.with_nomad(standin, nomad::obtain)
    }

    /// Gives `act` what is asked for.
    pub(super) fn with_nomad<T>(&self, standin: Option<PathBuf>, act: impl FnOnce(&nomad::Request<'_>) -> T) -> T {
        let sources = &self.request.nomad;
        let of_mirror =
            sources.mirror.iter().map(|mirror| format!("{}{}", mirror.trim_end_matches('/'), nomad::KEY_OF_MIRROR));
        let key_urls = of_mirror.chain([nomad::KEY.to_owned()]).collect();
        let said = Cell::new(0);
        let request = nomad::Request {
            path: sources.path.clone(),
            version: self.request.recipe.nomad_version.clone(),
            architecture: self.request.recipe.architecture,
            cache_dir: self.cache.root().to_path_buf(),
            base_url: sources.mirror.clone().unwrap_or_else(|| nomad::RELEASES.to_owned()),
            signer: self.request.recipe.nomad_key.clone(),
            key_urls,
            key: sources.key.clone(),
            standin,
            locked_sha256: (self.request.policy == Policy::Locked)
                .then(|| self.locked_nomad())
                .flatten()
                .map(|locked| locked.sha256.hex()),
            progress: &|have, all| {
                // A line for every tenth is enough.
                let tenth = all.filter(|all| *all > 0).map_or(have >> 24, |all| have * 10 / all);
                if said.replace(tenth) != tenth {
                    self.progress.say(&format!("downloading Nomad, {}", progress::bytes(have)));
                }
            },
        };
        act(&request)
    }
}
