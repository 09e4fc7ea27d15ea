//! Commands that make images.

use std::{fs, path::PathBuf, process::ExitCode};

use agent::facts::Role;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::RoleArg;
use crate::{
    build::{self, Built, Format, NomadSources, Request},
    cache::Cache,
    embedded,
    lock::Lock,
    manifest::Manifest,
    packages::Policy,
    progress::{Progress, Style},
    recipe::Recipe,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build an image.
    Build(Box<BuildArgs>),
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The image's role; the recipe of that name, unless --recipe names another.
    #[arg(long, required_unless_present = "recipe")]
    role: Option<RoleArg>,
    /// A recipe file instead of the built-in ones. Its lock file stands beside it.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// A Nomad program or official zip archive, instead of a download.
    #[arg(long, value_name = "PATH", env = "NOMAD")]
    nomad: Option<PathBuf>,
    /// The OpenPGP key that signs releases, instead of the one that the recipe pins and HashiCorp publishes.
    #[arg(long, value_name = "FILE")]
    nomad_key: Option<PathBuf>,
    /// A mirror of HashiCorp's release server, and of the release key if it has /.well-known/pgp-key.txt.
    #[arg(long, value_name = "URL", env = "STEPPE_NOMAD_MIRROR")]
    nomad_mirror: Option<String>,
    /// Folder for what is built.
    #[arg(long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// What to write; may be given several times, or as a list with commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["raw", "netboot"])]
    format: Vec<Format>,
    /// Debian mirror, instead of the one that this machine uses.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Take exactly the packages of the lock file, and its Nomad if it names one, or fail.
    #[arg(long, conflicts_with = "update")]
    locked: bool,
    /// Take the newest packages of the archive, and rewrite the lock file of --recipe.
    #[arg(long)]
    update: bool,
    /// Folder for downloads and results of steps [default: $XDG_CACHE_HOME/steppe].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The agent's program, instead of the one near the builder.
    #[arg(long, value_name = "PATH", env = "STEPPE_AGENT")]
    agent: Option<PathBuf>,
    /// The program that takes Nomad's place when no Nomad can be had.
    #[arg(long, value_name = "PATH", env = "STEPPE_STANDIN")]
    standin: Option<PathBuf>,
    /// Say only what is wrong.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Say everything as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Build(args) => run_build(args),
    }
}

fn run_build(args: &BuildArgs) -> ExitCode {
    let style = match (args.json, args.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::People,
    };
    let progress = Progress::new(style);
    match build(args, &progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn build(args: &BuildArgs, progress: &Progress) -> Result<()> {
    let role: Option<Role> = args.role.map(Role::from);
    let recipe = match (&args.recipe, role) {
        (Some(path), _) => Recipe::read(path)?,
        (None, Some(role)) => Recipe::embedded(role)?,
        (None, None) => bail!("say which image to build with --role or --recipe"),
    };
    if let (Some(role), Some(path)) = (role, &args.recipe)
        && role != recipe.role
    {
        bail!("--role {role}, but {} makes a {} image: leave one of them out", path.display(), recipe.role);
    }
    let lock_file = args.recipe.as_ref().map(|path| path.with_extension("lock"));
    let lock = match &lock_file {
        Some(path) if path.exists() => {
            let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
            Some(Lock::parse(&path.display().to_string(), &text)?)
        }
        // A recipe of the user's own that has the packages of the built-in ones needs no lock of its own.
        _ => Some(Lock::parse("base.lock", embedded::LOCK)?),
    };
    let policy = match (args.locked, args.update) {
        (true, _) => Policy::Locked,
        (_, true) => Policy::Update,
        _ => Policy::Prefer,
    };
    let cache = args.cache.clone().or_else(Cache::default_folder);
    let mut formats = args.format.clone();
    formats.sort_unstable();
    formats.dedup();
    let request = Request {
        recipe,
        lock,
        policy,
        output: args.output.clone(),
        formats,
        mirror: args.mirror.clone(),
        cache: cache.context("neither HOME nor XDG_CACHE_HOME is set: name a cache folder with --cache")?,
        agent: args.agent.clone(),
        nomad: NomadSources {
            path: args.nomad.clone(),
            standin: args.standin.clone(),
            mirror: args.nomad_mirror.clone(),
            key: args.nomad_key.clone(),
        },
    };
    let built = build::build(&request, progress)?;
    // Nomad alone is no reason to put a lock file where none was.
    let known = request.lock.as_ref().is_some_and(|lock| {
        let noted = lock.nomad == built.lock.nomad || lock_file.as_ref().is_some_and(|path| !path.exists());
        let packages = Lock { nomad: built.lock.nomad.clone(), ..lock.clone() };
        noted && packages == built.lock
    });
    if let Some(path) = lock_file
        && policy != Policy::Locked
        && !known
    {
        fs::write(&path, built.lock.text()).with_context(|| format!("failed to write {}", path.display()))?;
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
