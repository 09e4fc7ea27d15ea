//! Commands that make images.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    lock::LockArgs,
    source::{self, Source},
    verify::VerifyArgs,
};
use crate::{
    build::{self, Built, Format},
    compress::Compression,
    lock::Lock,
    manifest::Manifest,
    packages::Policy,
    progress::Progress,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build an image.
    Build(Box<BuildArgs>),
    /// Bring a lock file to the archive's newest packages, and say what changes.
    Lock(Box<LockArgs>),
    /// Build an image again and say whether it is the same, and what differs first.
    Verify(Box<VerifyArgs>),
}

#[derive(Debug, Args)]
#[command(group = source::an_image())]
pub(super) struct BuildArgs {
    #[command(flatten)]
    source: Source,
    /// Folder for what is built.
    #[arg(long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// What to write; may be given several times, or as a list with commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["raw", "netboot"])]
    format: Vec<Format>,
    /// How the raw disk is compressed; none keeps it as it is, beside the others if there are any.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["none"])]
    compress: Vec<Compression>,
    /// Another lock file than the one beside the recipe, or the built-in one.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Take exactly the packages of the lock file, and its Nomad if it names one, or fail.
    #[arg(long, conflicts_with = "update")]
    locked: bool,
    /// Take the newest packages of the archive, and rewrite the lock file of --recipe.
    #[arg(long)]
    update: bool,
    /// Only say what a build would start from, what of it is in the cache, and how the disk is laid out.
    #[arg(long)]
    dry_run: bool,
}

/// Runs a command. 0: done. 1: failed; for `lock --check`, something would change; for `verify`, something differs.
pub(super) fn run(command: &Command) -> ExitCode {
    let (progress, result) = match command {
        Command::Build(args) => {
            let progress = args.source.progress();
            let result = build(args, &progress).map(|()| true);
            (progress, result)
        }
        Command::Lock(args) => {
            let progress = args.source.progress();
            let result = super::lock::run(args, &progress);
            (progress, result)
        }
        Command::Verify(args) => {
            let progress = args.source.progress();
            let result = super::verify::run(args, &progress);
            (progress, result)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress.failure(&super::why(&error));
            ExitCode::FAILURE
        }
    }
}

fn build(args: &BuildArgs, progress: &Progress) -> Result<()> {
    let lock_file = args.lock.clone().map_or_else(|| args.source.lock_beside(), |path| Ok(Some(path)))?;
    let lock = match &args.lock {
        Some(path) => source::read_lock(path)?,
        None => source::lock(lock_file.as_deref(), args.source.recipe()?.profile)?,
    };
    let policy = match (args.locked, args.update) {
        (true, _) => Policy::Locked,
        (_, true) => Policy::Update,
        _ => Policy::Prefer,
    };
    let mut request = args.source.request(lock, policy, &args.output, &args.format)?;
    request.compressions.clone_from(&args.compress);
    request.compressions.sort_unstable();
    request.compressions.dedup();
    if request.compressions != [Compression::None] && !request.formats.contains(&Format::Raw) {
        bail!("--compress is for raw disks, and --format asks for none: add raw to it");
    }
    if args.dry_run {
        let plan = build::plan(&request)?;
        progress.result(&json!({ "event": "plan", "plan": plan }), &[plan.text().trim_end().to_owned()]);
        return Ok(());
    }
    let built = build::build(&request, progress)?;
    // A file that is named may be that of other recipes too.
    let lock = match (&args.lock, &request.lock) {
        (Some(_), Some(file)) => built.lock.clone().beside(file),
        _ => built.lock.clone(),
    };
    // Nomad alone is no reason to put a lock file where none was.
    let known = request.lock.as_ref().is_some_and(|old| {
        let noted = old.nomad == lock.nomad || lock_file.as_ref().is_some_and(|path| !path.exists());
        let packages = Lock { nomad: lock.nomad.clone(), ..old.clone() };
        noted && packages == lock
    });
    if let Some(path) = lock_file
        && policy != Policy::Locked
        && !known
    {
        source::write_lock(&path, &lock)?;
        progress.warn(&format!("{} has changed", path.display()));
    }
    report(&built, progress)
}

fn report(built: &Built, progress: &Progress) -> Result<()> {
    let manifest = Manifest::read(&built.manifest)?;
    let mut paths: Vec<String> = manifest
        .artefacts
        .iter()
        .filter_map(|artefact| manifest.path(artefact.kind))
        .map(|path| path.display().to_string())
        .collect();
    paths.push(built.manifest.display().to_string());
    let result = json!({
        "event": "result",
        "unchanged": built.unchanged,
        "standin": manifest.standin,
        "manifest": built.manifest,
        "artefacts": manifest.artefacts,
        "paths": paths,
    });
    progress.result(&result, &paths);
    Ok(())
}
