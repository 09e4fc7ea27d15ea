//! The command line of the builder.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use agent::{facts::Role, node::datasource};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    build::{self, Built, Format, NomadSources, Request},
    cache::Cache,
    embedded, hint,
    lock::Lock,
    manifest::Manifest,
    packages::Policy,
    progress::{Progress, Style},
    recipe::Recipe,
    userdata::{self, input::Input, limits},
};

/// Builds bootable Steppe images: no root, no loop devices, no containers.
#[derive(Debug, Parser)]
#[command(name = "builder", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image.
    Build(Box<BuildArgs>),
    /// Say what a node would refuse of user-data, with file, line and the way out.
    Check(CheckArgs),
    /// Make a #cloud-config of a shell script, and list what it lacks.
    Convert(ConvertArgs),
    /// Write a NoCloud volume, the same bytes for the same input.
    Seed(SeedArgs),
    /// Print the plan that a node would make of user-data.
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Files of user-data, or folders with user-data, meta-data, vendor-data and network-config.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The role of the image it is for.
    #[arg(long, default_value = "dev")]
    role: RoleArg,
    /// The platform it is handed over by; its limit of size counts.
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Say everything as JSON, one object for each path.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    /// The script.
    #[arg(value_name = "SCRIPT")]
    script: PathBuf,
    /// Where the #cloud-config goes, instead of the standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SeedArgs {
    /// The user-data.
    #[arg(long, value_name = "FILE")]
    user_data: PathBuf,
    /// The meta-data; without, an instance id is made of the rest.
    #[arg(long, value_name = "FILE")]
    meta_data: Option<PathBuf>,
    /// The network configuration, version 1 or 2.
    #[arg(long, value_name = "FILE")]
    network_config: Option<PathBuf>,
    /// The volume.
    #[arg(value_name = "OUT.iso")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The platform that the node runs on.
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// The user-data.
    #[arg(long, value_name = "FILE")]
    user_data: PathBuf,
    /// The network configuration.
    #[arg(long, value_name = "FILE")]
    network_config: Option<PathBuf>,
    /// The role of the image.
    #[arg(long, default_value = "dev")]
    role: RoleArg,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// What a node made from the image promises to be.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Keeps cluster state, never runs workloads.
    Server,
    /// Runs workloads, never schedules.
    Client,
    /// Either or both.
    Dev,
}

#[derive(Debug, Args)]
struct BuildArgs {
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

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Server => Self::Server,
            RoleArg::Client => Self::Client,
            RoleArg::Dev => Self::Dev,
        }
    }
}

/// Runs the builder. 0: done, and good. 1: failed, or a node would refuse something. 2: wrong usage, or what is to be
/// looked at cannot be read.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build(args) => return run_build(&args),
        Command::Check(args) => check(&args),
        Command::Convert(args) => convert(&args),
        Command::Seed(args) => seed(&args),
        Command::Explain(args) => explain(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn platform(name: Option<&str>) -> Result<()> {
    match name {
        Some(name)
            if !datasource::names().any(|known| known == datasource::canonical(name)) && limits::of(name).is_none() =>
        {
            let near = hint::nearest(name, datasource::names());
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            bail!("unknown platform {name:?}{hint}")
        }
        _ => Ok(()),
    }
}

fn check(args: &CheckArgs) -> Result<bool> {
    platform(args.platform.as_deref())?;
    let role = args.role.into();
    let mut good = true;
    for path in &args.paths {
        let input = Input::read(path)?;
        let checked = userdata::check::check(&input, role, args.platform.as_deref());
        good &= checked.is_good();
        if args.json {
            println!("{}", checked.json(&input, role, args.platform.as_deref()));
        } else {
            print!("{}", checked.text(&input, io::stdout().is_terminal()));
        }
    }
    Ok(good)
}

fn convert(args: &ConvertArgs) -> Result<bool> {
    let path = args.script.display();
    let script = fs::read_to_string(&args.script).with_context(|| format!("failed to read {path}"))?;
    let converted = userdata::convert::convert(&script);
    match &args.output {
        Some(out) => fs::write(out, &converted.text).with_context(|| format!("failed to write {}", out.display()))?,
        None => print!("{}", converted.text),
    }
    for needless in &converted.needless {
        eprintln!("{path}:{}: left out: {}", needless.line, needless.why);
    }
    for lost in &converted.lost {
        eprintln!("{path}:{}: not carried over: {}", lost.line, lost.why);
    }
    Ok(converted.lost.is_empty())
}

fn seed(args: &SeedArgs) -> Result<bool> {
    let volume = userdata::seed::volume(&args.user_data, args.meta_data.as_deref(), args.network_config.as_deref())?;
    userdata::seed::write(&args.out, &volume)?;
    println!("{}", args.out.display());
    Ok(true)
}

fn explain(args: &ExplainArgs) -> Result<bool> {
    platform(args.platform.as_deref())?;
    let mut input = Input::read(&args.user_data)?;
    if let Some(file) = &args.network_config {
        input.add_network_config(file)?;
    }
    let checked = userdata::check::check(&input, args.role.into(), args.platform.as_deref());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&checked.plan)?);
    } else {
        print!("{}", userdata::explain::text(&checked));
    }
    Ok(checked.is_good())
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
