//! Recipes: what an image is made of.
//!
//! A recipe is a TOML file. It may start from another one (`extends`), and what it says itself wins, value by value.
//! Keys that the builder does not know are errors: a recipe that is silently not obeyed is worse than none.

mod check;
mod error;
mod files;
mod layer;
mod profile;

use std::{
    io,
    path::{Path, PathBuf},
};

use agent::facts::Role;
use serde::{Deserialize, Serialize};

use self::layer::Layer;
pub use self::{error::RecipeError, files::ExtraFile, profile::Profile};
use crate::{architecture::Architecture, bounded, embedded, modules::ModuleLists, nomad::Fingerprint, size::Size};

/// A recipe with every value known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Name of the image, in file names: the recipe's, with the profile behind it unless that is `cloud`.
    pub name: String,
    /// The machines that it is for.
    pub profile: Profile,
    /// Their processors.
    pub architecture: Architecture,
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
    /// Modules besides those of the list.
    pub modules: Modules,
    /// Files of the user's own.
    pub files: Vec<ExtraFile>,
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
    /// Whether the disk boots by a PC BIOS too, besides UEFI. Machines that are not `x86_64` have none.
    pub bios: bool,
    /// Size of a slot: of a partition for a root.
    pub slot_size: Size,
    /// Whether a healthy node still takes kernel modules.
    pub module_loading: ModuleLoading,
    /// The image's own version, by which updates are ordered; Steppe's without it.
    pub version: Option<String>,
    /// The public key that updates are signed with, in minisign's base64.
    pub update_key: Option<String>,
}

/// Whether a node takes kernel modules once it is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleLoading {
    /// At any time.
    On,
    /// Not from then on until the next boot (`kernel.modules_disabled`).
    OffAfterBoot,
}

/// The kernel of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The metapackage that names the newest kernel.
    pub package: String,
    /// Which list of modules.
    pub modules: String,
    /// Words of the command line: the consoles, those of `[kernel]`, then those of `[harden]`.
    pub cmdline: Vec<String>,
}

/// Modules besides those of the kernel's list, by name as there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Modules {
    /// Loaded at every boot.
    pub always: Vec<String>,
    /// Loaded when a device of theirs is there.
    pub devices: Vec<String>,
    /// Loaded when the node asks for them.
    pub asked: Vec<String>,
    /// In the initramfs, loaded when a device of theirs is there: what it takes to reach the root.
    pub initramfs: Vec<String>,
}

impl Modules {
    /// Adds these to the lists of a kernel flavour.
    pub fn add_to(&self, lists: &mut ModuleLists) {
        let add = |list: &mut Vec<String>, more: &[String]| {
            for name in more {
                if !list.contains(name) {
                    list.push(name.clone());
                }
            }
        };
        add(&mut lists.root.always, &self.always);
        add(&mut lists.root.devices, &self.devices);
        add(&mut lists.initramfs.devices, &self.initramfs);
        for name in &self.asked {
            lists.root.asked.entry(name.clone()).or_default();
        }
    }
}

/// Packages of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The suite of the archive.
    pub suite: String,
    /// Whether it has security updates, in a suite of their own.
    pub security: bool,
    /// Components of the archive.
    pub components: Vec<String>,
    /// Names, besides the kernel; those with firmware come last.
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

/// Bytes that a file of a recipe may have.
const MOST: u64 = 1 << 20;
/// Files of which each extends the next.
const DEEPEST: usize = 16;
/// Of these, those that an error names.
const MOST_NAMED: usize = 6;

impl Recipe {
    /// The recipe that comes with the builder for `role`, with another profile than its own when one is named.
    ///
    /// # Errors
    /// When an embedded file is wrong, which a test rules out.
    pub fn embedded(role: Role, profile: Option<Profile>) -> Result<Self, RecipeError> {
        let name = role.as_str();
        Self::parse(&format!("{name}.toml"), embedded::recipe(name).unwrap_or_default(), profile, &mut |_| None)
    }

    /// Reads a file, with another profile than its own when one is named. What it extends is looked for beside it, then among the
    /// recipes that come with the builder.
    ///
    /// # Errors
    /// When a file cannot be read, or says something that the builder does not understand.
    pub fn read(path: &Path, profile: Option<Profile>) -> Result<Self, RecipeError> {
        let read = |path: &Path| {
            bounded::text(path, MOST).map_err(|source| RecipeError::Read { path: path.display().to_string(), source })
        };
        let mut failed = None;
        let mut open = |path: &Path| match read(path) {
            // What is there and cannot be read is not looked for elsewhere.
            Err(RecipeError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                failed.get_or_insert(error);
                None
            }
            Ok(text) => Some(text),
        };
        let recipe = Self::parse(&path.display().to_string(), &read(path)?, profile, &mut open);
        failed.map_or(recipe, Err)
    }

    /// Parses `text`; `file` is its name in messages, `open` gives the text of a file that is there: what is extended by name
    /// is looked for beside the file that says so before it is looked for among the embedded recipes. Below everything lies the
    /// profile's file: `profile`'s, or the one that the recipe names.
    ///
    /// # Errors
    /// When the text says something that the builder does not understand, or leaves out what it must know.
    pub fn parse(
        file: &str,
        text: &str,
        profile: Option<Profile>,
        open: &mut dyn FnMut(&Path) -> Option<String>,
    ) -> Result<Self, RecipeError> {
        let mut layer = Layer::parse(file, text)?;
        let mut current = PathBuf::from(file);
        let mut seen = Vec::new();
        while let Some(name) = layer.extends.take() {
            // A name stands for a file beside this one; anything else is the path of a file.
            let is_path = name.contains('/') || name.ends_with(".toml");
            let path = current.with_file_name(if is_path { name.clone() } else { format!("{name}.toml") });
            // The same file may have many paths.
            if seen.contains(&path) || seen.len() >= DEEPEST {
                let way = [PathBuf::from(file)].into_iter().chain(seen).chain([path]).take(MOST_NAMED);
                let way = way.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" -> ");
                return Err(RecipeError::Circle { file: current.display().to_string(), name, way });
            }
            // A server.toml that extends "server" means the built-in one.
            let found = Some(&path).filter(|path| is_path || **path != current).and_then(|path| open(path));
            let embedded = || embedded::recipe(&name).filter(|_| !is_path).map(ToOwned::to_owned);
            let below = match found {
                Some(text) => {
                    current.clone_from(&path);
                    Layer::parse(&path.display().to_string(), &text)?
                }
                None => match embedded() {
                    Some(text) => Layer::parse(&format!("{name}.toml"), &text)?,
                    None => return Err(RecipeError::Extends { file: file.to_owned(), name }),
                },
            };
            seen.push(path);
            layer = layer.over(below);
        }
        let profile = profile.or(layer.profile).unwrap_or_default();
        let below = Layer::parse(&format!("profile-{profile}.toml"), embedded::profile(profile))?;
        layer.profile = Some(profile);
        layer.over(below).finish(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, RecipeError> {
        Recipe::parse("r.toml", text, None, &mut |_| None)
    }

    #[test]
    fn every_embedded_recipe_is_whole() {
        for role in [Role::Server, Role::Client, Role::Dev] {
            for profile in Profile::ALL {
                let recipe = Recipe::embedded(role, Some(profile)).unwrap();
                assert_eq!((recipe.role, recipe.profile), (role, profile));
                let mut consoles = recipe.kernel.cmdline.iter().filter(|word| word.starts_with("console="));
                assert_eq!(consoles.next_back().unwrap(), "console=ttyS0,115200", "it is /dev/console");
            }
            assert_eq!(Recipe::embedded(role, None).unwrap().profile, Profile::Cloud);
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
    fn the_architecture_is_the_recipes() {
        assert_eq!(Recipe::embedded(Role::Client, None).unwrap().architecture, Architecture::X86_64);
        let own = |name: &str| parse(&format!("extends = \"server\"\narchitecture = \"{name}\"\n"));
        assert_eq!(own("x86_64").unwrap(), parse("extends = \"server\"\n").unwrap());
        let said = own("aarch64").unwrap_err().to_string();
        assert!(said.starts_with("r.toml: architecture: images for aarch64 cannot be built yet: "), "{said}");
        assert!(said.contains("say \"x86_64\""), "{said}");
        let said = own("amd64").unwrap_err().to_string();
        assert_eq!(said, "r.toml:2:16: architecture \"amd64\" is not known: use x86_64 or aarch64");
        let alone =
            "profile = \"cloud\"\nname = \"x\"\nrole = \"server\"\n[harden]\ncmdline = []\n[kernel]\ncmdline = []\n";
        let said = parse(&format!("{alone}[packages]\nnames = []\n")).unwrap_err().to_string();
        assert!(said.starts_with("r.toml: architecture is missing: "), "{said}");
    }

    #[test]
    fn what_adds_is_kept_along_the_way() {
        let mut open = |path: &Path| {
            match path.to_str().unwrap() {
            "site/common.toml" => Some("extends = \"../company.toml\"\n[kernel]\nadd = [\"b\"]\n".to_owned()),
            "site/../company.toml" => Some(
                "extends = \"server\"\n[kernel]\nadd = [\"a\"]\n[packages]\nadd = [\"curl\"]\n[modules]\nasked = [\"dm_crypt\"]\n\
                 [[files]]\nsource = \"motd\"\npath = \"/etc/motd\"\n"
                    .to_owned(),
            ),
            _ => None,
        }
        };
        let text = "extends = \"common\"\n[packages]\nadd = [\"jq\"]\n[root]\nadd = [\"/usr/bin/jq\"]\n[kernel]\nadd = [\"c\"]\n\
                    [[files]]\nsource = \"my/motd\"\npath = \"/etc/motd\"\nmode = \"0600\"\n[[files]]\nsource = \"x\"\npath = \"/usr/share/x\"\n";
        let recipe = Recipe::parse("site/mine.toml", text, None, &mut open).unwrap();
        let base = Recipe::embedded(Role::Server, None).unwrap();
        assert_eq!(recipe.kernel.cmdline[base.kernel.cmdline.len()..], ["a", "b", "c"]);
        assert_eq!(recipe.packages.names[base.packages.names.len()..], ["curl", "jq"]);
        assert_eq!(recipe.root.programs.last().unwrap(), "/usr/bin/jq");
        assert_eq!(recipe.modules.asked, ["dm_crypt"]);
        let files: Vec<_> = recipe.files.iter().map(|file| (file.source.to_str().unwrap(), file.place())).collect();
        assert_eq!(
            files,
            [("site/my/motd", "usr/share/steppe/etc/motd".to_owned()), ("site/x", "usr/share/x".to_owned())],
            "the nearer recipe's file wins"
        );
    }

    #[test]
    fn a_profile_lies_below_the_recipe() {
        let metal = parse("extends = \"server\"\nprofile = \"metal\"\n").unwrap();
        assert_eq!((metal.name.as_str(), metal.profile), ("server-metal", Profile::Metal));
        assert_eq!((metal.kernel.package.as_str(), metal.kernel.modules.as_str()), ("linux-image-amd64", "metal"));
        assert!(metal.packages.names.iter().any(|name| name == "firmware-bnx2x"));
        assert!(metal.packages.components.iter().any(|name| name == "non-free-firmware"));
        let own = "extends = \"server\"\nname = \"x\"\nprofile = \"metal\"\n[kernel]\nconsoles = [\"ttyS2\"]\n\
                   [packages]\ncomponents = [\"main\"]\n[firmware]\npackages = []\n";
        let own = parse(own).unwrap();
        assert_eq!(own.packages.names, Recipe::embedded(Role::Server, None).unwrap().packages.names);
        assert_eq!((own.packages.components, &*own.kernel.cmdline[0]), (vec!["main".to_owned()], "console=ttyS2"));
        // What is asked for wins over the file, and the file over what it extends.
        let text = "extends = \"server\"\nprofile = \"metal\"\n";
        let asked = Recipe::parse("r.toml", text, Some(Profile::Cloud), &mut |_| None).unwrap();
        assert_eq!(asked, parse("extends = \"server\"\n").unwrap());
        let said = parse("extends = \"server\"\nprofile = \"metla\"\n").unwrap_err().to_string();
        assert!(said.contains("r.toml:2:11") && said.contains("did you mean `metal`?"), "{said}");
    }

    #[test]
    fn a_command_line_that_the_kernel_would_cut_is_refused() {
        let with = |bios: bool, word: &str| {
            parse(&format!("extends = \"server\"\n[disk]\nbios = {bios}\n[kernel]\nadd = [\"{word}\"]\n"))
        };
        let words = with(false, "x").unwrap().kernel.cmdline.join(" ");
        let longest = 2047 - format!("roothash={} {words}", "0".repeat(64)).len() + 1;
        // By BIOS it is this as well: "BOOT_IMAGE=/a/vmlinuz ", " initrd=/a/initrd" and " steppe.on-trial".
        for (bios, longest) in [(false, longest), (true, longest - 22 - 17 - 16)] {
            assert!(with(bios, &"x".repeat(longest)).is_ok());
            let said = with(bios, &"x".repeat(longest + 1)).unwrap_err().to_string();
            assert!(said.starts_with("r.toml: kernel.add: ") && said.contains(" has 2048 bytes"), "{said}");
        }
        for escaped in ["a\\nb", "a\\tb", "a\\u0000b", "a\\u0085b"] {
            let said = with(true, escaped).unwrap_err().to_string();
            assert!(said.contains("kernel.cmdline") && said.contains("control character"), "{said}");
        }
    }

    #[test]
    fn a_suite_has_security_updates_unless_the_recipe_says_otherwise() {
        let own = |line: &str| parse(&format!("extends = \"server\"\n[packages]\n{line}\n")).unwrap().packages;
        assert!(own("add = []").security);
        assert!(!own("suite = \"sid\"\nsecurity = false").security);
    }

    #[test]
    fn a_recipe_may_have_the_name_of_what_it_extends() {
        let text = "extends = \"server\"\n";
        let mut open = |path: &Path| (path == Path::new("server.toml")).then(|| text.to_owned());
        assert!(Recipe::parse("server.toml", text, None, &mut open).is_ok());
        let circle = Recipe::parse("a.toml", "extends = \"b\"\n", None, &mut |path| {
            Some(format!("extends = \"{}\"\n", if path == Path::new("b.toml") { "a" } else { "b" }))
        });
        let said = circle.unwrap_err().to_string();
        assert!(said.starts_with("a.toml: extends \"b\" for ever: a.toml -> b.toml -> a.toml -> b.toml; "), "{said}");
    }

    /// A file may have any number of paths, so that none is there twice.
    #[test]
    fn a_circle_of_other_paths_ends() {
        let text = "extends = \"../d/r.toml\"\n";
        let said = Recipe::parse("d/r.toml", text, None, &mut |_| Some(text.to_owned())).unwrap_err().to_string();
        assert!(said.contains("for ever: d/r.toml -> d/../d/r.toml") && said.len() < 500, "{said}");
    }

    #[test]
    fn what_is_no_recipe_is_not_read_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let said = || Recipe::read(&path, None).unwrap_err().to_string();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(said().ends_with("mine.toml: it is a device, not a file"), "{}", said());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "extends = \"other\"\n").unwrap();
        std::fs::create_dir(folder.path().join("other.toml")).unwrap();
        assert!(said().ends_with("other.toml: it is a folder, not a file"), "{}", said());
        std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
        assert!(said().contains("it has more than 1.0 MB"), "{}", said());
        std::fs::write(&path, b"name = \"a\"\n\xff").unwrap();
        assert!(said().ends_with("it is not UTF-8 text: byte 0xff in line 2"), "{}", said());
    }

    /// Every table knows its keys, and says which one was meant.
    #[test]
    fn a_wrong_key_of_every_table_has_a_hint_and_a_line() {
        for (table, wrong, right) in [
            ("", "extnds", "extends"),
            ("", "platfrom", "platform"),
            ("[kernel]", "cmdlin", "cmdline"),
            ("[firmware]", "package", "packages"),
            ("[packages]", "suit", "suite"),
            ("[root]", "programms", "programs"),
            ("[initramfs]", "levle", "level"),
            ("[nomad]", "verison", "version"),
            ("[disk]", "siez", "size"),
            ("[modules]", "alway", "always"),
            ("[[files]]", "soruce", "source"),
        ] {
            let text = format!("name = \"x\"\n{table}\n{wrong} = \"1\"\n");
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.starts_with("r.toml:3:1: ") && said.contains(&format!("did you mean `{right}`?")), "{said}");
        }
    }

    #[test]
    fn a_role_is_hardened_as_far_as_it_can_be() {
        let of = |role| Recipe::embedded(role, None).unwrap();
        let (server, client) = (of(Role::Server), of(Role::Client));
        assert_eq!(server.module_loading, ModuleLoading::OffAfterBoot);
        assert_eq!(client.module_loading, ModuleLoading::On);
        assert!(server.kernel.cmdline.starts_with(&client.kernel.cmdline), "{:?}", server.kernel.cmdline);
        assert!(server.kernel.cmdline.len() > client.kernel.cmdline.len());
        let own = parse("extends = \"server\"\n[harden]\nmodules = \"on\"\ncmdline = []\n").unwrap();
        assert_eq!((own.module_loading, own.kernel.cmdline), (ModuleLoading::On, client.kernel.cmdline));
        let why = parse("extends = \"server\"\n[harden]\nmodules = \"of\"\n").unwrap_err().to_string();
        assert!(why.contains("r.toml:3:11") && why.contains("off-after-boot"), "{why}");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let text = parse("extends = \"base\"\n\n[kernel]\nmodles = \"cloud\"\n").unwrap_err().to_string();
        assert!(text.starts_with("r.toml:4:1: unknown field `modles`"), "{text}");
        assert!(text.contains("did you mean `modules`?"), "{text}");
        let text = parse("extends = \"base\"\nname=\"a\"\nrole=\"sever\"\n").unwrap_err().to_string();
        assert!(text.contains("r.toml:3:6") && text.contains("did you mean `server`?"), "{text}");
        assert!(parse("extends = \"bse\"\n").unwrap_err().to_string().contains("neither there"));
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
        assert!(with("[kernel]\ncmdline = [\"root=/dev/sda\"]").contains("builder's to say"));
        assert!(with("version = \"1.2-rc1\"").contains("numbers with dots"));
        assert!(with("[update]\nkey = \"RWQ\"").contains("`builder key`"));
        assert!(with("name = \"a/b\"").contains("characters"));
        let file =
            |path: &str, mode: &str| with(&format!("[[files]]\nsource = \"x\"\npath = {path:?}\nmode = {mode:?}\n"));
        assert!(file("etc/x", "0644").contains("files: \"etc/x\" is not absolute"));
        assert!(file("/etc/../x", "0644").contains("plain path"));
        assert!(file("/var/lib/x", "0644").contains("write_files"));
        assert!(file("/usr/bin/x", "4755").contains("octal"));
        assert!(with("platform = \"nocluod\"").contains("did you mean \"nocloud\"?"));
        assert_eq!(parse("extends = \"server\"\nplatform = \"Proxmox\"\n").unwrap().platform.unwrap(), "nocloud");
    }
}
