//! The root file system: Nomad, the libraries that they need, certificates, time zones, modules. Nothing else.

use std::{collections::BTreeMap, fmt::Write as _, io, sync::Arc};

use agent::{
    facts::{ImageFacts, NomadSource},
    paths,
};

use crate::{
    elf::{self, ElfError},
    embedded,
    modules::{self, ModuleError, Selection},
    recipe::{ExtraFile, ModuleLoading, Recipe},
    tree::{Node, Origin, Tree},
    update, zoneinfo,
};

/// Everything that a root is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// What the image says about itself.
    pub facts: &'a ImageFacts,
    /// Files of the packages besides the kernel.
    pub stock: &'a Tree,
    /// Files of the kernel package.
    pub kernel: &'a Tree,
    /// Modules that are loaded after the root is mounted.
    pub modules: &'a Selection,
    /// Nomad.
    pub nomad: &'a [u8],
    /// Files of the user's own.
    pub files: &'a [(ExtraFile, Arc<[u8]>)],
}

/// Where the kernel looks for firmware.
const FIRMWARE: &str = "usr/lib/firmware";

/// Directories that something is mounted on, or that the agent fills.
const MOUNT_POINTS: [&str; 15] = [
    "dev",
    "etc",
    "home",
    "opt",
    "proc",
    "run",
    "srv",
    "state",
    "sys",
    "sysroot",
    "tmp",
    "usr/libexec",
    "usr/local/bin",
    "var",
    "mnt",
];

const PASSWD: &str = "root:x:0:0:root:/root:/nonexistent\n\
                      nomad:x:990:990:Nomad:/var/lib/nomad:/nonexistent\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/nonexistent\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nnomad:x:990:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// The tree of the root.
///
/// # Errors
/// When a package lacks a file that the image needs, or a program needs a library that no package has.
pub fn tree(inputs: &Inputs<'_>) -> Result<Tree, RootError> {
    let mut tree = Tree::new();
    for folder in MOUNT_POINTS {
        tree.directory(folder, 0o755);
    }
    tree.directory("root", 0o700);
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        tree.symlink(link, target, Origin::Builder);
    }
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        tree.directory(folder, 0o755);
    }
    programs(&mut tree, inputs)?;
    // Before the libraries, which programs among them need as well.
    for (file, bytes) in inputs.files {
        if tree.get(&file.place()).is_some() {
            return Err(RootError::Taken(file.path.clone()));
        }
        tree.file(&file.place(), file.permissions().unwrap_or(0o644), bytes.clone(), Origin::Recipe);
    }
    libraries(&mut tree, inputs)?;
    configuration(&mut tree, inputs)?;
    let release = &inputs.facts.kernel;
    add_modules(&mut tree, inputs.kernel, release, inputs.modules)?;
    firmware(&mut tree, inputs);
    let zones = zoneinfo::zip(inputs.stock).map_err(RootError::Zones)?;
    // Packed by the builder, but not its work.
    let zone = inputs.stock.iter().find(|(path, _)| path.starts_with("usr/share/zoneinfo/"));
    let origin = zone.map_or(Origin::Builder, |(_, entry)| entry.origin.clone());
    tree.file("usr/share/zoneinfo.zip", 0o644, zones, origin);
    // What came later is the image's own as well.
    let replaced = |file: &ExtraFile| tree.get(&file.place()).is_none_or(|entry| entry.origin != Origin::Recipe);
    if let Some((file, _)) = inputs.files.iter().find(|(file, _)| replaced(file)) {
        return Err(RootError::Taken(file.path.clone()));
    }
    Ok(tree)
}

fn programs(tree: &mut Tree, inputs: &Inputs<'_>) -> Result<(), RootError> {
    // The initramfs stage binds the agent here, which came with it: in the image it is once.
    tree.file(paths::AGENT, 0o755, *b"", Origin::Agent);
    tree.symlink("usr/sbin/init", "agent", Origin::Builder);
    // Nomad's client asks a program of this name how large its data directory is.
    tree.symlink("usr/bin/df", "../sbin/agent", Origin::Builder);
    tree.file(paths::NOMAD, 0o755, inputs.nomad, Origin::Nomad);
    for path in &inputs.recipe.root.programs {
        let (real, bytes) = inputs.stock.follow(path).ok_or_else(|| RootError::Missing(path.clone()))?;
        let (origin, mode) = inputs
            .stock
            .get(&real)
            .map_or((Origin::Builder, 0o755), |entry| (entry.origin.clone(), entry.mode & 0o755));
        tree.file(path, mode, bytes.clone(), origin);
    }
    Ok(())
}

/// Adds what the programs need, each library under the name by which it is asked for.
fn libraries(tree: &mut Tree, inputs: &Inputs<'_>) -> Result<(), RootError> {
    let programs: Vec<_> = tree
        .iter()
        .filter_map(|(path, entry)| match &entry.node {
            Node::File(bytes) if elf::is_elf(bytes) => Some((path.to_owned(), bytes.clone())),
            Node::File(_) | Node::Directory | Node::Symlink(_) => None,
        })
        .collect();
    let programs = programs.iter().map(|(path, bytes)| (path.as_str(), &bytes[..]));
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let architecture = inputs.recipe.architecture;
    let folder = architecture.libraries();
    let found = elf::closure(programs, architecture, |name| {
        let place = if name.starts_with('/') { name.to_owned() } else { format!("{folder}/{name}") };
        // Packages name paths below /usr, programs may still say /lib64.
        let candidates = [place.clone(), format!("usr/{}", place.trim_start_matches('/'))];
        let (real, bytes) = candidates.iter().find_map(|path| inputs.stock.follow(path))?;
        places.insert(name.to_owned(), real);
        Some(bytes.clone())
    })?;
    for (name, bytes) in found {
        let path = if name.starts_with("/lib") { format!("usr{name}") } else { format!("{folder}/{name}") };
        let origin = places.get(&name).and_then(|real| inputs.stock.get(real)).map(|entry| entry.origin.clone());
        tree.file(&path, 0o755, bytes, origin.unwrap_or(Origin::Builder));
    }
    Ok(())
}

fn configuration(tree: &mut Tree, inputs: &Inputs<'_>) -> Result<(), RootError> {
    let mut text = |path: &str, text: String| tree.file(path, 0o644, text.into_bytes(), Origin::Builder);
    let etc = |name: &str| format!("{}/{name}", paths::ETC_TEMPLATE);
    text(&etc("passwd"), PASSWD.into());
    text(&etc("group"), GROUP.into());
    text(&etc("nsswitch.conf"), NSSWITCH.into());
    text(&etc("hosts"), HOSTS.into());
    text("usr/lib/os-release", os_release(inputs.facts));
    let more = if inputs.facts.role.allows_client() { "" } else { embedded::SYSCTL_SERVER };
    text(paths::SYSCTL, format!("{}{more}", embedded::SYSCTL));
    if inputs.recipe.module_loading == ModuleLoading::OffAfterBoot {
        text(paths::SYSCTL_HEALTHY, "kernel.modules_disabled = 1\n".into());
    }
    let facts = serde_json::to_string_pretty(inputs.facts).map_err(|error| RootError::Facts(error.to_string()))?;
    text(paths::IMAGE_FACTS, facts + "\n");
    if let Some(key) = inputs.recipe.update_key.as_deref().and_then(update::public_key) {
        text(paths::UPDATE_KEY, key);
    }
    tree.symlink(&etc("os-release"), "../usr/lib/os-release", Origin::Builder);
    tree.symlink(&etc("mtab"), "../proc/self/mounts", Origin::Builder);
    tree.directory(&etc("nomad.d"), 0o755);

    let mke2fs = "etc/mke2fs.conf";
    if let (Some(bytes), Some(entry)) = (inputs.stock.bytes(mke2fs), inputs.stock.get(mke2fs)) {
        tree.file(&etc("mke2fs.conf"), 0o644, bytes.clone(), entry.origin.clone());
    }
    let (bundle, origin) = certificates(inputs.stock).ok_or_else(|| RootError::Missing("certificates".into()))?;
    tree.file(&etc("ssl/certs/ca-certificates.crt"), 0o644, bundle, origin);
    Ok(())
}

/// Every certificate of `ca-certificates` in one file, in the order of their names: what its installation script does.
fn certificates(stock: &Tree) -> Option<(Vec<u8>, Origin)> {
    let mut bundle = Vec::new();
    let mut origin = None;
    for (path, entry) in stock.iter() {
        let Node::File(bytes) = &entry.node else { continue };
        if path.starts_with("usr/share/ca-certificates/mozilla/") && path.ends_with(".crt") {
            bundle.extend_from_slice(bytes);
            if !bundle.ends_with(b"\n") {
                bundle.push(b'\n');
            }
            origin = Some(entry.origin.clone());
        }
    }
    origin.map(|origin| (bundle, origin))
}

/// Copies modules out of the kernel package, and writes the lists by which the agent loads them.
///
/// # Errors
/// When one is not there.
pub fn add_modules(tree: &mut Tree, kernel: &Tree, release: &str, modules: &Selection) -> Result<(), RootError> {
    let origin = kernel.iter().map(|(_, entry)| entry.origin.clone()).next().unwrap_or(Origin::Builder);
    let lists =
        [(paths::MODULES_LIST, modules::list_text(&modules.always)), (paths::DRIVERS_LIST, modules.drivers_text())];
    for (path, text) in lists {
        tree.file(path, 0o644, text.into_bytes(), Origin::Builder);
    }
    for module in modules.paths() {
        let path = format!("{}/{release}/{module}", paths::MODULES_DIR);
        tree.file(&path, 0o644, modules::bytes(kernel, path.trim_start_matches('/'))?, origin.clone());
    }
    Ok(())
}

/// Copies what the modules may ask for and a package has. What no package has is no error: a module names the files of every card
/// that it drives and of each of their versions, and the recipe says which packages there are.
fn firmware(tree: &mut Tree, inputs: &Inputs<'_>) {
    for name in &inputs.modules.firmware {
        let path = format!("{FIRMWARE}/{name}");
        if let Some((real, bytes)) = inputs.stock.follow(&path) {
            let origin = inputs.stock.get(&real).map_or(Origin::Builder, |entry| entry.origin.clone());
            tree.file(&path, 0o644, bytes.clone(), origin);
        }
    }
}

/// The text of os-release(5).
#[must_use]
pub fn os_release(facts: &ImageFacts) -> String {
    let ImageFacts { version, role, name, .. } = facts;
    let own = facts.image_version();
    let standin = facts.nomad.source == NomadSource::StandIn;
    let suffix = if standin { ", with a stand-in for Nomad" } else { "" };
    let mut text = format!(
        "NAME=Steppe\nID=steppe\nVERSION_ID={version}\nPRETTY_NAME=\"Steppe {version} ({role}{suffix})\"\n\
         VARIANT_ID={role}\nIMAGE_ID=steppe-{name}\nIMAGE_VERSION={own}\nSTEPPE_KERNEL=\"{}\"\n",
        facts.kernel
    );
    let key = if standin { "STEPPE_STANDIN_VERSION" } else { "STEPPE_NOMAD_VERSION" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{key}={}", facts.nomad.version);
    text
}

/// Why the root cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file is in no package.
    #[error("no package of the recipe has {0}: add the one that does to packages.names")]
    Missing(String),
    /// A file of the recipe would replace one of the image.
    #[error("{0} is a file of the image itself: leave it out of the recipe's files")]
    Taken(String),
    /// A program needs what is not there.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A module cannot be read.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The time zones cannot be packed.
    #[error("failed to pack the time zones: {0}")]
    Zones(io::Error),
    /// The facts cannot be written.
    #[error("failed to write the image facts: {0}")]
    Facts(String),
}
