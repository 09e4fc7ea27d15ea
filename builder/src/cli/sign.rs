//! `builder key`, `builder sign` and `builder channel`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::update::channel;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::{output::Output, update};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key pair that signs updates.
    Key(KeyArgs),
    /// Sign an update file.
    Sign(SignArgs),
    /// Write the channel file that offers a signed update, and the channel file's signature.
    Channel(ChannelArgs),
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

#[derive(Debug, Args)]
pub(super) struct ChannelArgs {
    /// The signed update file.
    file: PathBuf,
    /// The secret key that signed it, of `builder key` or of minisign.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where nodes find the update: an http:// address, or a path relative to the channel file's address [default: the name of the update]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The channel file; its signature gets the same name with `.minisig` [default: <ROLE>.json beside the update]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
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
            let (folder, base) = place(&args.file)?;
            let mut output = Output::open(folder)?;
            output.write_bytes(base, &signed)?;
            output.publish()?;
            println!("{name} is signed");
        }
        Command::Channel(args) => {
            let key = update::read_key(&args.key)?;
            let name = args.file.display();
            let bytes = fs::read(&args.file).with_context(|| format!("failed to read {name}"))?;
            let (_, base) = place(&args.file)?;
            let file = args.url.as_deref().unwrap_or(base);
            let channel = crate::channel::of(&bytes, file).with_context(|| format!("failed to offer {name}"))?;
            let signature = crate::channel::sign(&channel, &key)?;
            let path =
                args.output.clone().unwrap_or_else(|| args.file.with_file_name(format!("{}.json", channel.role)));
            let (folder, base) = place(&path)?;
            let mut output = Output::open(folder)?;
            output.write_bytes(base, channel.to_json().as_bytes())?;
            output.write_bytes(&format!("{base}{}", channel::SIGNATURE), signature.as_bytes())?;
            output.publish()?;
            println!("{} offers {} {} to nodes with", path.display(), channel.role, channel.version);
            println!("steppe: {{update: {{channel: \"http://.../{base}\"}}}}");
        }
    }
    Ok(true)
}

/// The folder and the name of a file.
fn place(path: &Path) -> Result<(&Path, &str)> {
    let base = path.file_name().and_then(|base| base.to_str());
    let base = base.with_context(|| format!("{} is no name for a file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or_else(|| Path::new(".")), base))
}
