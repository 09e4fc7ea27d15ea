//! `builder verify`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::source::{self, Source};
use crate::{build, inspect::shown::shown, packages::Policy, progress::Progress};

#[derive(Debug, Args)]
#[command(group = source::an_image())]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) source: Source,
    /// An image, or the manifest of a build, every file of which is then verified.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The lock file that it was built by, which a build leaves beside it [default: beside --recipe, or the built-in one].
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

/// Whether every file is what the recipe and the lock file make.
pub(super) fn run(args: &VerifyArgs, progress: &Progress) -> Result<bool> {
    let lock = match &args.lock {
        Some(path) => source::read_lock(path)?,
        None => source::lock(args.source.lock_beside()?.as_deref(), args.source.recipe()?.profile)?,
    };
    let request = args.source.request(lock, Policy::Locked, Path::new(""), &[])?;
    let verified = build::verify(request, &args.image, progress)?;
    let good = verified.iter().all(build::Verified::is_same);
    let mut lines = Vec::new();
    for one in &verified {
        let file = shown(&one.file.display().to_string());
        if one.is_same() {
            let but = if one.signed { " but for its signature" } else { "" };
            lines.push(format!("{file}: verified{but}, sha256 {}", one.sha256));
            continue;
        }
        lines.push(format!("{file}: DIFFERS, sha256 {}, the recipe makes {}", one.sha256, one.made));
        // The innermost is where to look; the others follow from it.
        if let Some(layer) = one.layers.first() {
            lines.push(format!("  the first layer that differs is {}", layer.name));
            lines.extend(layer.differences.iter().take(8).map(|difference| format!("    {difference}")));
        }
    }
    progress.result(&json!({ "event": "result", "same": good, "files": verified }), &lines);
    Ok(good)
}
