//! The least that boots and runs Nomad: the peer of every boot that is measured.
//!
//! The same kernel, modules, root and Nomad as the image, with the file system for state made by the same program; but
//! PID 1 is a shell script, the address is written in it, and nothing looks for metadata, keeps time or supervises.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use builder::{
    cache::Cache,
    deb::Deb,
    embedded, initramfs,
    manifest::Manifest,
    modules::{self, Catalogue, Module, ModuleLists, Selection},
    tree::Origin,
};

use crate::cluster::{WORKLOAD, check_workload};

const INIT: &str = include_str!("prototype.sh");

/// Drivers of the lab's machines, which the agent finds by their devices and the prototype is told.
const DRIVERS_OF_INITRAMFS: [&str; 2] = ["virtio_blk", "ahci"];
const DRIVERS_OF_ROOT: [&str; 4] = ["button", "virtio_net", "virtio_rng", "qemu_fw_cfg"];

/// Address of the prototype.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 50);
/// Address of the network's services.
const ROUTER: &str = "10.0.5.1";
/// What it prints when its network is up.
pub const NETWORK_IS_UP: &str = "prototype: network is up";

/// Writes the initramfs of a prototype of `image` into `scratch`. The kernel's package is taken from the cache in `cache`.
///
/// # Errors
/// When the package or a static busybox is missing, or the file cannot be written.
pub fn initrd(image: &Manifest, cache: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let busybox = Path::new(WORKLOAD);
    check_workload(busybox)?;
    let package = image.packages.iter().find(|package| package.name.ends_with(&image.kernel));
    let package = package.with_context(|| format!("no package of the image is of the kernel {}", image.kernel))?;
    let deb = Cache::open(cache, || ())?.package(package.sha256);
    let want = |path: &str| path.starts_with("usr/lib/modules/");
    let kernel = Deb::read(&deb, &package.name, &package.version, &want)?.tree;

    let list = embedded::module_list("cloud").context("there is no module list")?;
    let lists = ModuleLists::parse("modules-cloud.toml", list)?;
    let catalogue = Catalogue::new(&kernel, &image.kernel);
    let resolve = |always: Vec<String>, drivers: &[&str], already: &[Module]| {
        let names: Vec<String> = always.into_iter().chain(drivers.iter().map(ToString::to_string)).collect();
        catalogue.resolve(&names, already)
    };
    let first = resolve(lists.initramfs.always, &DRIVERS_OF_INITRAMFS, &[])?;
    let second = resolve(lists.root.always, &DRIVERS_OF_ROOT, &first)?;
    let list = modules::list_text(&second);
    let first = Selection { always: first, ..Selection::default() };
    let init = INIT.replace("ADDRESS", &ADDRESS.to_string()).replace("ROUTER", ROUTER);
    let mut tree = initramfs::tree(init.as_bytes(), &kernel, &image.kernel, &first)?;
    tree.file("root.modules", 0o644, list.into_bytes(), Origin::Builder);
    let bytes = fs::read(busybox).with_context(|| format!("failed to read {WORKLOAD}"))?;
    tree.file("bin/busybox", 0o755, bytes, Origin::Builder);

    let path = scratch.join("prototype.initrd");
    let packed = initramfs::pack(&tree, 19, 0)?;
    fs::write(&path, packed).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}
