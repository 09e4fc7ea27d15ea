//! Whether an image is what its recipe and lock file make: by making it again.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use serde::Serialize;

use super::{Format, Request, build};
use crate::{
    cache::{Cache, CacheError, GETTING},
    compress::Compression,
    content::Digest,
    diff::{self, Layer},
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
    let files = files_of(subject)?;
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
    let mut formats: Vec<Format> = files.iter().filter_map(|file| format_of(file)).collect();
    formats.sort_unstable();
    formats.dedup();
    let mut compressions: Vec<Compression> = files.iter().map(|file| compression_of(file)).collect();
    compressions.sort_unstable();
    compressions.dedup();
    let again = Request { cache: fresh, output: output.clone(), formats, compressions, ..request };
    let built = build(&again, progress)?;
    let made = Manifest::read(&built.manifest)?;
    let base = base(&built.manifest);
    files
        .into_iter()
        .map(|file| {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // The image may have been given another name; what it ends in says what it is.
            let same = made
                .artefacts
                .iter()
                .filter(|artefact| name.ends_with(artefact.file.strip_prefix(&base).unwrap_or(&artefact.file)))
                .max_by_key(|artefact| artefact.file.len());
            let Some(artefact) = same else { bail!("the recipe makes no file like {name}") };
            let sha256 = cache.digest(&file)?;
            let signed = sha256 != artefact.sha256
                && artefact.kind == Kind::Update
                && fs::read(&file).is_ok_and(|bytes| {
                    update::without_signature(&bytes).is_ok_and(|bare| Digest::of(&bare) == artefact.sha256)
                });
            let same = signed || sha256 == artefact.sha256;
            let layers = if same { Vec::new() } else { diff::diff(&file, &output.join(&artefact.file))? };
            Ok(Verified { file, sha256, made: artefact.sha256, signed, layers })
        })
        .collect()
}

/// The name of a manifest without what all manifests end in.
fn base(manifest: &Path) -> String {
    let name = manifest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(Manifest::SUFFIX).map(ToOwned::to_owned).unwrap_or(name)
}

fn files_of(subject: &Path) -> Result<Vec<PathBuf>> {
    if !subject.to_string_lossy().ends_with(Manifest::SUFFIX) {
        fs::metadata(subject).with_context(|| format!("failed to read {}", subject.display()))?;
        return Ok(vec![subject.to_path_buf()]);
    }
    let manifest = Manifest::read(subject)?;
    Ok(manifest.artefacts.iter().filter_map(|artefact| manifest.path(artefact.kind)).collect())
}

/// How a raw disk of that name is compressed.
fn compression_of(file: &Path) -> Compression {
    let name = file.to_string_lossy();
    let of = [(".raw.zst", Compression::Zstd), (".raw.gz", Compression::Gzip), (".raw.xz", Compression::Xz)];
    of.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map_or(Compression::None, |(_, compression)| compression)
}

/// The format that a file's name speaks of.
fn format_of(file: &Path) -> Option<Format> {
    let name = file.file_name()?.to_str()?;
    let words: Vec<&str> = name.split('.').collect();
    let says = |format: &Format| format.to_possible_value().is_some_and(|value| words.contains(&value.get_name()));
    let of_raw = || name.ends_with(".efi").then_some(Format::Raw);
    Format::value_variants().iter().copied().find(says).or_else(of_raw)
}
