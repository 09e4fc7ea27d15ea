//! What a build would do: its inputs, what of them is in the cache, and the layout of its disk. Nothing is downloaded or
//! written for it.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::{Request, base_name};
use crate::{
    disk::{Layout, Partition},
    lock::Locked,
    programs::{self, Program},
    progress::bytes,
    verity,
};

/// A package of the lock file.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// Which.
    #[serde(flatten)]
    pub package: Locked,
    /// Whether the cache has it.
    pub cached: bool,
}

/// A build before it is made.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What the names of its files begin with; `-standin` is added when there is no Nomad.
    pub name: String,
    /// What the image promises to be.
    pub role: String,
    /// The packages that the lock file has for the recipe.
    pub packages: Vec<Planned>,
    /// Packages that it lacks: the archive is asked for them.
    pub unlocked: Vec<String>,
    /// Version of Nomad, or the file that is used.
    pub nomad: String,
    /// Whether it is on this machine.
    pub nomad_here: bool,
    /// The agent.
    pub agent: PathBuf,
    /// The partitions; what fills them is not known before the build.
    pub partitions: Vec<Partition>,
    /// Bytes of the disk.
    pub disk: u64,
    /// Files of the recipe, by their path on the node, and their bytes.
    pub files: Vec<(String, u64)>,
}

/// Looks at everything that a build of `request` starts from.
///
/// # Errors
/// When something is missing that no download brings, or the partitions do not fit.
pub fn plan(request: &Request) -> Result<Plan> {
    let recipe = &request.recipe;
    let lock = request.lock.as_ref();
    let store = request.cache.join("packages");
    let wanted = |package: &&Locked| {
        recipe.packages.names.contains(&package.name) || lock.is_some_and(|lock| lock.kernel == package.name)
    };
    let planned = |package: &Locked| {
        let file = store.join(format!("{}.deb", package.sha256));
        let cached = fs::metadata(file).is_ok_and(|data| data.len() == package.size);
        Planned { package: package.clone(), cached }
    };
    let packages = lock.map(|lock| lock.packages.iter().filter(wanted).map(planned).collect()).unwrap_or_default();
    let version = &recipe.nomad_version;
    let (nomad, nomad_here) = match &request.nomad.path {
        Some(path) => (path.display().to_string(), fs::metadata(path).map(|_| true)?),
        None => {
            let release = format!("nomad/{}/nomad_{version}_linux_amd64", recipe.nomad_key.as_str());
            (version.clone(), request.cache.join(release).exists())
        }
    };
    let files =
        recipe.files.iter().map(|file| Ok((file.path.clone(), file.read()?.len() as u64))).collect::<Result<_>>()?;
    let layout = Layout { size: recipe.disk_size, slot: recipe.slot_size };
    let nothing = verity::tree(&[], &verity::Parameters::of(&[]));
    let mut partitions = layout.partitions(recipe.esp_size.0, 0, &nothing)?;
    partitions.iter_mut().for_each(|partition| partition.used = 0);
    Ok(Plan {
        name: base_name(recipe, agent::facts::NomadSource::Release),
        role: recipe.role.to_string(),
        packages,
        unlocked: lock.map(|lock| lock.lacks(recipe).into_iter().map(ToOwned::to_owned).collect()).unwrap_or_default(),
        nomad,
        nomad_here,
        agent: programs::find(Program::Agent, request.agent.as_deref())?,
        partitions,
        disk: recipe.disk_size.0,
        files,
    })
}

impl Plan {
    /// The plan for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}, role {}\n", self.name, self.role);
        let size = |cached: bool| -> u64 {
            self.packages.iter().filter(|one| one.cached == cached).map(|one| one.package.size).sum()
        };
        let mut line = |key: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{key:<11}{value}");
        };
        let (here, missing) = (bytes(size(true)), bytes(size(false)));
        line("packages", format!("{} locked: {here} in the cache, {missing} to download", self.packages.len()));
        for Planned { package, .. } in self.packages.iter().filter(|one| !one.cached) {
            line("", format!("{} {}, {}", package.name, package.version, bytes(package.size)));
        }
        for name in &self.unlocked {
            line("", format!("{name}: not in the lock file, the archive is asked"));
        }
        line("nomad", format!("{}, {}", self.nomad, if self.nomad_here { "here" } else { "to download" }));
        line("agent", self.agent.display().to_string());
        for (path, size) in &self.files {
            line("file", format!("{path}, {}", bytes(*size)));
        }
        line("disk", bytes(self.disk));
        for one in &self.partitions {
            line("", format!("{} {:<17}{:>9} at {}", one.number, one.name, bytes(one.size), bytes(one.start)));
        }
        let end = self.partitions.last().map_or(0, |last| last.start + last.size);
        line("", format!("  {:<17}{:>9}", "state", bytes(self.disk.saturating_sub(end))));
        out
    }
}
