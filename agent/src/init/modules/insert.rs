//! Giving a module to the kernel.

use std::{fs::File, path::Path};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

use super::ModuleError;

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h` (Linux 5.17): the kernel decompresses by itself.
const COMPRESSED: i32 = 4;

/// Loads one module; false when it was there already.
pub(super) fn insert(path: &Path) -> Result<bool, ModuleError> {
    let file = File::open(path).map_err(|source| ModuleError::Open { path: path.to_owned(), source })?;
    let compressed = path.extension().is_some_and(|ext| ext == "xz" || ext == "zst" || ext == "gz");
    let flags = ModuleInitFlags::from_bits_retain(if compressed { COMPRESSED.cast_unsigned() } else { 0 });
    // A panic is the end that leaves a trace, where the machine has a place for it, and the command line has it restart.
    let parameters = if path.file_name().is_some_and(|name| name == "softdog.ko") { c"soft_panic=1" } else { c"" };
    match finit_module(&file, parameters, flags) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(Errno::EPERM) if is_off() => Err(ModuleError::Off { path: path.to_owned() }),
        Err(source) => Err(ModuleError::Load { path: path.to_owned(), source }),
    }
}

/// Whether the kernel takes no module any more.
fn is_off() -> bool {
    std::fs::read("/proc/sys/kernel/modules_disabled").is_ok_and(|text| text.starts_with(b"1"))
}
