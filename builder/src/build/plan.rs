//! What a build would do: its inputs and steps, what of them is in the cache, and the layout of its disk. Nothing is downloaded
//! or written for it.

use std::{
    cell::{OnceCell, RefCell},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use agent::facts::NomadSource;
use anyhow::Result;
use clap::{ValueEnum as _, builder::PossibleValue};
use serde::Serialize;

use super::{
    Build, Format, Request, base_name,
    inputs::Inputs,
    stamped,
    steps::{Kernel, blocks_key, selection},
};
use crate::{
    cache::Cache,
    compress::Compression,
    content::Digest,
    disk::{Layout, Partition},
    lock::{Lock, Locked},
    manifest::Manifest,
    nomad,
    packages::{self, Package},
    programs::{self, Program},
    progress::{Progress, bytes},
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

/// A step of the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Whether the cache has its result. Where that depends on a step that has none yet, it does not.
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
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Whether all files are there already, as they would be made.
    pub unchanged: bool,
    /// The formats that are written otherwise.
    pub formats: Vec<String>,
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
    let (cache, progress) = (Cache::look(&request.cache), Progress::silent());
    let build = Build { request, progress: &progress, cache: &cache, builder: super::builder_id(&cache)? };
    let planned = |package: Package| {
        let cached = fs::metadata(package.path).is_ok_and(|data| data.len() == package.locked.size);
        Planned { package: package.locked, cached }
    };
    let packages = lock.map(|lock| packages::locked(recipe, lock, &cache).packages).unwrap_or_default();
    let unlocked: Vec<String> =
        lock.map_or_else(Vec::new, |lock| lock.lacks(recipe).into_iter().map(ToOwned::to_owned).collect());
    let nomad = build.with_nomad(None, nomad::at_hand)?;
    let agent = programs::find(Program::Agent, recipe.architecture, request.agent.as_deref())?;
    let nomad_name = request.nomad.path.as_ref().map(|path| path.display().to_string());
    let nomad_here = nomad_name.is_some() || nomad.is_some();
    let (lists, files) = (build.lists()?, build.files()?);
    let sizes = files.iter().map(|(file, bytes)| (file.path.clone(), bytes.len() as u64)).collect();
    let (steps, unchanged) = match (lock, nomad) {
        (Some(lock), Some(nomad)) if unlocked.is_empty() => {
            let packages = packages::locked(recipe, lock, &cache);
            let lock = Lock { nomad: build.release(&nomad), ..packages.lock.clone() };
            let agent_sha256 = cache.digest(&agent)?;
            let boots = RefCell::default();
            build.steps(&Inputs { packages, agent: agent.clone(), agent_sha256, nomad, lock, lists, files, boots })?
        }
        _ => (STEPS.map(|name| Step { name, cached: false }).to_vec(), false),
    };
    let layout = Layout { size: recipe.disk_size, slot: recipe.slot_size, architecture: recipe.architecture };
    let nothing = verity::tree(&[], &verity::Parameters::of(&[]));
    let mut partitions = layout.partitions(recipe.esp_size.0, 0, &nothing)?;
    partitions.iter_mut().for_each(|partition| partition.used = 0);
    Ok(Plan {
        name: base_name(recipe, NomadSource::Release),
        role: recipe.role.to_string(),
        packages: packages.into_iter().map(planned).collect(),
        unlocked,
        nomad: nomad_name.unwrap_or_else(|| recipe.nomad_version.clone()),
        nomad_here,
        agent,
        steps,
        unchanged,
        formats: build.formats(),
        partitions,
        disk: recipe.disk_size.0,
        files: sizes,
    })
}

/// The steps whose results are kept. Compressing Nomad is a part of the root, and most of the time of a build.
const STEPS: [&str; 5] = ["kernel", "modules", "initramfs", "nomad, compressed", "root"];

impl Build<'_> {
    /// Which steps the cache has the results of, and whether the files are there as well.
    fn steps(&self, inputs: &Inputs) -> Result<(Vec<Step>, bool)> {
        let recipe = &self.request.recipe;
        let (mut kernel, mut modules, mut initramfs, mut root) = (None, None, None, None);
        if let Some(folder) = self.cache.done("kernel", self.kernel_key(inputs)) {
            kernel = Some(Kernel::read(&folder, OnceCell::new())?);
        }
        if kernel.is_some()
            && let Some(first) = self.cache.done("modules", self.modules_key(inputs, &inputs.lists.initramfs, &[])?)
        {
            let first = selection(&first)?;
            let second = self.modules_key(inputs, &inputs.lists.root, &first.always)?;
            if let Some(second) = self.cache.done("modules", second) {
                modules = Some((first, selection(&second)?));
            }
        }
        if let (Some(kernel), Some((first, second))) = (&kernel, &modules) {
            initramfs = self.cache.done("initramfs", self.initramfs_key(inputs, first)?);
            root = self.cache.done("root", self.root_key(inputs, &self.facts(inputs, kernel), second)?);
        }
        let blocks = Digest::parse(&inputs.nomad.sha256)
            .and_then(|sha256| Some(blocks_key(sha256, recipe.root.level, usize::try_from(recipe.root.block.0).ok()?)))
            .and_then(|key| self.cache.done("blocks", key));
        let cached = [kernel.is_some(), modules.is_some(), initramfs.is_some(), blocks.is_some(), root.is_some()];
        let steps = STEPS.into_iter().zip(cached).map(|(name, cached)| Step { name, cached }).collect();
        Ok((steps, self.is_unchanged(inputs)))
    }

    /// The formats as they are named on the command line, raw ones with their compression.
    fn formats(&self) -> Vec<String> {
        let name = |value: Option<PossibleValue>| value.map(|value| value.get_name().to_owned());
        let mut names = Vec::new();
        for format in &self.request.formats {
            let own = name(format.to_possible_value()).unwrap_or_default();
            if *format != Format::Raw {
                names.push(own);
                continue;
            }
            names.extend(self.request.compressions.iter().map(|compression| match compression {
                Compression::None => own.clone(),
                other => format!("{own} ({})", name(other.to_possible_value()).unwrap_or_default()),
            }));
        }
        names
    }

    /// Whether the files of the last build of this name are there, and from the same inputs.
    pub(super) fn is_unchanged(&self, inputs: &Inputs) -> bool {
        let base = base_name(&self.request.recipe, inputs.nomad.source);
        let manifest = self.request.output.join(format!("{base}{}", Manifest::SUFFIX));
        let stamp = self.stamp(&base).ok().and_then(|stamp| fs::read_to_string(stamp).ok());
        let Ok(digest) = self.cache.digest(&manifest) else { return false };
        stamp.is_some_and(|text| text == stamped(self.key(inputs), digest)) && self.intact(&manifest)
    }
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
        for (index, step) in self.steps.iter().enumerate() {
            let state = if step.cached { "in the cache" } else { "to make" };
            line(if index == 0 { "steps" } else { "" }, format!("{:<18} {state}", step.name));
        }
        let formats = self.formats.join(", ");
        line(
            "files",
            if self.unchanged { format!("{formats}: nothing changed") } else { format!("{formats}: to write") },
        );
        line("disk", bytes(self.disk));
        for one in &self.partitions {
            line("", format!("{} {:<17}{:>9} at {}", one.number, one.name, bytes(one.size), bytes(one.start)));
        }
        let end = self.partitions.last().map_or(0, |last| last.start + last.size);
        line("", format!("  {:<17}{:>9}", "state", bytes(self.disk.saturating_sub(end))));
        out
    }
}
