//! Recipes: what an image is made of.
//!
//! A recipe is a TOML file. It may start from another one (`extends`), and what it says itself wins, value by value.
//! Keys that the builder does not know are errors: a recipe that is silently not obeyed is worse than none.

use std::{fs, io, path::Path};

use agent::{facts::Role, node::datasource};
use serde::{Deserialize, Serialize};

use crate::{embedded, hint, nomad::Fingerprint, size::Size};

/// A recipe with every value known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Name of the image, in file names.
    pub name: String,
    /// What a node made from the image promises to be.
    pub role: Role,
    /// Terminals on which the interactive console always runs.
    pub consoles: Vec<String>,
    /// The platform that the image is for, by the name of its datasource: the node looks for no other.
    pub platform: Option<String>,
    /// The kernel.
    pub kernel: Kernel,
    /// Where packages come from, and which.
    pub packages: Packages,
    /// The root file system.
    pub root: Root,
    /// zstd level of the initramfs.
    pub initramfs_level: i32,
    /// Version of Nomad, when no other is named.
    pub nomad_version: String,
    /// The key that signs releases of Nomad.
    pub nomad_key: Fingerprint,
    /// Virtual size of the disk.
    pub disk_size: Size,
    /// Size of the EFI system partition.
    pub esp_size: Size,
}

/// The kernel of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The metapackage that names the newest kernel.
    pub package: String,
    /// Which list of modules.
    pub modules: String,
    /// Words of the command line.
    pub cmdline: Vec<String>,
}

/// Packages of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The suite of the archive.
    pub suite: String,
    /// Components of the archive.
    pub components: Vec<String>,
    /// Names, besides the kernel.
    pub names: Vec<String>,
}

/// The root file system of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Absolute paths of programs in the packages.
    pub programs: Vec<String>,
    /// zstd level.
    pub level: i32,
    /// Block size of the squashfs.
    pub block: Size,
}

/// One file, before what it extends is put below it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    extends: Option<String>,
    name: Option<String>,
    role: Option<Role>,
    consoles: Option<Vec<String>>,
    platform: Option<String>,
    #[serde(default)]
    kernel: KernelLayer,
    #[serde(default)]
    packages: PackagesLayer,
    #[serde(default)]
    root: RootLayer,
    #[serde(default)]
    initramfs: InitramfsLayer,
    #[serde(default)]
    nomad: NomadLayer,
    #[serde(default)]
    disk: DiskLayer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelLayer {
    package: Option<String>,
    modules: Option<String>,
    cmdline: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackagesLayer {
    suite: Option<String>,
    components: Option<Vec<String>>,
    names: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootLayer {
    programs: Option<Vec<String>>,
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
}

impl Recipe {
    /// The recipe that comes with the builder for `role`.
    ///
    /// # Errors
    /// When an embedded file is wrong, which a test rules out.
    pub fn embedded(role: Role) -> Result<Self, RecipeError> {
        let name = role.as_str();
        Self::parse(&format!("{name}.toml"), embedded::recipe(name).unwrap_or_default(), &mut |_| None)
    }

    /// Reads a file. What it extends is looked for beside it, then among the recipes that come with the builder.
    ///
    /// # Errors
    /// When a file cannot be read, or says something that the builder does not understand.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.display().to_string(), source })?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::parse(&path.display().to_string(), &text, &mut |name| {
            fs::read_to_string(folder.join(format!("{name}.toml"))).ok()
        })
    }

    /// Parses `text`; `file` is its name in messages, `beside` finds what it extends before the embedded recipes do.
    ///
    /// # Errors
    /// When the text says something that the builder does not understand, or leaves out what it must know.
    pub fn parse(file: &str, text: &str, beside: &mut dyn FnMut(&str) -> Option<String>) -> Result<Self, RecipeError> {
        let mut layer = Layer::parse(file, text)?;
        let mut seen = Vec::new();
        while let Some(name) = layer.extends.take() {
            if seen.contains(&name) {
                return Err(RecipeError::Circle { file: file.to_owned(), name });
            }
            let below = match beside(&name).or_else(|| embedded::recipe(&name).map(ToOwned::to_owned)) {
                Some(text) => Layer::parse(&format!("{name}.toml"), &text)?,
                None => return Err(RecipeError::Extends { file: file.to_owned(), name }),
            };
            seen.push(name);
            layer = layer.over(below);
        }
        layer.finish(file)
    }
}

impl Layer {
    fn parse(file: &str, text: &str) -> Result<Self, RecipeError> {
        toml::from_str(text)
            .map_err(|error| RecipeError::Parse { file: file.to_owned(), message: hint::describe_toml(text, &error) })
    }

    /// This layer's values, and `below`'s where this one has none.
    fn over(self, below: Self) -> Self {
        Self {
            extends: below.extends,
            name: self.name.or(below.name),
            role: self.role.or(below.role),
            consoles: self.consoles.or(below.consoles),
            platform: self.platform.or(below.platform),
            kernel: KernelLayer {
                package: self.kernel.package.or(below.kernel.package),
                modules: self.kernel.modules.or(below.kernel.modules),
                cmdline: self.kernel.cmdline.or(below.kernel.cmdline),
            },
            packages: PackagesLayer {
                suite: self.packages.suite.or(below.packages.suite),
                components: self.packages.components.or(below.packages.components),
                names: self.packages.names.or(below.packages.names),
            },
            root: RootLayer {
                programs: self.root.programs.or(below.root.programs),
                level: self.root.level.or(below.root.level),
                block: self.root.block.or(below.root.block),
            },
            initramfs: InitramfsLayer { level: self.initramfs.level.or(below.initramfs.level) },
            nomad: NomadLayer {
                version: self.nomad.version.or(below.nomad.version),
                key: self.nomad.key.or(below.nomad.key),
            },
            disk: DiskLayer { size: self.disk.size.or(below.disk.size), esp: self.disk.esp.or(below.disk.esp) },
        }
    }

    fn finish(self, file: &str) -> Result<Recipe, RecipeError> {
        fn need<T>(value: Option<T>, file: &str, key: &'static str) -> Result<T, RecipeError> {
            value.ok_or_else(|| RecipeError::Missing { file: file.to_owned(), key })
        }
        let recipe = Recipe {
            name: need(self.name, file, "name")?,
            role: need(self.role, file, "role")?,
            consoles: self.consoles.unwrap_or_default(),
            platform: self.platform.map(|name| datasource::canonical(&name)),
            kernel: Kernel {
                package: need(self.kernel.package, file, "kernel.package")?,
                modules: need(self.kernel.modules, file, "kernel.modules")?,
                cmdline: need(self.kernel.cmdline, file, "kernel.cmdline")?,
            },
            packages: Packages {
                suite: need(self.packages.suite, file, "packages.suite")?,
                components: need(self.packages.components, file, "packages.components")?,
                names: need(self.packages.names, file, "packages.names")?,
            },
            root: Root {
                programs: need(self.root.programs, file, "root.programs")?,
                level: need(self.root.level, file, "root.level")?,
                block: need(self.root.block, file, "root.block")?,
            },
            initramfs_level: need(self.initramfs.level, file, "initramfs.level")?,
            nomad_version: need(self.nomad.version, file, "nomad.version")?,
            nomad_key: need(self.nomad.key, file, "nomad.key")?,
            disk_size: need(self.disk.size, file, "disk.size")?,
            esp_size: need(self.disk.esp, file, "disk.esp")?,
        };
        recipe.check(file)?;
        Ok(recipe)
    }
}

impl Recipe {
    /// Values that are of the right type and yet wrong.
    fn check(&self, file: &str) -> Result<(), RecipeError> {
        let wrong = |key: &'static str, why: String| Err(RecipeError::Value { file: file.to_owned(), key, why });
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._+".contains(&c));
        if !plain(&self.name) {
            return wrong("name", format!("{:?} has characters other than letters, digits and -._+", self.name));
        }
        if let Some(platform) = self.platform.as_deref().filter(|name| !datasource::names().any(|n| n == *name)) {
            let names: Vec<&str> = datasource::names().collect();
            let near = hint::nearest(platform, names.iter().copied()).map(|name| format!("; did you mean {name:?}?"));
            let known = names.join(", ");
            return wrong("platform", format!("{platform:?} is none of {known}{}", near.unwrap_or_default()));
        }
        for level in [self.root.level, self.initramfs_level] {
            if !(1..=22).contains(&level) {
                return wrong("level", format!("zstd has the levels 1 to 22, not {level}"));
            }
        }
        let block = self.root.block;
        if !block.0.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block.0) {
            return wrong("root.block", format!("{block} is not a power of two from 4KiB to 1MiB"));
        }
        if self.esp_size.0 < 34 << 20 || !self.esp_size.0.is_multiple_of(1 << 20) {
            return wrong("disk.esp", format!("{} is not a multiple of 1MiB from 34MiB on", self.esp_size));
        }
        if !self.disk_size.0.is_multiple_of(1 << 20) {
            return wrong("disk.size", format!("{} is not a multiple of 1MiB", self.disk_size));
        }
        for name in self.packages.names.iter().chain([&self.kernel.package, &self.packages.suite]) {
            if !plain(name) || name.starts_with('-') {
                return wrong("packages", format!("{name:?} is not the name of a package or suite"));
            }
        }
        if let Some(word) = self.kernel.cmdline.iter().find(|w| w.starts_with("root=") || w.contains(['\n', '\0'])) {
            return wrong("kernel.cmdline", format!("{word:?} is the builder's to say"));
        }
        Ok(())
    }
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("failed to read recipe {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The text is not what the builder knows.
    #[error("{file}:{message}")]
    Parse {
        /// The file.
        file: String,
        /// `line:column: what`, with a hint where there is one.
        message: String,
    },
    /// It extends a recipe that is nowhere.
    #[error("{file}: extends {name:?}, which is neither beside it ({name}.toml) nor built in ({known})", known = embedded::recipe_names().join(", "))]
    Extends {
        /// The file.
        file: String,
        /// What it extends.
        name: String,
    },
    /// It extends itself.
    #[error("{file}: extends {name:?} twice")]
    Circle {
        /// The file.
        file: String,
        /// What it extends.
        name: String,
    },
    /// A value that every image needs.
    #[error("{file}: {key} is missing: set it, or say extends = \"base\"")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
    },
    /// A value that cannot be.
    #[error("{file}: {key}: {why}")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, RecipeError> {
        Recipe::parse("r.toml", text, &mut |_| None)
    }

    #[test]
    fn every_embedded_recipe_is_whole() {
        for role in [Role::Server, Role::Client, Role::Dev] {
            let recipe = Recipe::embedded(role).unwrap();
            assert_eq!(recipe.role, role);
            assert!(recipe.kernel.cmdline.iter().any(|w| w == "console=ttyS0,115200"));
        }
    }

    #[test]
    fn a_recipe_wins_over_what_it_extends() {
        let recipe = parse("extends = \"server\"\nname = \"mine\"\n[root]\nlevel = 3\n").unwrap();
        assert_eq!((recipe.name.as_str(), recipe.root.level, recipe.role), ("mine", 3, Role::Server));
        assert_eq!(recipe.root.block, Size(128 << 10));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let text = parse("extends = \"base\"\n\n[kernel]\nmodles = \"cloud\"\n").unwrap_err().to_string();
        assert!(text.starts_with("r.toml:4:1: unknown field `modles`"), "{text}");
        assert!(text.contains("did you mean `modules`?"), "{text}");
        let text = parse("extends = \"base\"\nname=\"a\"\nrole=\"sever\"\n").unwrap_err().to_string();
        assert!(text.contains("r.toml:3:6") && text.contains("did you mean `server`?"), "{text}");
        assert!(parse("extends = \"bse\"\n").unwrap_err().to_string().contains("neither beside it"));
        assert!(parse("extends = \"base\"\n").unwrap_err().to_string().contains("name is missing"));
        let with = |line: &str| parse(&format!("extends = \"server\"\n{line}\n")).unwrap_err().to_string();
        assert!(with("[root]\nblock = \"100KiB\"").contains("power of two"));
        assert!(with("[nomad]\nkey = \"72D7468F\"").contains("40 hexadecimal digits"));
        assert!(with("[root]\nlevel = 23").contains("1 to 22"));
        assert!(with("[disk]\nesp = \"8MiB\"").contains("34MiB"));
        assert!(with("[kernel]\ncmdline = [\"root=/dev/sda\"]").contains("builder's to say"));
        assert!(with("name = \"a/b\"").contains("characters"));
        assert!(with("platform = \"nocluod\"").contains("did you mean \"nocloud\"?"));
        assert_eq!(parse("extends = \"server\"\nplatform = \"Proxmox\"\n").unwrap().platform.unwrap(), "nocloud");
    }
}
