//! `builder key` and `builder sign`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::{output::Output, update};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key pair that signs updates.
    Key(KeyArgs),
    /// Sign an update file.
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The file for the secret key; the public one gets the same name with `.pub`.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The update file; it is replaced by the signed one.
    file: PathBuf,
    /// The secret key, of `builder key` or of minisign.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs a command.
pub(super) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Key(args) => {
            let public = update::generate(&args.file)?;
            println!("{} signs updates: keep it.", args.file.display());
            println!("Images that take them have this in their recipe:\n\n[update]\nkey = \"{public}\"");
        }
        Command::Sign(args) => {
            let key = update::read_key(&args.key)?;
            let name = args.file.display();
            let unsigned = fs::read(&args.file).with_context(|| format!("failed to read {name}"))?;
            let signed = update::sign(&unsigned, &key).with_context(|| format!("failed to sign {name}"))?;
            let base = args.file.file_name().and_then(|base| base.to_str()).context("the file has no name")?;
            let folder = args.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut output = Output::open(folder.unwrap_or_else(|| std::path::Path::new(".")))?;
            output.write_bytes(base, &signed)?;
            output.publish()?;
            println!("{name} is signed");
        }
    }
    Ok(true)
}
