//! Kernel modules: which ones go into an image, and in which order they are loaded.
//!
//! A list names only what is wanted; dependencies are read from the modules themselves. Every module carries a
//! section `.modinfo` of `key=value` strings (`depends=a,b`, `softdep=pre: c`); Debian packages have no `modules.dep`,
//! which `depmod` writes at installation.

use std::{collections::BTreeMap, io::Read as _, sync::Arc};

use object::{Object as _, ObjectSection as _};
use serde::Deserialize;

use crate::{hint, tree::Tree};

/// The module lists of a kernel flavour.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleLists {
    /// To reach the root file system.
    pub initramfs: Vec<String>,
    /// Loaded after the root is mounted.
    pub root: Vec<String>,
}

impl ModuleLists {
    /// Parses the text of a list file; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is not such a file.
    pub fn parse(file: &str, text: &str) -> Result<Self, ModuleError> {
        toml::from_str(text)
            .map_err(|error| ModuleError::List { file: file.to_owned(), message: hint::describe_toml(text, &error) })
    }
}

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Below `/usr/lib/modules/<release>/`, without the suffix of a compression: see [`bytes`].
    pub path: String,
    /// Whether the hardware may be absent.
    pub optional: bool,
}

/// The text of `/usr/lib/steppe/modules`.
#[must_use]
pub fn list_text(modules: &[Module]) -> String {
    modules.iter().map(|m| format!("{}{}\n", if m.optional { "?" } else { "" }, m.path)).collect()
}

/// Reads what [`list_text`] wrote.
#[must_use]
pub fn parse_list(text: &str) -> Vec<Module> {
    let module = |line: &str| match line.strip_prefix('?') {
        Some(path) => Module { path: path.to_owned(), optional: true },
        None => Module { path: line.to_owned(), optional: false },
    };
    text.lines().map(module).collect()
}

/// The modules of a kernel package.
#[derive(Debug)]
pub struct Catalogue<'a> {
    tree: &'a Tree,
    base: String,
    /// Normalised name to path below the base.
    by_name: BTreeMap<String, String>,
    builtin: Vec<String>,
}

impl<'a> Catalogue<'a> {
    /// The modules of `release` in the files of its package.
    #[must_use]
    pub fn new(tree: &'a Tree, release: &str) -> Self {
        let base = format!("usr/lib/modules/{release}/");
        let by_name = tree
            .iter()
            .filter_map(|(path, _)| path.strip_prefix(&base))
            .filter_map(|path| Some((module_name(path)?, plain_path(path).to_owned())))
            .collect();
        let builtin = tree
            .bytes(&format!("{base}modules.builtin"))
            .map(|bytes| String::from_utf8_lossy(bytes).lines().filter_map(module_name).collect())
            .unwrap_or_default();
        Self { tree, base, by_name, builtin }
    }

    /// The modules of `wanted`, each after what it depends on, without those in `already`. Built-in modules need no
    /// loading and are left out.
    ///
    /// # Errors
    /// When the kernel has no such module, or one cannot be read.
    pub fn resolve(&self, wanted: &[String], already: &[Module]) -> Result<Vec<Module>, ModuleError> {
        let mut order: Vec<Module> = Vec::new();
        for word in wanted {
            let (name, optional) = word.strip_prefix('?').map_or((word.as_str(), false), |name| (name, true));
            let name = normal(name);
            if self.builtin.contains(&name) {
                continue;
            }
            if !self.by_name.contains_key(&name) {
                let near = hint::nearest(&name, self.by_name.keys().map(String::as_str)).map(ToOwned::to_owned);
                return Err(ModuleError::Unknown { name, base: self.base.clone(), near });
            }
            self.visit(&name, optional, already, &mut order, &mut Vec::new())?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        optional: bool,
        already: &[Module],
        order: &mut Vec<Module>,
        above: &mut Vec<String>,
    ) -> Result<(), ModuleError> {
        let Some(path) = self.by_name.get(name) else {
            return if self.builtin.iter().any(|b| b == name) {
                Ok(())
            } else {
                let by = above.last().cloned().unwrap_or_default();
                Err(ModuleError::Dependency { name: name.to_owned(), by })
            };
        };
        if already.iter().any(|m| &m.path == path) || above.iter().any(|n| n == name) {
            return Ok(());
        }
        if let Some(module) = order.iter_mut().find(|m| &m.path == path) {
            // Wanted for certain by one and perhaps by another: its failure matters.
            module.optional &= optional;
            return Ok(());
        }
        above.push(name.to_owned());
        let info = Info::of(path, &bytes(self.tree, &format!("{}{path}", self.base))?)?;
        for soft in info.before.iter().filter(|soft| self.by_name.contains_key(*soft)) {
            self.visit(soft, true, already, order, above)?;
        }
        for needed in &info.depends {
            self.visit(needed, optional, already, order, above)?;
        }
        above.pop();
        order.push(Module { path: path.clone(), optional });
        Ok(())
    }
}

/// The module at `path` of a kernel package, whatever it is compressed with there. An image has modules as they are: its
/// file systems compress them better together, and the kernel has one decompression less to do.
///
/// # Errors
/// When it is not there or damaged.
pub fn bytes(kernel: &Tree, path: &str) -> Result<Arc<[u8]>, ModuleError> {
    let wrong = |why: String| ModuleError::Read { path: path.to_owned(), why };
    if let Some(plain) = kernel.bytes(path) {
        return Ok(plain.clone());
    }
    let mut plain = Vec::new();
    if let Some(stored) = kernel.bytes(&format!("{path}.xz")) {
        liblzma::read::XzDecoder::new(&stored[..]).read_to_end(&mut plain).map_err(|e| wrong(e.to_string()))?;
    } else if let Some(stored) = kernel.bytes(&format!("{path}.zst")) {
        plain = zstd::stream::decode_all(&stored[..]).map_err(|e| wrong(e.to_string()))?;
    } else {
        return Err(wrong("it is not in the kernel package".to_owned()));
    }
    Ok(Arc::from(plain))
}

/// What matters of a module's `.modinfo`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    before: Vec<String>,
}

impl Info {
    fn of(path: &str, module: &[u8]) -> Result<Self, ModuleError> {
        let wrong = |why: String| ModuleError::Read { path: path.to_owned(), why };
        let file = object::File::parse(module).map_err(|e| wrong(e.to_string()))?;
        let section = file.section_by_name(".modinfo").ok_or_else(|| wrong("it has no .modinfo".into()))?;
        Ok(Self::parse(section.data().map_err(|e| wrong(e.to_string()))?))
    }

    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for text in section.split(|byte| *byte == 0).filter_map(|s| std::str::from_utf8(s).ok()) {
            if let Some(list) = text.strip_prefix("depends=") {
                info.depends.extend(list.split(',').filter(|name| !name.is_empty()).map(normal));
            } else if let Some(list) = text.strip_prefix("softdep=pre:") {
                let names = list.split_whitespace().take_while(|word| *word != "post:");
                info.before.extend(names.map(normal));
            }
        }
        info
    }
}

/// The path without the suffix of a compression.
fn plain_path(path: &str) -> &str {
    [".xz", ".zst"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

/// `kernel/drivers/net/virtio-net.ko.xz` as `virtio_net`.
fn module_name(path: &str) -> Option<String> {
    plain_path(path).rsplit('/').next()?.strip_suffix(".ko").map(normal)
}

fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

/// Why the modules of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The list file is not what the builder knows.
    #[error("{file}:{message}")]
    List {
        /// The file.
        file: String,
        /// `line:column: what`.
        message: String,
    },
    /// The kernel has no such module.
    #[error("no module {name} in {base}{hint}", hint = near.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        base: String,
        /// A module with a name like it.
        near: Option<String>,
    },
    /// A module needs one that the kernel does not have.
    #[error("module {by} depends on {name}, which is neither built in nor in the package")]
    Dependency {
        /// What is missing.
        name: String,
        /// Who needs it.
        by: String,
    },
    /// A module cannot be read.
    #[error("failed to read module {path}: {why}")]
    Read {
        /// The module.
        path: String,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, tree::Origin};

    fn kernel() -> Tree {
        let mut tree = Tree::new();
        let mut add = |path: &str, info: &str| {
            let module = fixture::xz(&fixture::kernel_module(info));
            tree.file(&format!("usr/lib/modules/6.1/kernel/{path}.ko.xz"), 0o644, module, Origin::Builder);
        };
        add("a/virtio-net", "license=GPL\0depends=net_failover\0");
        add("a/net_failover", "depends=failover\0");
        add("a/failover", "depends=\0");
        add("b/squashfs", "depends=\0softdep=pre: lz4 absent post: late\0");
        add("b/lz4", "depends=built\0");
        let builtin: &[u8] = b"kernel/x/built.ko\nkernel/x/nvme.ko\n";
        tree.file("usr/lib/modules/6.1/modules.builtin", 0o644, builtin, Origin::Builder);
        tree
    }

    #[test]
    fn dependencies_stand_before_what_needs_them() {
        let tree = kernel();
        let catalogue = Catalogue::new(&tree, "6.1");
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let first = catalogue.resolve(&words(&["nvme", "?virtio_net", "squashfs"]), &[]).unwrap();
        assert_eq!(
            list_text(&first),
            "?kernel/a/failover.ko\n?kernel/a/net_failover.ko\n?kernel/a/virtio-net.ko\n\
             ?kernel/b/lz4.ko\nkernel/b/squashfs.ko\n"
        );
        assert_eq!(parse_list(&list_text(&first)), first);
        assert!(catalogue.resolve(&words(&["squashfs", "failover"]), &first).unwrap().is_empty());
        // Wanted for certain later: no longer optional.
        let both = catalogue.resolve(&words(&["?virtio-net", "failover"]), &[]).unwrap();
        assert!(!both[0].optional && both[2].optional);
    }

    #[test]
    fn unknown_modules_are_named() {
        let tree = kernel();
        let error = Catalogue::new(&tree, "6.1").resolve(&["squashf".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.contains("no module squashf in usr/lib/modules/6.1/") && error.contains("squashfs?"), "{error}");
    }

    #[test]
    fn the_embedded_list_is_well_formed() {
        let lists = ModuleLists::parse("m", crate::embedded::module_list("cloud").unwrap()).unwrap();
        assert!(lists.initramfs.iter().any(|m| m == "squashfs"));
        assert!(ModuleLists::parse("m", "initrd = []\n").unwrap_err().to_string().contains("m:1:1: unknown field"));
    }
}
