//! Whether an image is what its recipe and lock file make: by making it again.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;

use super::{Format, Request, build, formats};
use crate::{
    cache::{Cache, CacheError, GETTING},
    compress::Compression,
    content::Digest,
    diff::{self, Difference, Layer},
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

/// Makes again what `request` says and holds `subject` against it: an image, or a manifest and every file that it names. Packages and
/// Nomad come from the cache, which knows their digests; everything else is made anew.
///
/// # Errors
/// When the build fails, or makes no such file; and when a manifest names nothing, or what is not beside it.
pub fn verify(request: Request, subject: &Path, progress: &Progress) -> Result<Vec<Verified>> {
    let Wanted { files, formats, compressions, manifest } = Wanted::of(subject)?;
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
    if let Some(text) = manifest {
        let (sha256, made_text) = (Digest::of(text.as_bytes()), made.text());
        let made = Digest::of(made_text.as_bytes());
        let layers = if sha256 == made { Vec::new() } else { vec![other_manifest(&text, &made_text)?] };
        verified.push(Verified { file: subject.to_path_buf(), sha256, made, signed: false, layers });
    }
    Ok(verified)
}

/// What is to be verified, and what has to be built for it.
struct Wanted {
    files: Vec<(PathBuf, Kind)>,
    formats: Vec<Format>,
    compressions: Vec<Compression>,
    /// The text of the manifest, when that is the subject.
    manifest: Option<String>,
}

impl Wanted {
    fn of(subject: &Path) -> Result<Self> {
        let (mut kinds, manifest): (Vec<Kind>, _);
        let files = if subject.to_string_lossy().ends_with(Manifest::SUFFIX) {
            let read = Manifest::read(subject)?;
            let files = named(subject, &read)?;
            kinds = files.iter().map(|(_, kind)| *kind).collect();
            manifest =
                Some(fs::read_to_string(subject).with_context(|| format!("failed to read {}", subject.display()))?);
            files
        } else {
            fs::metadata(subject).with_context(|| format!("failed to read {}", subject.display()))?;
            let name = subject.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let kind = formats::kind_of(&name).ok_or_else(|| no_such(subject))?;
            (kinds, manifest) = (vec![kind], None);
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
        Ok(Self { files, formats, compressions, manifest })
    }
}

/// The files that a manifest names, each of which has to be another one, and beside it.
fn named(path: &Path, manifest: &Manifest) -> Result<Vec<(PathBuf, Kind)>> {
    let path = path.display();
    if manifest.artefacts.is_empty() {
        bail!("{path} names no file, so there is nothing to verify");
    }
    let mut seen = BTreeSet::new();
    for artefact in &manifest.artefacts {
        let name = &artefact.file;
        if Path::new(name).file_name() != Some(OsStr::new(name)) {
            bail!("{path} names {name:?}, which is no file beside it");
        }
        if !seen.insert(artefact.kind) {
            bail!("{path} names {name:?} and another file for the same: no build leaves two");
        }
    }
    Ok(manifest.artefacts.iter().map(|artefact| (manifest.folder.join(&artefact.file), artefact.kind)).collect())
}

fn no_such(file: &Path) -> anyhow::Error {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    anyhow!("the recipe makes no file like {name}")
}

/// The first place where a manifest says something else.
fn other_manifest(text: &str, made: &str) -> Result<Layer> {
    let (old, new): (Value, Value) = (serde_json::from_str(text)?, serde_json::from_str(made)?);
    let what = first_other("", &old, &new).unwrap_or_else(|| "it says the same in other letters".to_owned());
    Ok(Layer { name: "manifest", differences: vec![Difference { what, why: None }] })
}

/// The first place (RFC 6901) where two values differ, and what is there.
fn first_other(place: &str, old: &Value, new: &Value) -> Option<String> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                first_other(
                    &format!("{place}/{key}"),
                    one.get(key).unwrap_or(&Value::Null),
                    other.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(one), Value::Array(other)) => (0..one.len().max(other.len())).find_map(|at| {
            first_other(
                &format!("{place}/{at}"),
                one.get(at).unwrap_or(&Value::Null),
                other.get(at).unwrap_or(&Value::Null),
            )
        }),
        _ => Some(format!("{place}: {old} -> {new}")),
    }
}
