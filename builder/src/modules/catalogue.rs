//! The modules of a kernel package, and what an image takes of them.
//!
//! A list names only what is wanted; dependencies are read from the modules themselves. Debian packages have no
//! `modules.dep` and no `modules.alias`, which `depmod` writes at installation.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use super::{
    Module, ModuleError,
    drivers::{self, Driver, Selection},
    info::Info,
    lists::Wanted,
    normal,
};
use crate::{bounded, hint, tree::Tree};

/// Bytes that a module may have unpacked. The largest, of graphics cards, have 30 MB.
const MOST: u64 = 256 << 20;
/// Modules of which each needs the next. No kernel comes near.
const DEEPEST: usize = 100;

/// The modules of a kernel package.
#[derive(Debug)]
pub struct Catalogue<'a> {
    tree: &'a Tree,
    base: String,
    /// Normalised name to path below the base.
    by_name: BTreeMap<String, String>,
    builtin: Vec<String>,
    /// What was read already, by path: many need the same ones.
    read: RefCell<BTreeMap<String, Rc<Info>>>,
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
        Self { tree, base, by_name, builtin, read: RefCell::default() }
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
            if let Some(name) = self.find(name)? {
                self.visit(&name, optional, already, &mut order, &mut Vec::new())?;
            }
        }
        Ok(order)
    }

    /// Everything that a file system has of `wanted`, when the modules of `already` are loaded before.
    ///
    /// # Errors
    /// When the kernel has no such module, one cannot be read, or no device could ever ask for one.
    pub fn select(&self, wanted: &Wanted, already: &[Module]) -> Result<Selection, ModuleError> {
        let always = self.resolve(&wanted.always, already)?;
        let mut selection = Selection { always, ..Selection::default() };
        let loaded: Vec<Module> = already.iter().chain(&selection.always).cloned().collect();
        for word in &wanted.devices {
            let Some(name) = self.find(word)? else { continue };
            let aliases = self.aliases(&name, wanted.only.get(word))?;
            let mut loaded = loaded.clone();
            for (bus, maker) in &wanted.buses {
                if aliases.iter().all(|alias| drivers::bus(alias) == Some(bus)) {
                    loaded.extend(self.resolve(std::slice::from_ref(maker), &loaded)?);
                }
            }
            selection.drivers.push(Driver { aliases, ..self.driver(&name, &[], &loaded)? });
        }
        for (word, before) in &wanted.asked {
            let Some(name) = self.find(word)? else {
                selection.builtin.push(normal(word));
                continue;
            };
            let mut driver = self.driver(&name, before, &loaded)?;
            // Whoever mounts a file system knows it by another name than its module has.
            let of_file_systems = driver.aliases.iter().filter_map(|alias| alias.strip_prefix("fs-"));
            driver.names = of_file_systems.map(ToOwned::to_owned).chain([name]).collect();
            driver.names.sort();
            driver.names.dedup();
            driver.aliases.clear();
            selection.drivers.push(driver);
        }
        let infos = selection.paths().into_iter().map(|path| self.info(path)).collect::<Result<Vec<_>, _>>()?;
        selection.firmware = infos.iter().flat_map(|info| info.firmware.iter().cloned()).collect();
        selection.firmware.sort();
        selection.firmware.dedup();
        Ok(selection)
    }

    /// The aliases by which devices ask for a module: all of its own, or those of them that are listed.
    fn aliases(&self, name: &str, only: Option<&Vec<String>>) -> Result<Vec<String>, ModuleError> {
        let mut aliases = self.info(&self.by_name[name])?.aliases.clone();
        aliases.retain(|alias| drivers::bus(alias).is_some());
        if let Some(only) = only {
            if let Some(alias) = only.iter().find(|alias| !aliases.contains(alias)) {
                let (name, alias, known) = (name.to_owned(), alias.clone(), aliases.join(", "));
                return Err(ModuleError::OtherAlias { name, alias, known });
            }
            aliases.retain(|alias| only.contains(alias));
        }
        if aliases.is_empty() { Err(ModuleError::NoAlias { name: name.to_owned() }) } else { Ok(aliases) }
    }

    fn driver(&self, name: &str, before: &[String], loaded: &[Module]) -> Result<Driver, ModuleError> {
        let words: Vec<String> = before.iter().map(|word| format!("?{word}")).chain([name.to_owned()]).collect();
        let mut needs = self.resolve(&words, loaded)?;
        // Loaded always, and asked for besides: what is to be loaded is the module itself all the same.
        needs.retain(|module| module_name(&module.path).as_deref() != Some(name));
        let path = self.by_name.get(name).cloned().unwrap_or_default();
        let aliases = self.info(&path)?.aliases.clone();
        Ok(Driver { path, needs, names: Vec::new(), aliases })
    }

    /// The name of a wanted module as the kernel writes it; nothing when it is built in.
    fn find(&self, word: &str) -> Result<Option<String>, ModuleError> {
        let name = normal(word);
        if self.builtin.contains(&name) {
            return Ok(None);
        }
        if !self.by_name.contains_key(&name) {
            let near = hint::nearest(&name, self.by_name.keys().map(String::as_str)).map(ToOwned::to_owned);
            return Err(ModuleError::Unknown { name, base: self.base.clone(), near });
        }
        Ok(Some(name))
    }

    fn info(&self, path: &str) -> Result<Rc<Info>, ModuleError> {
        if let Some(info) = self.read.borrow().get(path) {
            return Ok(info.clone());
        }
        let info = Rc::new(Info::of(path, &bytes(self.tree, &format!("{}{path}", self.base))?)?);
        self.read.borrow_mut().insert(path.to_owned(), info.clone());
        Ok(info)
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
        if above.len() >= DEEPEST {
            return Err(ModuleError::Deep { name: above.swap_remove(0) });
        }
        above.push(name.to_owned());
        let info = self.info(path)?;
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
    let said = |error: std::io::Error| wrong(error.to_string());
    let plain = if let Some(stored) = kernel.bytes(&format!("{path}.xz")) {
        bounded::xz(&stored[..]).and_then(|reader| bounded::all(reader, MOST)).map_err(said)?
    } else if let Some(stored) = kernel.bytes(&format!("{path}.zst")) {
        zstd::stream::read::Decoder::new(&stored[..]).and_then(|reader| bounded::all(reader, MOST)).map_err(said)?
    } else {
        return Err(wrong("it is not in the kernel package".to_owned()));
    };
    Ok(Arc::from(plain))
}

/// The path without the suffix of a compression.
fn plain_path(path: &str) -> &str {
    [".xz", ".zst"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

/// `kernel/drivers/net/virtio-net.ko.xz` as `virtio_net`.
fn module_name(path: &str) -> Option<String> {
    plain_path(path).rsplit('/').next()?.strip_suffix(".ko").map(normal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, modules::list_text, tree::Origin};

    fn kernel() -> Tree {
        let mut tree = Tree::new();
        let mut add = |path: &str, info: &str| {
            let module = fixture::xz(&fixture::kernel_module(info));
            tree.file(&format!("usr/lib/modules/6.1/kernel/{path}.ko.xz"), 0o644, module, Origin::Builder);
        };
        add("a/virtio-net", "license=GPL\0depends=net_failover\0");
        add("a/net_failover", "depends=failover\0");
        add("a/failover", "depends=\0");
        add("a/ena", "depends=\0alias=of:N*T*Cena\0alias=pci:v00001D0F*\0firmware=ena/2.bin\0firmware=ena/1.bin\0");
        add("a/isofs", "alias=iso9660\0alias=fs-iso9660\0depends=\0");
        add("b/squashfs", "depends=\0softdep=pre: lz4 absent post: late\0");
        add("b/lz4", "depends=built\0");
        add("b/under", "depends=\0");
        add("b/bus", "alias=acpi*:VMBUS:*\0depends=under\0");
        add("b/synthetic", "alias=vmbus:1\0depends=bus\0");
        add("b/both", "alias=vmbus:2\0alias=pci:v*\0alias=of:x\0depends=bus\0");
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
        assert!(catalogue.resolve(&words(&["squashfs", "failover"]), &first).unwrap().is_empty());
        // Wanted for certain later: no longer optional.
        let both = catalogue.resolve(&words(&["?virtio-net", "failover"]), &[]).unwrap();
        assert!(!both[0].optional && both[2].optional);
    }

    #[test]
    fn devices_and_names_choose_modules() {
        let tree = kernel();
        let catalogue = Catalogue::new(&tree, "6.1");
        let wanted: Wanted = toml::from_str(
            "always = [\"net_failover\"]\ndevices = [\"ena\", \"nvme\"]\n[asked]\nisofs = [\"lz4\"]\nbuilt = []\nvirtio_net = []",
        )
        .unwrap();
        let selection = catalogue.select(&wanted, &[]).unwrap();
        assert_eq!(list_text(&selection.always), "kernel/a/failover.ko\nkernel/a/net_failover.ko\n");
        assert_eq!(selection.firmware, ["ena/1.bin", "ena/2.bin"]);
        assert_eq!(
            selection.drivers_text(),
            "module kernel/a/ena.ko\nalias pci:v00001D0F*\n\
             module kernel/a/isofs.ko\nname iso9660\nname isofs\nneeds ?kernel/b/lz4.ko\n\
             module kernel/a/virtio-net.ko\nname virtio_net\nbuiltin built\n"
        );
        // What makes a bus is there already for those that are on this bus alone.
        let wanted: Wanted = toml::from_str(
            "always = []\ndevices = [\"synthetic\", \"both\", \"bus\"]\nbuses = { vmbus = \"bus\" }\n\
             [only]\nboth = [\"pci:v*\"]",
        )
        .unwrap();
        let selection = catalogue.select(&wanted, &[]).unwrap();
        assert_eq!(
            selection.drivers_text(),
            "module kernel/b/synthetic.ko\nalias vmbus:1\n\
             module kernel/b/both.ko\nneeds kernel/b/under.ko\nneeds kernel/b/bus.ko\nalias pci:v*\n\
             module kernel/b/bus.ko\nneeds kernel/b/under.ko\nalias acpi*:VMBUS:*\n"
        );
        let wanted = toml::from_str("always = []\ndevices = [\"both\"]\nonly = { both = [\"pci:w\"] }").unwrap();
        let error = catalogue.select(&wanted, &[]).unwrap_err().to_string();
        assert!(error.contains("module both has no alias pci:w: it has pci:v*, vmbus:2"), "{error}");
        // A device must be able to ask for what is listed for devices.
        let wanted = toml::from_str("always = []\ndevices = [\"isofs\"]").unwrap();
        let error = catalogue.select(&wanted, &[]).unwrap_err().to_string();
        assert!(error.contains("module isofs has no alias of a bus"), "{error}");
    }

    #[test]
    fn a_chain_without_end_is_named() {
        let mut tree = Tree::new();
        for number in 0..200 {
            let module = fixture::kernel_module(&format!("depends=m{}\0", number + 1));
            tree.file(&format!("usr/lib/modules/6.1/m{number}.ko"), 0o644, module, Origin::Builder);
        }
        let said = Catalogue::new(&tree, "6.1").resolve(&["m50".to_owned()], &[]).unwrap_err().to_string();
        assert!(said.contains("module m50 needs"), "{said}");
    }

    #[test]
    fn unknown_modules_are_named() {
        let tree = kernel();
        let error = Catalogue::new(&tree, "6.1").resolve(&["squashf".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.contains("no module squashf in usr/lib/modules/6.1/") && error.contains("squashfs?"), "{error}");
    }
}
