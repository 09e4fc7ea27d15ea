//! What the commands that build have in common: which recipe, from what.

use std::path::{Path, PathBuf};

use agent::facts::Role;
use anyhow::{Context as _, Result, bail};
use clap::{
    ArgGroup, Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::RoleArg;
use crate::{
    bounded,
    build::{Format, NomadSources, Request},
    cache::Cache,
    compress::Compression,
    lock::Lock,
    output::Output,
    packages::Policy,
    progress::{Progress, Style},
    recipe::{Profile, Recipe},
};

/// Bytes that a lock file may have. Each package takes three hundred.
const MOST: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct Source {
    /// The image's role; the recipe of that name, unless --recipe names another.
    #[arg(long)]
    role: Option<RoleArg>,
    /// A recipe file instead of the built-in ones. Its lock file stands beside it.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The machines that the image is for, instead of what the recipe says: virtual ones, or servers of one's own.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// A Nomad program or official zip archive, instead of a download.
    #[arg(long, value_name = "PATH", env = "NOMAD", value_parser = path())]
    nomad: Option<PathBuf>,
    /// The OpenPGP key that signs releases, instead of the one that the recipe pins and HashiCorp publishes.
    #[arg(long, value_name = "FILE")]
    nomad_key: Option<PathBuf>,
    /// A mirror of HashiCorp's release server, and of the release key if it has /.well-known/pgp-key.txt.
    #[arg(long, value_name = "URL", env = "STEPPE_NOMAD_MIRROR")]
    nomad_mirror: Option<String>,
    /// Debian mirror, instead of the one that this machine uses.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Mirror of Debian's security updates, or none [default: where this machine has them, else http://deb.debian.org/debian-security;
    /// with a --mirror that is neither this machine's nor Debian's own: none].
    #[arg(long, value_name = "URL")]
    security_mirror: Option<String>,
    /// Folder for downloads and results of steps [default: $XDG_CACHE_HOME/steppe].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The agent's program, instead of the one near the builder.
    #[arg(long, value_name = "PATH", env = "STEPPE_AGENT", value_parser = path())]
    agent: Option<PathBuf>,
    /// The program that takes Nomad's place when no Nomad can be had.
    #[arg(long, value_name = "PATH", env = "STEPPE_STANDIN", value_parser = path())]
    standin: Option<PathBuf>,
    /// Say only what is wrong.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Say everything as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Source {
    /// How the command is to report.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(match (self.json, self.quiet) {
            (true, _) => Style::Json,
            (_, true) => Style::Quiet,
            _ => Style::People,
        })
    }

    /// Whether --role or --recipe is there.
    pub(super) const fn names_an_image(&self) -> bool {
        self.role.is_some() || self.recipe.is_some()
    }

    /// What --profile says.
    pub(super) const fn profile(&self) -> Option<Profile> {
        self.profile
    }

    pub(super) fn recipe(&self) -> Result<Recipe> {
        let role: Option<Role> = self.role.map(Role::from);
        let recipe = match (&self.recipe, role) {
            (Some(path), _) => Recipe::read(path, self.profile)?,
            (None, Some(role)) => Recipe::embedded(role, self.profile)?,
            (None, None) => bail!("say which image with --role or --recipe"),
        };
        if let (Some(role), Some(path)) = (role, &self.recipe)
            && role != recipe.role
        {
            bail!("--role {role}, but {} makes a {} image: leave one of them out", path.display(), recipe.role);
        }
        Ok(recipe)
    }

    /// The lock file beside the recipe, whether it is there or not. With another profile than the recipe's it is another file:
    /// `edge-metal.lock`.
    pub(super) fn lock_beside(&self) -> Result<Option<PathBuf>> {
        let Some(path) = &self.recipe else { return Ok(None) };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let own = Recipe::read(path, None)?.profile;
        Ok(Some(match self.profile.filter(|profile| *profile != own) {
            Some(profile) => path.with_file_name(format!("{stem}-{profile}.lock")),
            None => path.with_extension("lock"),
        }))
    }

    /// A request for this recipe by this lock.
    pub(super) fn request(&self, lock: Lock, policy: Policy, output: &Path, formats: &[Format]) -> Result<Request> {
        self.request_for(self.recipe()?, lock, policy, output, formats)
    }

    /// The same for another recipe than that of the command line.
    pub(super) fn request_for(
        &self,
        recipe: Recipe,
        lock: Lock,
        policy: Policy,
        output: &Path,
        formats: &[Format],
    ) -> Result<Request> {
        let cache = self.cache.clone().or_else(Cache::default_folder);
        let mut formats = formats.to_vec();
        formats.sort_unstable();
        formats.dedup();
        Ok(Request {
            recipe,
            lock: Some(lock),
            policy,
            output: output.to_path_buf(),
            formats,
            compressions: vec![Compression::None],
            mirror: self.mirror.clone(),
            security_mirror: self.security_mirror.clone(),
            cache: cache.context("neither HOME nor XDG_CACHE_HOME is set: name a cache folder with --cache")?,
            agent: given(self.agent.as_ref()),
            nomad: NomadSources {
                path: given(self.nomad.as_ref()),
                standin: given(self.standin.as_ref()),
                mirror: self.nomad_mirror.clone().filter(|url| !url.is_empty()),
                key: self.nomad_key.clone(),
            },
        })
    }
}

/// --role or --recipe, or both, for commands that make one image.
pub(super) fn an_image() -> ArgGroup {
    ArgGroup::new("which-image").args(["role", "recipe"]).required(true).multiple(true)
}

/// A variable that is set to nothing (`NOMAD= make image`) is as good as none.
fn given(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// What an argument with such a variable takes: clap's own reader of paths refuses an empty one.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The lock in `file`; that of the built-in recipes of this profile when there is no such file, since a recipe of the user's own
/// that has their packages needs none of its own.
pub(super) fn lock(file: Option<&Path>, profile: Profile) -> Result<Lock> {
    match file {
        Some(path) if path.exists() => read_lock(path),
        _ => Ok(Lock::embedded(profile)?),
    }
}

pub(super) fn read_lock(path: &Path) -> Result<Lock> {
    let text = bounded::text(path, MOST).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(Lock::parse(&path.display().to_string(), &text)?)
}

/// Replaces a lock file: whole, or not at all.
pub(super) fn write_lock(path: &Path, lock: &Lock) -> Result<()> {
    let name = path.display();
    let Some(base) = path.file_name().and_then(|base| base.to_str()) else { bail!("{name} is not the name of a file") };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut output = Output::open(folder.unwrap_or_else(|| Path::new(".")))?;
    output.write_bytes(base, lock.text().as_bytes())?;
    output.publish().with_context(|| format!("failed to replace {name}"))
}
