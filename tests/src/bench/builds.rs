//! How long builds take: cold, after an edit of the recipe, with nothing changed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use builder::{
    build::{self, Format, NomadSources, Request},
    cache::Cache,
    compress::Compression,
    lock::Lock,
    mirror::Mirrors,
    packages::{self, Policy},
    progress::Progress,
    recipe::{Profile, Recipe},
};

use super::{cpu, table::Row};

/// Ratio to a cold build that a build after an edit of the recipe may have.
const EDIT: f64 = 0.2;
/// Ratio to a cold build that a build with nothing changed may have.
const UNCHANGED: f64 = 0.02;

/// What of a cache is not a download.
const MADE: [&str; 4] = ["steps", "outputs", "digests.json", "lock"];

/// Seconds of one build.
#[derive(Debug, Clone, Copy)]
struct Took {
    cpu: f64,
    wall: f64,
}

/// Builds the server image again and again with a cache of its own, which begins with the downloads and nothing else.
///
/// # Errors
/// When a build fails, or one that should have done nothing did something.
pub fn rows(scratch: &Path) -> anyhow::Result<Vec<Row>> {
    let mut request = request(scratch, cache(scratch)?, Role::Server)?;
    download(&request)?;

    let cold = timed(&request, false)?;
    let elsewhere = Request { output: scratch.join("elsewhere"), ..request };
    let warm = timed(&elsewhere, false)?;
    request = Request { output: scratch.join("out"), ..elsewhere };
    request.recipe.kernel.cmdline.push("nomodeset".to_owned());
    let edited = timed(&request, false)?;
    let unchanged = timed(&request, true)?;
    let row = |what: &str, took: Took| {
        Row::new(what, took.cpu, cold.cpu, "CPU-s").note(format!("{:.2} s on the wall", took.wall))
    };
    Ok(vec![
        row("build, cold (packages and Nomad downloaded before)", cold),
        row("build, warm: the steps in the cache, the files not there", warm),
        row("build, one more kernel argument in the recipe", edited).budget(EDIT),
        row("build, nothing changed", unchanged).budget(UNCHANGED),
    ])
}

/// A cache in `scratch` with the downloads of the user's, and nothing else at first.
pub(super) fn cache(scratch: &Path) -> anyhow::Result<PathBuf> {
    let cache = scratch.join("cache");
    if !cache.exists() {
        fs::create_dir(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
        if let Some(users) = Cache::default_folder().filter(|folder| folder.is_dir()) {
            copy_downloads(&users, &cache)?;
        }
    }
    Ok(cache)
}

/// A raw disk and the files for a start over the network.
pub(super) fn request(scratch: &Path, cache: PathBuf, role: Role) -> anyhow::Result<Request> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    Ok(Request {
        recipe: Recipe::embedded(role, None)?,
        lock: Some(Lock::embedded(Profile::Cloud)?),
        policy: Policy::Prefer,
        output: scratch.join("out"),
        formats: vec![Format::Raw, Format::Netboot],
        compressions: vec![Compression::None],
        mirror: None,
        security_mirror: None,
        cache,
        agent: named("STEPPE_AGENT"),
        nomad: NomadSources { path: named("NOMAD"), standin: named("STEPPE_STANDIN"), ..NomadSources::default() },
    })
}

/// Gets what the user's cache did not have, so that no build waits for a network.
fn download(request: &Request) -> anyhow::Result<()> {
    let cache = Cache::open(&request.cache, || ())?;
    let mirrors = || Mirrors::choose(None, None, Path::new("/"));
    let progress = Progress::silent();
    packages::get(&request.recipe, request.lock.as_ref(), request.policy, &mirrors, &cache, &progress)?;
    Ok(())
}

fn timed(request: &Request, unchanged: bool) -> anyhow::Result<Took> {
    let (cpu, wall) = (cpu::seconds(std::process::id())?, Instant::now());
    let built = build::build(request, &Progress::silent())?;
    let took = Took { cpu: cpu::seconds(std::process::id())? - cpu, wall: wall.elapsed().as_secs_f64() };
    ensure!(
        built.unchanged == unchanged,
        "the build should have found {}",
        if unchanged { "nothing to do" } else { "work" }
    );
    Ok(took)
}

/// Copies everything that the builder would have to download again.
fn copy_downloads(from: &Path, to: &Path) -> anyhow::Result<()> {
    let fail = |path: &Path| format!("failed to copy {}", path.display());
    for entry in fs::read_dir(from).with_context(|| fail(from))? {
        let entry = entry.with_context(|| fail(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let target = to.join(&name);
        if MADE.iter().any(|made| name == *made) {
            continue;
        }
        if entry.file_type().with_context(|| fail(&path))?.is_dir() {
            fs::create_dir(&target).with_context(|| fail(&path))?;
            copy_downloads(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| fail(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_downloads_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for name in ["packages", "steps", "outputs", "nomad/2.0.5"] {
            fs::create_dir_all(from.join(name)).unwrap();
            fs::write(from.join(name).join("file"), name).unwrap();
        }
        fs::write(from.join("lock"), "").unwrap();
        fs::create_dir(&to).unwrap();
        copy_downloads(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("nomad/2.0.5/file")).unwrap(), "nomad/2.0.5");
        assert!(to.join("packages/file").exists());
        for made in ["steps", "outputs", "lock"] {
            assert!(!to.join(made).exists(), "{made}");
        }
    }
}
