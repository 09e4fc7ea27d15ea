//! Commands that look at images.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use serde_json::json;

use crate::{
    diff,
    inspect::{Subject, against, map, text},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say what is inside an image, read from the image itself, and where its manifest says otherwise.
    Inspect(InspectArgs),
    /// Say what differs between two images, from the innermost layer out, and why.
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// An image in any format that a build writes, compressed or not; or a manifest.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Say everything as JSON, with every file.
    #[arg(long)]
    json: bool,
    /// Write a map of the disk as SVG, too; of what has partitions.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// An image or its manifest; or any other file that a build leaves.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another one.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Say everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command; whether what it looked at is good.
pub(super) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Inspect(args) => inspect(args),
        Command::Diff(args) => diff(args),
    }
}

/// Good is an image without damage that is what its manifest says.
fn inspect(args: &InspectArgs) -> Result<bool> {
    let subject = Subject::read(&args.image)?;
    if let Some(file) = &args.svg {
        let image = subject.image.as_ref().filter(|image| !image.partitions.is_empty());
        let Some(image) = image else { bail!("{} has no partitions to draw", args.image.display()) };
        fs::write(file, map::svg(image)).with_context(|| format!("failed to write {}", file.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&text::json(&subject))?);
    } else {
        print!("{}", text::people(&subject, width()));
    }
    Ok(subject.image.as_ref().is_none_or(|image| {
        let agrees = subject.manifest.as_ref().is_none_or(|manifest| against::differences(image, manifest).is_empty());
        image.wrong.is_empty() && agrees
    }))
}

/// Good is that there is no difference.
fn diff(args: &DiffArgs) -> Result<bool> {
    let layers = diff::diff(&args.a, &args.b)?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({ "first": layers.first().map(|l| l.name), "layers": layers }))?
        );
        return Ok(layers.is_empty());
    }
    match layers.first() {
        None => println!("{} and {} hold the same", args.a.display(), args.b.display()),
        Some(first) => println!("the first layer that differs is {}", first.name),
    }
    for layer in &layers {
        println!("\n{}:", layer.name);
        for difference in layer.differences.iter().take(SHOWN) {
            println!("  {difference}");
        }
        if let Some(more) = layer.differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            println!("  and {more} more: --json has all");
        }
    }
    Ok(layers.is_empty())
}

/// Differences of a layer that are shown to people.
const SHOWN: usize = 40;

/// Columns of the terminal, or as many as most have.
fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(80, |size| usize::from(size.ws_col).max(40))
}
