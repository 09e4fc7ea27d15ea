//! `builder lock`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::facts::Role;
use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::source::{self, Source};
use crate::{
    build, embedded,
    lock::{Change, Lock},
    packages::Policy,
    progress::{Progress, bytes},
    recipe::{Profile, Recipe},
};

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    pub(super) source: Source,
    /// The lock file [default: beside --recipe; for --role, NAME.lock in the current folder; without either, those that the built-in
    /// recipes share, base.lock and metal.lock].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write and download nothing but lists; end with 1 when something would change.
    #[arg(long)]
    check: bool,
}

/// Whether nothing is left to do: not so when --check found something.
pub(super) fn run(args: &LockArgs, progress: &Progress) -> Result<bool> {
    let mut done = true;
    for (recipe, file) in args.wanted()? {
        done &= one(args, recipe, &file, progress)?;
    }
    Ok(done)
}

impl LockArgs {
    /// The recipes, and the lock file of each.
    fn wanted(&self) -> Result<Vec<(Recipe, PathBuf)>> {
        if self.source.names_an_image() {
            let recipe = self.source.recipe()?;
            let beside = self.source.lock_beside()?.unwrap_or_else(|| PathBuf::from(format!("{}.lock", recipe.name)));
            return Ok(vec![(recipe, self.output.clone().unwrap_or(beside))]);
        }
        let profiles = match (self.source.profile(), &self.output) {
            (Some(profile), _) => vec![profile],
            (None, Some(_)) => vec![Profile::default()],
            (None, None) => Profile::ALL.to_vec(),
        };
        let wanted = profiles.into_iter().map(|profile| {
            let file = self.output.clone().unwrap_or_else(|| embedded::lock(profile).0.into());
            // Every role's has the same packages.
            Ok((Recipe::embedded(Role::Server, Some(profile))?, file))
        });
        wanted.collect()
    }
}

/// One lock file.
fn one(args: &LockArgs, recipe: Recipe, file: &Path, progress: &Progress) -> Result<bool> {
    let old = source::lock(Some(file), recipe.profile)?;
    let request = args.source.request_for(recipe, old.clone(), Policy::Update, &PathBuf::new(), &[])?;
    let new = build::newest(&request, !args.check, progress)?;
    let changes = old.changes(&new);
    let name = file.display().to_string();
    progress.result(
        &json!({ "event": "result", "lock": name, "written": !args.check, "changes": changes }),
        &[text(&name, &old, &new, &changes)],
    );
    if args.check {
        // Of a release that is not on this machine nothing is known but that it is another.
        let other = request.nomad.path.is_none()
            && new.nomad.as_ref().is_some_and(|nomad| nomad.version != request.recipe.nomad_version);
        if other {
            progress.warn(&format!("the recipe has Nomad {}, and {name} another", request.recipe.nomad_version));
        }
        return Ok(changes.is_empty() && !other);
    }
    // An unchanged file is not touched, whatever its comments say.
    if fs::read_to_string(file).is_ok_and(|text| Lock::parse(&name, &text).is_ok_and(|lock| lock == new)) {
        return Ok(true);
    }
    source::write_lock(file, &new)?;
    Ok(true)
}

/// The table for people: a line for each change, and a sum.
fn text(name: &str, old: &Lock, new: &Lock, changes: &[Change]) -> String {
    let nomad = new.nomad.as_ref().map_or_else(String::new, |nomad| format!(", Nomad {}", nomad.version));
    let sum = |lock: &Lock| lock.packages.iter().map(|package| package.size).sum::<u64>();
    let all = format!("{} packages of {}, {}{nomad}", new.packages.len(), new.suite, bytes(sum(new)));
    if changes.is_empty() {
        return format!("{name}: no package changed: {all}");
    }
    let mut lines: Vec<String> = changes.iter().map(|change| format!("  {change}")).collect();
    lines.insert(0, format!("{name}: {} changed:", changes.len()));
    lines.push(format!("now {all} (was {})", bytes(sum(old))));
    lines.join("\n")
}
