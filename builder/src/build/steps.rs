//! The steps of a build up to the root: each is taken from the cache when the same inputs were there before.

use std::{cell::OnceCell, fs, path::Path, sync::Arc};

use agent::facts::{ImageFacts, NomadFacts};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Build, inputs::Inputs, time};
use crate::{
    cache::CacheError,
    content::{Digest, Key},
    deb::Deb,
    initramfs,
    modules::{Catalogue, Module, Selection, Wanted},
    progress, root, squashfs,
    tree::{FileRecord, Tree},
    verity,
};

/// The kernel package, unpacked once it is needed.
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) epoch: u64,
    pub(super) image: Vec<u8>,
    pub(super) files: OnceCell<Tree>,
}

/// The root, and what the manifest says about it.
#[derive(Serialize, Deserialize)]
pub(super) struct RootRecord {
    pub(super) files: Vec<FileRecord>,
    pub(super) nomad: u64,
    pub(super) libraries: u64,
}

impl Kernel {
    /// The kernel that the step left in a folder.
    pub(super) fn read(folder: &Path, files: OnceCell<Tree>) -> Result<Self> {
        let text = |name: &str| -> Result<String> { Ok(String::from_utf8(read(&folder.join(name))?)?) };
        let (release, epoch) = (text("release")?, text("epoch")?.parse()?);
        Ok(Self { release, epoch, image: read(&folder.join("vmlinuz"))?, files })
    }
}

/// The modules that the step left in a folder.
pub(super) fn selection(folder: &Path) -> Result<Selection> {
    Ok(serde_json::from_slice(&read(&folder.join("selection.json"))?)?)
}

/// What the compressed blocks of a file with this digest depend on.
pub(super) fn blocks_key(sha256: Digest, level: i32, block: usize) -> Digest {
    Key::new("blocks", 1)
        .with("sha256", sha256.bytes())
        .with("level", level.to_string())
        .with("block", block.to_string())
        .with("zstd", zstd::zstd_safe::version_number().to_string())
        .finish()
}

impl Build<'_> {
    /// The kernel image. Its package also tells the image's epoch: the newest time at which a package of it was made.
    pub(super) fn kernel(&self, inputs: &Inputs) -> Result<Kernel> {
        let package =
            inputs.packages.kernel().context("the lock file names no kernel: `builder lock` writes it anew")?;
        let files = OnceCell::new();
        let folder = self.cache.step("kernel", self.kernel_key(inputs), |folder| -> Result<()> {
            let mut epoch = 0;
            for package in &inputs.packages.packages {
                let locked = &package.locked;
                epoch = epoch.max(Deb::read(&package.path, &locked.name, &locked.version, &|_| false)?.time);
            }
            let tree = self.unpack_kernel(inputs)?;
            let image = tree.iter().find_map(|(path, _)| path.strip_prefix("boot/vmlinuz-"));
            let release = image.with_context(|| format!("{} has no boot/vmlinuz-*", package.locked.name))?;
            let bytes = tree.bytes(&format!("boot/vmlinuz-{release}")).context("the kernel image is not a file")?;
            for (name, bytes) in
                [("vmlinuz", &bytes[..]), ("release", release.as_bytes()), ("epoch", epoch.to_string().as_bytes())]
            {
                let path = folder.join(name);
                fs::write(&path, bytes).map_err(|error| CacheError::write(&path, error))?;
            }
            let _ = files.set(tree);
            Ok(())
        })?;
        Kernel::read(&folder, files)
    }

    pub(super) fn kernel_key(&self, inputs: &Inputs) -> Digest {
        let lock = inputs.packages.lock.text();
        Key::new("kernel", 1).with("builder", self.builder.bytes()).with("lock", lock).finish()
    }

    fn unpack_kernel(&self, inputs: &Inputs) -> Result<Tree> {
        let package =
            inputs.packages.kernel().context("the lock file names no kernel: `builder lock` writes it anew")?;
        self.progress.say(&format!("unpacking {}", package.locked.name));
        let want = |path: &str| path.starts_with("boot/vmlinuz-") || path.starts_with("usr/lib/modules/");
        Ok(Deb::read(&package.path, &package.locked.name, &package.locked.version, &want)?.tree)
    }

    fn kernel_files<'k>(&self, inputs: &Inputs, kernel: &'k Kernel) -> Result<&'k Tree> {
        if kernel.files.get().is_none() {
            let _ = kernel.files.set(self.unpack_kernel(inputs)?);
        }
        kernel.files.get().context("the kernel package vanished")
    }

    pub(super) fn modules(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        wanted: &Wanted,
        already: &[Module],
    ) -> Result<Selection> {
        let folder =
            self.cache.step("modules", self.modules_key(inputs, wanted, already)?, |folder| -> Result<()> {
                let tree = self.kernel_files(inputs, kernel)?;
                let selection = Catalogue::new(tree, &kernel.release).select(wanted, already)?;
                keep(folder, "selection.json", &serde_json::to_vec(&selection)?)
            })?;
        selection(&folder)
    }

    pub(super) fn modules_key(&self, inputs: &Inputs, wanted: &Wanted, already: &[Module]) -> Result<Digest> {
        Ok(Key::new("modules", 2)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("wanted", serde_json::to_vec(wanted)?)
            .with("already", crate::modules::list_text(already))
            .finish())
    }

    pub(super) fn initramfs_key(&self, inputs: &Inputs, modules: &Selection) -> Result<Digest> {
        Ok(Key::new("initramfs", 1)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("agent", inputs.agent_sha256.bytes())
            .with("modules", serde_json::to_vec(modules)?)
            .with("level", self.request.recipe.initramfs_level.to_string())
            .finish())
    }

    pub(super) fn initramfs(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        modules: &Selection,
    ) -> Result<(Vec<u8>, Vec<FileRecord>)> {
        let level = self.request.recipe.initramfs_level;
        let key = self.initramfs_key(inputs, modules)?;
        self.progress.step("initramfs", || {
            let folder = self.cache.step("initramfs", key, |folder| -> Result<()> {
                let agent = program(&inputs.agent, &inputs.agent_sha256.hex())?;
                let files = self.kernel_files(inputs, kernel)?;
                let tree = initramfs::tree(&agent, files, &kernel.release, modules)?;
                let bytes = initramfs::pack(&tree, level, time(kernel.epoch))?;
                keep(folder, "initrd", &bytes)?;
                keep(folder, "files.json", &serde_json::to_vec(&tree.list())?)
            })?;
            let bytes = read(&folder.join("initrd"))?;
            let list: Vec<FileRecord> = serde_json::from_slice(&read(&folder.join("files.json"))?)?;
            let summary = format!("{}, {} modules", progress::bytes(bytes.len() as u64), modules.paths().len());
            anyhow::Ok(((bytes, list), summary))
        })
    }

    pub(super) fn facts(&self, inputs: &Inputs, kernel: &Kernel) -> ImageFacts {
        let recipe = &self.request.recipe;
        ImageFacts {
            format: ImageFacts::FORMAT,
            name: recipe.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            image_version: self.request.recipe.version.clone(),
            role: recipe.role,
            profile: recipe.profile.to_string(),
            architecture: recipe.architecture.to_string(),
            kernel: kernel.release.clone(),
            nomad: NomadFacts {
                version: inputs.nomad.version.clone(),
                source: inputs.nomad.source,
                sha256: inputs.nomad.sha256.clone(),
            },
            consoles: recipe.consoles.clone(),
            platform: recipe.platform.clone(),
            epoch: kernel.epoch,
        }
    }

    pub(super) fn root(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        facts: &ImageFacts,
        modules: &Selection,
    ) -> Result<(Vec<u8>, verity::Tree, RootRecord)> {
        let key = self.root_key(inputs, facts, modules)?;
        self.progress.step("root", || {
            let folder = self.cache.step("root", key, |folder| -> Result<()> {
                let (bytes, record) = self.make_root(inputs, kernel, facts, modules)?;
                let tree = verity::tree(&bytes, &verity::Parameters::of(&bytes));
                keep(folder, "root.squashfs", &bytes)?;
                keep(folder, "root.verity", &tree.bytes)?;
                keep(folder, "root.hash", tree.root_hash.hex().as_bytes())?;
                keep(folder, "record.json", &serde_json::to_vec(&record)?)
            })?;
            let bytes = read(&folder.join("root.squashfs"))?;
            let hash = String::from_utf8(read(&folder.join("root.hash"))?)?;
            let root_hash =
                Digest::parse(&hash).with_context(|| format!("{} is damaged: remove it", folder.display()))?;
            let tree = verity::Tree { root_hash, bytes: read(&folder.join("root.verity"))? };
            let record: RootRecord = serde_json::from_slice(&read(&folder.join("record.json"))?)?;
            let summary = format!("{}, {} files", progress::bytes(bytes.len() as u64), record.files.len());
            anyhow::Ok(((bytes, tree, record), summary))
        })
    }

    pub(super) fn root_key(&self, inputs: &Inputs, facts: &ImageFacts, modules: &Selection) -> Result<Digest> {
        let recipe = &self.request.recipe;
        Ok(Key::new("root", 3)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("facts", serde_json::to_vec(facts)?)
            .with("modules", serde_json::to_vec(modules)?)
            .with("harden", format!("{:?}", recipe.module_loading))
            .with("update-key", recipe.update_key.clone().unwrap_or_default())
            .with("root", format!("{:?}", recipe.root))
            .with("files", inputs.files_key().bytes())
            .finish())
    }

    fn make_root(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        facts: &ImageFacts,
        modules: &Selection,
    ) -> Result<(Vec<u8>, RootRecord)> {
        let recipe = &self.request.recipe;
        let mut stock = Tree::new();
        for package in inputs.packages.packages.iter().filter(|p| p.locked.name != inputs.packages.lock.kernel) {
            let locked = &package.locked;
            let deb =
                Deb::read(&package.path, &locked.name, &locked.version, &|path| !path.starts_with("usr/share/doc"))?;
            for (path, entry) in deb.tree.iter() {
                stock.insert(path, entry.clone());
            }
        }
        let nomad = program(&inputs.nomad.path, &inputs.nomad.sha256)?;
        let tree = root::tree(&root::Inputs {
            recipe,
            facts,
            stock: &stock,
            kernel: self.kernel_files(inputs, kernel)?,
            modules,
            nomad: &nomad,
            files: &inputs.files,
        })?;
        let block = usize::try_from(recipe.root.block.0)?;
        let options = squashfs::Options { level: recipe.root.level, block, time: time(kernel.epoch) };
        let mut prepared: Vec<(Arc<[u8]>, squashfs::Blocks)> = Vec::new();
        let (mut nomad_size, mut libraries) = (0, 0);
        for (path, entry) in tree.iter() {
            let crate::tree::Node::File(bytes) = &entry.node else { continue };
            if bytes.len() < squashfs::LARGE {
                continue;
            }
            let blocks = self.blocks(path, bytes, &options)?;
            let size: u64 = blocks.iter().map(|block| block.len() as u64).sum();
            if entry.origin == crate::tree::Origin::Nomad {
                nomad_size += size;
            } else if recipe.architecture.has_library(path) {
                libraries += size;
            }
            prepared.push((bytes.clone(), blocks));
        }
        let bytes = squashfs::write(&tree, &options, prepared.iter().map(|(bytes, blocks)| (&bytes[..], blocks)))?;
        Ok((bytes, RootRecord { files: tree.list(), nomad: nomad_size, libraries }))
    }

    /// The compressed blocks of a large file, which are the same in every image that has it.
    fn blocks(&self, path: &str, bytes: &[u8], options: &squashfs::Options) -> Result<squashfs::Blocks> {
        let key = blocks_key(Digest::of(bytes), options.level, options.block);
        let folder = self.cache.step("blocks", key, |folder| -> Result<()> {
            self.progress.say(&format!("compressing /{path}, {}", progress::bytes(bytes.len() as u64)));
            // The number of threads changes how long it takes, not what comes out; a test sets it to show that.
            let set = std::env::var("STEPPE_THREADS").ok().and_then(|text| text.parse().ok());
            let threads = set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
            let blocks = squashfs::compress_blocks(bytes, options.level, options.block, threads)?;
            keep(folder, "blocks", &squashfs::store(&blocks))
        })?;
        let file = folder.join("blocks");
        squashfs::load(&read(&file)?).with_context(|| format!("{} is damaged: remove it", file.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// A program, which has to be the one that the step's result is kept for.
fn program(path: &Path, sha256: &str) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    ensure!(Digest::of(&bytes).hex() == sha256, "{} changed during the build: build again", path.display());
    Ok(bytes)
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(|error| CacheError::write(&path, error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_changes_during_a_build_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let digest = Digest::of(b"as it was").hex();
        fs::write(&file, b"as it was").unwrap();
        assert_eq!(program(file.path(), &digest).unwrap(), b"as it was");
        fs::write(&file, b"as it").unwrap();
        let said = program(file.path(), &digest).unwrap_err().to_string();
        assert!(said.contains(&file.path().display().to_string()) && said.contains("build again"), "{said}");
    }
}
