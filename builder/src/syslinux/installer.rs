//! The boot programs inside the installer.
//!
//! `libinstaller/bin2c.pl` makes arrays of them in the installer's data: the boot sector, `ldlinux.sys`, `ldlinux.c32`. The program
//! has no symbols, so they are found by what they begin and end with.

use object::{Object as _, ObjectSection as _};

use super::{SyslinuxError, half, word};

/// `LDLINUX_MAGIC` of `libinstaller/syslxint.h`.
pub(super) const MAGIC: u32 = 0x3eb2_02fe;
/// What `ldlinux.sys` begins with (`core/diskstart.inc`, `early_banner`).
const BANNER: &[u8] = b"\r\nSYSLINUX 6.";
/// `ldlinux.c32` is a shared object for 32 bits, little-endian.
const MODULE: &[u8] = b"\x7fELF\x01\x01\x01";
const SECTOR: usize = 512;

/// The boot programs, not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// The boot sector.
    pub boot_sector: [u8; SECTOR],
    /// `ldlinux.sys`, in whole sectors, without the boot-once record.
    pub loader: Vec<u8>,
    /// `ldlinux.c32`, which reads the configuration.
    pub module: Vec<u8>,
}

impl Installer {
    /// Takes them out of the program `syslinux`.
    ///
    /// # Errors
    /// When it is not the program that is known.
    pub fn parse(program: &[u8]) -> Result<Self, SyslinuxError> {
        let wrong = SyslinuxError::Package;
        let file = object::File::parse(program).map_err(|_| wrong("its installer is not a program"))?;
        let data = file.section_by_name(".data").and_then(|section| section.data().ok());
        let data = data.ok_or(wrong("its installer has no data"))?;
        let sector = find_boot_sector(data).ok_or(wrong("its installer has no boot sector"))?;
        let start = find(data, BANNER).ok_or(wrong("its installer has no ldlinux.sys"))?;
        let length = find(&data[start..], MODULE).ok_or(wrong("its installer has no ldlinux.c32"))?;
        let (loader, rest) = data[start..].split_at(length);
        let module = module_length(rest).and_then(|length| rest.get(..length));
        let module = module.ok_or(wrong("its ldlinux.c32 is cut short"))?;
        let mut loader = loader.to_vec();
        loader.resize(loader.len().next_multiple_of(SECTOR), 0);
        Ok(Self { boot_sector: *sector, loader, module: module.to_vec() })
    }
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

/// It ends with the magic number, where in it the load begins, and the signature of every boot sector (`core/diskboot.inc`).
fn find_boot_sector(data: &[u8]) -> Option<&[u8; SECTOR]> {
    let sectors = data.windows(SECTOR).filter(|sector| sector[510..] == [0x55, 0xaa]);
    let mut ours = sectors.filter(|sector| word(sector, 0x1f8) == Some(MAGIC) && sector[3..11] == *b"SYSLINUX");
    ours.next()?.try_into().ok()
}

/// The table of sections is the last thing in it.
fn module_length(module: &[u8]) -> Option<usize> {
    let table = usize::try_from(word(module, 32)?).ok()?;
    table.checked_add(usize::from(half(module, 46)?) * usize::from(half(module, 48)?))
}
