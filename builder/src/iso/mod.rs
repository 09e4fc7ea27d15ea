//! ISO images that boot from a CD or a USB stick, by UEFI and by a PC BIOS, with the whole system in memory: the kernel and the
//! initramfs that has the root in it, as for a start over the network.
//!
//! UEFI finds, by the catalogue of the "El Torito" specification or on a stick by the partition table, a FAT volume with a
//! unified kernel image. A BIOS finds isolinux, which reads the kernel and the initramfs as files of the ISO. Those files are the
//! sections of that unified kernel image: everything is on the medium once, because all of it begins with sectors of 2048 bytes
//! on both sides.

mod boot;

use std::io;

use object::{Object as _, ObjectSection as _, read::pe::PeFile64};
use qemu::volume::{Content, Iso};

use crate::{
    architecture::Architecture,
    fat::{FatError, File, Identity, Volume},
    uki::{self, UkiError},
};

/// The Debian package of isolinux.
pub const PACKAGE: &str = "isolinux";
/// The boot program in it.
pub const ISOLINUX: &str = "usr/lib/ISOLINUX/isolinux.bin";
/// In it, the code for the first sector of a stick.
pub const MBR: &str = "usr/lib/ISOLINUX/isohdpfx.bin";

const SECTOR: usize = 2048;
const LABEL: &str = "STEPPE";
const FAT_LABEL: [u8; 11] = *b"STEPPE-EFI ";
/// The smallest FAT32, and some more.
const LEAST_FAT: u64 = 36 << 20;

/// What boots.
#[derive(Debug, Clone, Copy)]
pub struct System<'a> {
    /// The processors of the machines that it boots.
    pub architecture: Architecture,
    /// The stub of systemd, and what is put behind it; the initramfs has the root in it.
    pub stub: &'a [u8],
    /// The parts of the unified kernel image.
    pub parts: uki::Parts<'a>,
    /// Isolinux, if the medium is to boot by BIOS.
    pub isolinux: Option<Isolinux<'a>>,
    /// The number of the FAT volume, and of the stick.
    pub id: u32,
}

/// The programs of isolinux.
#[derive(Debug, Clone, Copy)]
pub struct Isolinux<'a> {
    /// `isolinux.bin`.
    pub loader: &'a [u8],
    /// `ldlinux.c32`, which belongs to it.
    pub module: &'a [u8],
    /// `isohdpfx.bin`.
    pub mbr: &'a [u8],
}

/// The bytes of the medium.
///
/// # Errors
/// When a part does not fit into its format.
pub fn build(system: &System<'_>) -> Result<Vec<u8>, IsoError> {
    let mut initrd = system.parts.initrd.to_vec();
    // What follows the initramfs in the unified kernel image then begins with a sector as well. The kernel skips zeros.
    initrd.resize(initrd.len().next_multiple_of(SECTOR), 0);
    let parts = uki::Parts { initrd: &initrd, ..system.parts };
    let efi = Efi::build(system.architecture, system.stub, &parts, system.id)?;

    let configuration = boot::configuration(parts.cmdline);
    let part = |(offset, length)| Content::Part { of: 1, offset, length };
    let mut files = vec![
        ("boot/boot.cat", Content::Own(SECTOR)),
        ("boot/efi.img", Content::Own(efi.volume.len())),
        ("boot/vmlinuz", part(efi.kernel)),
        ("boot/initrd", part(efi.initrd)),
    ];
    if let Some(isolinux) = &system.isolinux {
        files.extend([
            ("isolinux/isolinux.bin", Content::Own(isolinux.loader.len())),
            ("isolinux/isolinux.cfg", Content::Own(configuration.len())),
            ("isolinux/ldlinux.c32", Content::Own(isolinux.module.len())),
        ]);
    }
    let iso = Iso::plan(LABEL, files, Some(0)).map_err(IsoError::Iso)?;
    let (efi_at, loader_at) = (iso.sector(1), iso.sector(4));
    let catalogue = boot::catalogue(system.isolinux.is_some().then_some(loader_at), (efi_at, efi.volume.len()));
    let loader = match &system.isolinux {
        Some(isolinux) => boot::with_table(isolinux.loader, loader_at).ok_or(IsoError::Package(ISOLINUX))?,
        None => Vec::new(),
    };
    let module = system.isolinux.map(|isolinux| isolinux.module).unwrap_or_default();
    let contents = [&catalogue[..], &efi.volume, &[], &[], &loader, configuration.as_bytes(), module];
    let mut image = iso.image(&contents).map_err(IsoError::Iso)?;
    let code = system.isolinux.map(|isolinux| (isolinux.mbr, loader_at));
    let table = boot::first_sector(code, system.id, iso.sectors(), (efi_at, efi.volume.len()));
    image[..512].copy_from_slice(&table.ok_or(IsoError::Package(MBR))?);
    Ok(image)
}

/// The FAT volume, and where in it the kernel and the initramfs are: offsets and lengths.
struct Efi {
    volume: Vec<u8>,
    kernel: (usize, usize),
    initrd: (usize, usize),
}

impl Efi {
    fn build(architecture: Architecture, stub: &[u8], parts: &uki::Parts<'_>, id: u32) -> Result<Self, IsoError> {
        // Blank lines at the end of os-release push the sections behind it to where they have to be.
        let mut os_release = parts.os_release.to_owned();
        let mut size = None;
        let loader = architecture.removable();
        // Once to see where they are, once more to have them in place.
        for _ in 0..2 {
            let image = uki::assemble(stub, &uki::Parts { os_release: &os_release, ..*parts })?;
            // Two tables of four bytes for each cluster of 512.
            let length = image.len() as u64;
            let size =
                *size.get_or_insert(((length + length / 48 + (2 << 20)).max(LEAST_FAT)).next_multiple_of(1 << 20));
            let identity = Identity { label: FAT_LABEL, id };
            let volume = Volume::make(size, identity, &[File::new(loader, &image)])?;
            let place = volume.place(loader).unwrap_or_default().start;
            let [initrd, kernel] = [(".initrd", parts.initrd), (".linux", parts.linux)].map(|(name, bytes)| {
                let at = section(&image, name).map(|at| place + at)?;
                (volume.bytes.get(at..at + bytes.len()) == Some(bytes)).then_some((at, bytes.len()))
            });
            let (Some(initrd), Some(kernel)) = (initrd, kernel) else { return Err(IsoError::Sections) };
            if initrd.0.is_multiple_of(SECTOR) && kernel.0.is_multiple_of(SECTOR) {
                return Ok(Self { volume: volume.bytes, kernel, initrd });
            }
            os_release.extend(std::iter::repeat_n('\n', SECTOR - initrd.0 % SECTOR));
        }
        Err(IsoError::Sections)
    }
}

/// Where a section of a PE image lies in its file.
fn section(image: &[u8], name: &str) -> Option<usize> {
    let file = PeFile64::parse(image).ok()?;
    let (at, _) = file.section_by_name(name)?.file_range()?;
    usize::try_from(at).ok()
}

/// Why no ISO can be made.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// No unified kernel image.
    #[error(transparent)]
    Uki(#[from] UkiError),
    /// No volume for it.
    #[error("failed to make the EFI volume of the ISO: {0}")]
    Fat(#[from] FatError),
    /// No volume around that.
    #[error("failed to lay the ISO out: {0}")]
    Iso(io::Error),
    /// Kernel and initramfs are not where they should be.
    #[error("failed to lay the ISO out: the kernel image has its sections in places that ISO files cannot begin at")]
    Sections,
    /// Isolinux is not what it was.
    #[error("failed to use {0} of the package isolinux: it is not laid out as it was; lock another version")]
    Package(&'static str),
}

#[cfg(test)]
mod tests;
