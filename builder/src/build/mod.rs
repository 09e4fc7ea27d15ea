//! A build, from recipe to files. Each step says what it takes; what it takes makes its key; and what has been made
//! with that key before is taken from the cache.

mod formats;
mod inputs;
mod iso;
mod plan;
mod relock;
mod steps;
mod verify;
mod write;

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::facts::NomadSource;
use anyhow::{Context as _, Result};

pub use self::{
    formats::Format,
    plan::{Plan, plan},
    relock::newest,
    verify::{Verified, verify},
};
use self::{
    inputs::Inputs,
    write::{Made, Written},
};
use crate::{
    cache::{Cache, CacheError},
    compress::Compression,
    content::{Digest, Key},
    lock::Lock,
    manifest::{Artefact, Kind, Manifest, Parts},
    output::Output,
    packages::Policy,
    progress::Progress,
    recipe::Recipe,
    sbom::{self, Sbom},
};

/// What to build, and from what.
#[derive(Debug)]
pub struct Request {
    /// The recipe.
    pub recipe: Recipe,
    /// The lock that belongs to it.
    pub lock: Option<Lock>,
    /// How much the lock counts.
    pub policy: Policy,
    /// Where the files go.
    pub output: PathBuf,
    /// Which formats.
    pub formats: Vec<Format>,
    /// How raw disks are compressed; each way gives a file.
    pub compressions: Vec<Compression>,
    /// A mirror instead of the host's.
    pub mirror: Option<String>,
    /// A mirror of the security updates instead of the one that [`crate::mirror::Mirrors::choose`] finds, or `none`.
    pub security_mirror: Option<String>,
    /// The cache.
    pub cache: PathBuf,
    /// An agent instead of the one near the builder.
    pub agent: Option<PathBuf>,
    /// Which Nomad.
    pub nomad: NomadSources,
}

/// Where a Nomad may come from.
#[derive(Debug, Clone, Default)]
pub struct NomadSources {
    /// A program or official zip archive to use.
    pub path: Option<PathBuf>,
    /// A stand-in instead of the one near the builder, for when the release cannot be had.
    pub standin: Option<PathBuf>,
    /// A mirror of the vendor's server.
    pub mirror: Option<String>,
    /// A file with a public key that counts instead of the one that the recipe pins.
    pub key: Option<PathBuf>,
}

/// What came of a build.
#[derive(Debug)]
pub struct Built {
    /// The manifest.
    pub manifest: PathBuf,
    /// The lock that was in force: other than the given one when the archive or Nomad moved on.
    pub lock: Lock,
    /// Whether everything was there already.
    pub unchanged: bool,
}

/// Names of what a build leaves begin with this.
#[must_use]
pub fn base_name(recipe: &Recipe, source: NomadSource) -> String {
    let suffix = if source == NomadSource::StandIn { "-standin" } else { "" };
    let version = recipe.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    format!("steppe-{version}-{}-{}{suffix}", recipe.name, recipe.architecture)
}

/// Builds.
///
/// # Errors
/// With what was attempted, what failed, and what to do about it.
pub fn build(request: &Request, progress: &Progress) -> Result<Built> {
    let cache = Cache::open(&request.cache, || progress.say("another build has the cache: waiting for it to end"))?;
    let result = Build { request, progress, cache: &cache, builder: builder_id(&cache)? }.run();
    cache.save();
    result
}

/// The builder itself is an input: another program may make other bytes.
fn builder_id(cache: &Cache) -> Result<Digest> {
    let exe = std::env::current_exe().context("failed to find the builder's own program")?;
    Ok(cache.digest(&exe)?)
}

struct Build<'a> {
    request: &'a Request,
    progress: &'a Progress,
    cache: &'a Cache,
    builder: Digest,
}

impl Build<'_> {
    fn run(&self) -> Result<Built> {
        let recipe = &self.request.recipe;
        Output::probe(&self.request.output)?;
        let inputs = self.inputs()?;
        let base = base_name(recipe, inputs.nomad.source);
        let key = self.key(&inputs);
        let stamp = self.stamp(&base)?;
        let manifest = self.request.output.join(format!("{base}{}", Manifest::SUFFIX));
        if self.is_unchanged(&inputs) {
            self.progress.say("nothing changed");
            return Ok(Built { manifest, lock: self.lock(inputs.lock), unchanged: true });
        }

        let kernel = self.kernel(&inputs)?;
        let first = self.modules(&inputs, &kernel, &inputs.lists.initramfs, &[])?;
        let second = self.modules(&inputs, &kernel, &inputs.lists.root, &first.always)?;
        let (initrd, initrd_files) = self.initramfs(&inputs, &kernel, &first)?;
        let facts = self.facts(&inputs, &kernel);
        let (root, tree, record) = self.root(&inputs, &kernel, &facts, &second)?;

        let mut output = Output::open(&self.request.output)?;
        let made = Made { base: &base, facts: &facts, kernel: &kernel, initrd: &initrd, root: &root, tree: &tree };
        let Written { artefacts, cmdline, partitions } = self.write(&mut output, &inputs, &made)?;
        let mut written = Manifest {
            format: Manifest::FORMAT,
            name: recipe.name.clone(),
            profile: recipe.profile,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            image_version: recipe.version.clone(),
            role: recipe.role,
            architecture: recipe.architecture,
            standin: inputs.nomad.source == NomadSource::StandIn,
            nomad: facts.nomad.clone(),
            kernel: kernel.release.clone(),
            epoch: facts.epoch,
            cmdline,
            root_hash: tree.root_hash,
            partitions,
            parts: Parts {
                kernel: kernel.image.len() as u64,
                initramfs: initrd.len() as u64,
                root: root.len() as u64,
                nomad: record.nomad,
                libraries: record.libraries,
            },
            artefacts,
            packages: inputs.packages.lock.packages.clone(),
            files: record.files,
            initramfs: initrd_files,
            folder: PathBuf::new(),
        };
        let sbom = Sbom::new(&written, &inputs.boots.borrow(), &inputs.lock.suite, inputs.agent_sha256);
        for (kind, suffix, text) in
            [(Kind::Spdx, "spdx.json", sbom::spdx(&sbom)), (Kind::CycloneDx, "cdx.json", sbom::cyclonedx(&sbom))]
        {
            let file = format!("{base}.{suffix}");
            output.write_bytes(&file, text.as_bytes())?;
            let (size, sha256) = (text.len() as u64, Digest::of(text.as_bytes()));
            written.artefacts.push(Artefact { kind, file, size, sha256 });
        }
        let text = written.text();
        output.write_bytes(&format!("{base}{}", Manifest::SUFFIX), text.as_bytes())?;
        // Before the files change their names: a build that dies between leaves no stamp that lies.
        let _ = fs::remove_file(&stamp);
        output.publish()?;
        for artefact in &written.artefacts {
            // So that the next build need not read the files to know that they are whole.
            self.cache.remember(&self.request.output.join(&artefact.file), artefact.sha256)?;
        }
        self.cache.folder("outputs")?;
        fs::write(&stamp, stamped(key, Digest::of(text.as_bytes())))
            .map_err(|error| CacheError::write(&stamp, error))?;
        Ok(Built { manifest, lock: self.lock(inputs.lock), unchanged: false })
    }

    /// The lock for later builds: one with another program than the release leaves the release that was locked.
    fn lock(&self, made_from: Lock) -> Lock {
        let nomad = made_from.nomad.or_else(|| self.locked_nomad().cloned());
        Lock { nomad, ..made_from }
    }

    /// Everything that the files depend on.
    fn key(&self, inputs: &Inputs) -> Digest {
        let formats = format!("{:?} {:?}", self.request.formats, self.request.compressions);
        Key::new("build", 1)
            .with("builder", self.builder.bytes())
            .with("recipe", format!("{:?}", self.request.recipe))
            .with("lock", inputs.lock.text())
            .with("agent", inputs.agent_sha256.bytes())
            .with("nomad", format!("{} {} {:?}", inputs.nomad.sha256, inputs.nomad.version, inputs.nomad.source))
            .with("files", inputs.files_key().bytes())
            .with("formats", formats)
            .finish()
    }

    /// Where the stamp of the last build of these files is.
    fn stamp(&self, base: &str) -> Result<PathBuf> {
        let output = std::path::absolute(&self.request.output).context("failed to find the current folder")?;
        let place = Key::new("output", 1).with("folder", output.as_os_str().as_encoded_bytes()).with("name", base);
        Ok(self.cache.root().join("outputs").join(place.finish().hex()))
    }

    /// Whether every file of the manifest is there as it was written.
    fn intact(&self, manifest: &Path) -> bool {
        Manifest::read(manifest).is_ok_and(|manifest| {
            manifest.artefacts.iter().all(|artefact| {
                let path = self.request.output.join(&artefact.file);
                self.cache.digest(&path).is_ok_and(|digest| digest == artefact.sha256)
            })
        })
    }
}

/// The stamp of a build: the key of what it was made from, and the digest of its manifest, since another cache may have had files of the
/// same names made from something else since.
fn stamped(key: Digest, manifest: Digest) -> String {
    format!("{key} {manifest}\n")
}

/// Times in file systems have 32 bits.
fn time(epoch: u64) -> u32 {
    u32::try_from(epoch).unwrap_or(u32::MAX)
}
