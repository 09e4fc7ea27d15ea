//! The initramfs: the agent as `/init`, and the modules that it takes to reach the root.

use std::io;

use agent::paths;

use crate::{
    cpio::{self, CpioError},
    modules::Selection,
    root::{self, RootError},
    tree::{Origin, Tree},
};

/// The tree of the initramfs.
///
/// # Errors
/// When the kernel package lacks a module.
pub fn tree(agent: &[u8], kernel: &Tree, release: &str, modules: &Selection) -> Result<Tree, RootError> {
    let mut tree = Tree::new();
    for folder in ["dev", "etc", "proc", "run", "sys", "sysroot", "tmp"] {
        tree.directory(folder, 0o755);
    }
    tree.file(paths::INIT, 0o755, agent, Origin::Agent);
    root::add_modules(&mut tree, kernel, release, modules)?;
    Ok(tree)
}

/// The archive of the tree, compressed with zstd on one thread: what several threads write depends on their number.
/// Padded to four bytes, so that another archive may follow.
///
/// # Errors
/// When it cannot be packed or compressed.
pub fn pack(tree: &Tree, level: i32, time: u32) -> Result<Vec<u8>, InitramfsError> {
    let archive = cpio::write(tree, time)?;
    let mut bytes = zstd::bulk::compress(&archive, level).map_err(InitramfsError::Compress)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// The archive with a root file system in it, for a start without a disk. The root is compressed already, so this one
/// is not.
///
/// # Errors
/// When the root is too large for the format.
pub fn embed_root(root: &[u8], time: u32) -> Result<Vec<u8>, CpioError> {
    let mut tree = Tree::new();
    tree.file(paths::EMBEDDED_ROOT, 0o644, root, Origin::Builder);
    cpio::write(&tree, time)
}

/// Why the initramfs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// It cannot be packed.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// It cannot be compressed.
    #[error("failed to compress the initramfs: {0}")]
    Compress(io::Error),
}
