//! Whether an image is what its recipe and lock file make: by making it again.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::{Format, Request, build, formats};
use crate::{
    cache::{Cache, CacheError, GETTING},
    compress::Compression,
    content::Digest,
    diff::{self, Layer},
    inspect,
    manifest::{Kind, Manifest},
    progress::Progress,
    update,
};

/// What came of verifying one file.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The file.
    pub file: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// The digest of what the recipe makes.
    pub made: Digest,
    /// Whether the file is an update with a signature, without which it is what the recipe makes.
    pub signed: bool,
    /// What differs, the innermost layer first; none when the file is what the recipe makes.
    pub layers: Vec<Layer>,
}

impl Verified {
    /// Whether the file is what the recipe makes.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.sha256 == self.made || self.signed
    }
}

/// Makes again what `request` says and holds `subject` against it: an image, or every file that a manifest names. Packages and
/// Nomad come from the cache, which knows their digests; everything else is made anew.
///
/// # Errors
/// When the build fails, or makes no such file.
pub fn verify(request: Request, subject: &Path, progress: &Progress) -> Result<Vec<Verified>> {
    let Wanted { files, formats, compressions } = Wanted::of(subject)?;
    let cache = Cache::open(&request.cache, || progress.say("another build has the cache: waiting for it to end"))?;
    // In the cache, so that the next build clears away what is left when this one is killed.
    let folder = tempfile::Builder::new().prefix(GETTING).tempdir_in(cache.root());
    let folder = folder.map_err(|error| CacheError::write(cache.root(), error))?;
    let fresh = folder.path().join("cache");
    fs::create_dir(&fresh).context("failed to make a cache")?;
    for name in ["packages", "nomad", "apt"] {
        symlink(cache.folder(name)?, fresh.join(name)).context("failed to make a cache")?;
    }
    let output = folder.path().join("out");
    let again = Request { cache: fresh, output: output.clone(), formats, compressions, ..request };
    let built = build(&again, progress)?;
    let made = Manifest::read(&built.manifest)?;
    let mut verified = Vec::new();
    for (file, kind) in files {
        let artefact = made.artefact(kind).ok_or_else(|| no_such(&file))?;
        let sha256 = cache.digest(&file)?;
        let signed = sha256 != artefact.sha256
            && kind == Kind::Update
            && fs::read(&file).is_ok_and(|bytes| {
                update::without_signature(&bytes).is_ok_and(|bare| Digest::of(&bare) == artefact.sha256)
            });
        let same = signed || sha256 == artefact.sha256;
        let layers = if same { Vec::new() } else { diff::diff(&file, &output.join(&artefact.file))? };
        verified.push(Verified { file, sha256, made: artefact.sha256, signed, layers });
    }
    Ok(verified)
}

/// What is to be verified, and what has to be built for it.
struct Wanted {
    files: Vec<(PathBuf, Kind)>,
    formats: Vec<Format>,
    compressions: Vec<Compression>,
}

impl Wanted {
    fn of(subject: &Path) -> Result<Self> {
        let mut kinds: Vec<Kind>;
        let files = if subject.to_string_lossy().ends_with(Manifest::SUFFIX) {
            let manifest = Manifest::read(subject)?;
            let of_manifest = |kind| manifest.path(kind).map(|path| (path, kind));
            kinds = manifest.artefacts.iter().map(|artefact| artefact.kind).collect();
            kinds.iter().filter_map(|kind| of_manifest(*kind)).collect()
        } else {
            fs::metadata(subject).with_context(|| format!("failed to read {}", subject.display()))?;
            let name = subject.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let kind = formats::kind_of(&name).ok_or_else(|| no_such(subject))?;
            kinds = vec![kind];
            if matches!(kind, Kind::Spdx | Kind::CycloneDx) {
                let beside = inspect::beside(subject).with_context(|| {
                    format!(
                        "failed to verify {name} alone: it speaks of all files of its build; put the manifest beside it"
                    )
                })?;
                kinds.extend(Manifest::read(&beside)?.artefacts.iter().map(|artefact| artefact.kind));
            }
            vec![(subject.to_path_buf(), kind)]
        };
        let (formats, compressions) = formats::making(&kinds);
        Ok(Self { files, formats, compressions })
    }
}

fn no_such(file: &Path) -> anyhow::Error {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    anyhow!("the recipe makes no file like {name}")
}
