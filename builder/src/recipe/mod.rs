//! Recipes: what an image is made of.
//!
//! A recipe is a TOML file. It may start from another one (`extends`), and what it says itself wins, value by value.
//! Keys that the builder does not know are errors: a recipe that is silently not obeyed is worse than none.

mod check;
mod error;
mod layer;

use std::{fs, path::Path};

use agent::facts::Role;
use serde::Serialize;

pub use self::error::RecipeError;
use self::layer::Layer;
use crate::{embedded, nomad::Fingerprint, size::Size};

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
    /// Whether the disk boots by a PC BIOS too, besides UEFI.
    pub bios: bool,
    /// Size of a slot: of a partition for a root.
    pub slot_size: Size,
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
        assert_eq!((recipe.root.block, recipe.bios), (Size(128 << 10), true));
        assert!(!parse("extends = \"server\"\n[disk]\nbios = false\n").unwrap().bios);
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
        assert!(with("[disk]\nslot = \"1GiB3\"").contains("is not a size"));
        assert!(with("[disk]\nslot = \"0\"").contains("disk.slot"));
        for word in ["root=/dev/sda", "roothash=0"] {
            assert!(with(&format!("[kernel]\ncmdline = [{word:?}]")).contains("builder's to say"));
        }
        assert!(with("name = \"a/b\"").contains("characters"));
        assert!(with("platform = \"nocluod\"").contains("did you mean \"nocloud\"?"));
        assert_eq!(parse("extends = \"server\"\nplatform = \"Proxmox\"\n").unwrap().platform.unwrap(), "nocloud");
    }
}
