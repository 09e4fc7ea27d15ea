//! Commands for what a node is told.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use agent::node::datasource;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use super::RoleArg;
use crate::{
    hint,
    userdata::{self, input::Input, limits},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
pub(super) struct CheckArgs {
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
pub(super) struct ConvertArgs {
    /// The script.
    #[arg(value_name = "SCRIPT")]
    script: PathBuf,
    /// Where the #cloud-config goes, instead of the standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SeedArgs {
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
pub(super) struct ExplainArgs {
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

/// Runs a command; whether a node would take what it read.
pub(super) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Check(args) => check(args),
        Command::Convert(args) => convert(args),
        Command::Seed(args) => seed(args),
        Command::Explain(args) => explain(args),
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
