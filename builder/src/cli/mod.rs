//! The command line of the builder: one file for each family of commands.

mod build;
mod image;
mod lock;
mod sign;
mod source;
mod userdata;
mod verify;

use std::process::ExitCode;

use agent::facts::Role;
use anyhow::{Error, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::inspect::shown::shown;

/// Builds bootable Steppe images: no root, no loop devices, no containers.
#[derive(Debug, Parser)]
#[command(name = "builder", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Build(build::Command),
    #[command(flatten)]
    Image(image::Command),
    #[command(flatten)]
    UserData(userdata::Command),
    #[command(flatten)]
    Sign(sign::Command),
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
    match Cli::parse().command {
        Command::Build(command) => build::run(&command),
        // What is wrong with an image may be told in its own words.
        Command::Image(command) => answer(image::run(&command).map_err(|error| Error::msg(shown(&why(&error))))),
        Command::UserData(command) => answer(userdata::run(&command)),
        Command::Sign(command) => answer(sign::run(&command)),
    }
}

/// The exit code of a command that looks at something: whether it is good, or why it cannot be looked at.
fn answer(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", why(&error));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes in one line, each once: most errors have the words of their cause in their own.
fn why(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        text if text.contains(&cause) => said,
        text => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;
    use clap::CommandFactory as _;

    use super::why;
    use crate::cache::CacheError;

    #[test]
    fn a_cause_is_said_once() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = CacheError::write("/x".as_ref(), full());
        let said = error.to_string();
        assert!(said.contains("failed to write /x: no storage space; make room"), "{said}");
        assert_eq!(why(&anyhow::Error::new(error)), said);
        let error = Err::<(), _>(full()).context("failed to write /x").unwrap_err();
        assert_eq!(why(&error), "failed to write /x: no storage space");
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
