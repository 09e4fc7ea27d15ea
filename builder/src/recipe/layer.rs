//! One file of a recipe, in which any value may be missing, and how it is laid over the file that it extends.

use std::path::Path;

use agent::{facts::Role, node::datasource};
use serde::Deserialize;

use super::{ExtraFile, Kernel, ModuleLoading, Modules, Packages, Profile, Recipe, RecipeError, Root};
use crate::{architecture::Architecture, hint, nomad::Fingerprint, size::Size};

/// One file, before what it extends is put below it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    pub(super) extends: Option<String>,
    pub(super) profile: Option<Profile>,
    architecture: Option<Architecture>,
    name: Option<String>,
    role: Option<Role>,
    consoles: Option<Vec<String>>,
    platform: Option<String>,
    #[serde(default)]
    files: Vec<ExtraFile>,
    #[serde(default)]
    modules: Modules,
    #[serde(default)]
    kernel: KernelLayer,
    #[serde(default)]
    packages: PackagesLayer,
    #[serde(default)]
    firmware: FirmwareLayer,
    #[serde(default)]
    root: RootLayer,
    #[serde(default)]
    initramfs: InitramfsLayer,
    #[serde(default)]
    nomad: NomadLayer,
    #[serde(default)]
    disk: DiskLayer,
    #[serde(default)]
    harden: HardenLayer,
    version: Option<String>,
    #[serde(default)]
    update: UpdateLayer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelLayer {
    package: Option<String>,
    modules: Option<String>,
    consoles: Option<Vec<String>>,
    cmdline: Option<Vec<String>>,
    #[serde(default)]
    add: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackagesLayer {
    suite: Option<String>,
    security: Option<bool>,
    components: Option<Vec<String>>,
    names: Option<Vec<String>>,
    #[serde(default)]
    add: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareLayer {
    packages: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootLayer {
    programs: Option<Vec<String>>,
    #[serde(default)]
    add: Vec<String>,
    level: Option<i32>,
    block: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InitramfsLayer {
    level: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NomadLayer {
    version: Option<String>,
    key: Option<Fingerprint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskLayer {
    size: Option<Size>,
    esp: Option<Size>,
    bios: Option<bool>,
    slot: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HardenLayer {
    modules: Option<ModuleLoading>,
    cmdline: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateLayer {
    key: Option<String>,
}

impl Layer {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, RecipeError> {
        let mut layer: Self = toml::from_str(text).map_err(|error| RecipeError::Parse {
            file: file.to_owned(),
            message: hint::describe_toml(text, &error),
        })?;
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        layer.files = layer.files.into_iter().map(|file| file.below(folder)).collect();
        Ok(layer)
    }

    /// This layer's values, and `below`'s where this one has none; of what adds something, that of both.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            extends: below.extends,
            profile: self.profile.or(below.profile),
            architecture: self.architecture.or(below.architecture),
            name: self.name.or(below.name),
            role: self.role.or(below.role),
            consoles: self.consoles.or(below.consoles),
            platform: self.platform.or(below.platform),
            files: files(self.files, below.files),
            modules: Modules {
                always: both(below.modules.always, self.modules.always),
                devices: both(below.modules.devices, self.modules.devices),
                asked: both(below.modules.asked, self.modules.asked),
                initramfs: both(below.modules.initramfs, self.modules.initramfs),
            },
            kernel: KernelLayer {
                package: self.kernel.package.or(below.kernel.package),
                modules: self.kernel.modules.or(below.kernel.modules),
                consoles: self.kernel.consoles.or(below.kernel.consoles),
                cmdline: self.kernel.cmdline.or(below.kernel.cmdline),
                add: both(below.kernel.add, self.kernel.add),
            },
            packages: PackagesLayer {
                suite: self.packages.suite.or(below.packages.suite),
                security: self.packages.security.or(below.packages.security),
                components: self.packages.components.or(below.packages.components),
                names: self.packages.names.or(below.packages.names),
                add: both(below.packages.add, self.packages.add),
            },
            firmware: FirmwareLayer { packages: self.firmware.packages.or(below.firmware.packages) },
            root: RootLayer {
                programs: self.root.programs.or(below.root.programs),
                add: both(below.root.add, self.root.add),
                level: self.root.level.or(below.root.level),
                block: self.root.block.or(below.root.block),
            },
            initramfs: InitramfsLayer { level: self.initramfs.level.or(below.initramfs.level) },
            nomad: NomadLayer {
                version: self.nomad.version.or(below.nomad.version),
                key: self.nomad.key.or(below.nomad.key),
            },
            disk: DiskLayer {
                size: self.disk.size.or(below.disk.size),
                esp: self.disk.esp.or(below.disk.esp),
                bios: self.disk.bios.or(below.disk.bios),
                slot: self.disk.slot.or(below.disk.slot),
            },
            harden: HardenLayer {
                modules: self.harden.modules.or(below.harden.modules),
                cmdline: self.harden.cmdline.or(below.harden.cmdline),
            },
            version: self.version.or(below.version),
            update: UpdateLayer { key: self.update.key.or(below.update.key) },
        }
    }

    pub(super) fn finish(self, file: &str) -> Result<Recipe, RecipeError> {
        fn need<T>(value: Option<T>, file: &str, key: &'static str) -> Result<T, RecipeError> {
            value.ok_or_else(|| RecipeError::Missing { file: file.to_owned(), key })
        }
        let consoles = need(self.kernel.consoles, file, "kernel.consoles")?;
        let mut cmdline: Vec<String> = consoles.iter().map(|console| format!("console={console}")).collect();
        cmdline.extend(need(self.kernel.cmdline, file, "kernel.cmdline")?);
        cmdline.extend(need(self.harden.cmdline, file, "harden.cmdline")?);
        let names = both(need(self.packages.names, file, "packages.names")?, self.packages.add);
        let profile = self.profile.unwrap_or_default();
        let recipe = Recipe {
            name: profile.name_of_image(&need(self.name, file, "name")?),
            profile,
            architecture: need(self.architecture, file, "architecture")?,
            role: need(self.role, file, "role")?,
            consoles: self.consoles.unwrap_or_default(),
            platform: self.platform.map(|name| datasource::canonical(&name)),
            files: self.files,
            modules: self.modules,
            kernel: Kernel {
                package: need(self.kernel.package, file, "kernel.package")?,
                modules: need(self.kernel.modules, file, "kernel.modules")?,
                cmdline: both(cmdline, self.kernel.add),
            },
            packages: Packages {
                suite: need(self.packages.suite, file, "packages.suite")?,
                security: self.packages.security.unwrap_or(true),
                components: need(self.packages.components, file, "packages.components")?,
                names: both(names, need(self.firmware.packages, file, "firmware.packages")?),
            },
            root: Root {
                programs: both(need(self.root.programs, file, "root.programs")?, self.root.add),
                level: need(self.root.level, file, "root.level")?,
                block: need(self.root.block, file, "root.block")?,
            },
            initramfs_level: need(self.initramfs.level, file, "initramfs.level")?,
            nomad_version: need(self.nomad.version, file, "nomad.version")?,
            nomad_key: need(self.nomad.key, file, "nomad.key")?,
            disk_size: need(self.disk.size, file, "disk.size")?,
            esp_size: need(self.disk.esp, file, "disk.esp")?,
            bios: self.disk.bios.unwrap_or(true),
            slot_size: need(self.disk.slot, file, "disk.slot")?,
            module_loading: need(self.harden.modules, file, "harden.modules")?,
            version: self.version,
            update_key: self.update.key,
        };
        recipe.check(file)?;
        Ok(recipe)
    }
}

/// One list behind the other, each word once.
fn both(mut first: Vec<String>, second: Vec<String>) -> Vec<String> {
    for word in second {
        if !first.contains(&word) {
            first.push(word);
        }
    }
    first
}

/// The files of both; of two for one path `nearer`'s.
fn files(nearer: Vec<ExtraFile>, below: Vec<ExtraFile>) -> Vec<ExtraFile> {
    let mut all: Vec<ExtraFile> =
        below.into_iter().filter(|file| nearer.iter().all(|near| near.place() != file.place())).collect();
    all.extend(nearer);
    all
}
