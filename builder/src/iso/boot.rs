//! What makes a medium boot: the catalogue, the table in isolinux, and the first sector of a stick.

use agent::slots::config;

/// Sectors of a CD, and of disks.
const SECTOR: usize = 2048;
const BLOCK: u32 = 512;
/// Platforms of the "El Torito" specification 1.0, and of UEFI's.
const BIOS: u8 = 0;
const EFI: u8 = 0xef;
/// Blocks of 512 bytes that a BIOS loads of isolinux, which loads the rest itself.
const LOADED: u16 = 4;

/// The boot catalogue: isolinux, at this sector, for a BIOS, and the FAT volume, at this sector with so many bytes, for UEFI.
pub(super) fn catalogue(isolinux: Option<u32>, (efi, length): (u32, usize)) -> Vec<u8> {
    // A volume that is longer than the field can say goes to the end of the medium: UEFI specification, "ISO-9660 and El Torito".
    let blocks = u16::try_from(length / BLOCK as usize).unwrap_or(0);
    let mut bytes = vec![1, if isolinux.is_some() { BIOS } else { EFI }, 0, 0];
    bytes.extend(b"Steppe".iter().chain(&[0; 18]));
    bytes.extend([0, 0, 0x55, 0xaa]);
    let sum = bytes.chunks_exact(2).fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    match isolinux {
        Some(at) => {
            bytes.extend(entry(at, LOADED));
            // The last header of a section, with one entry.
            bytes.extend([0x91, EFI, 1, 0]);
            bytes.extend([0; 28]);
            bytes.extend(entry(efi, blocks));
        }
        None => bytes.extend(entry(efi, blocks)),
    }
    bytes.resize(SECTOR, 0);
    bytes
}

/// An entry that boots without emulating a disk.
fn entry(at: u32, blocks: u16) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = 0x88;
    entry[6..8].copy_from_slice(&blocks.to_le_bytes());
    entry[8..12].copy_from_slice(&at.to_le_bytes());
    entry
}

/// Isolinux with the table that says where it lies (`mkisofs`, "-boot-info-table"); nothing if it has no room for one.
pub(super) fn with_table(isolinux: &[u8], at: u32) -> Option<Vec<u8>> {
    let mut bytes = isolinux.to_vec();
    let body = bytes.get(64..)?.to_vec();
    let sum = body.chunks(4).fold(0u32, |sum, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_le_bytes(word))
    });
    let length = u32::try_from(bytes.len()).ok()?;
    // The primary volume descriptor, the file, its length, the sum of what is behind the table.
    for (place, value) in [16, at, length, sum].into_iter().enumerate() {
        bytes[8 + place * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
    bytes[24..64].fill(0);
    Some(bytes)
}

/// What isolinux reads. As on disks, there is no prompt; what it says goes to the screen and to the kernel's serial
/// port.
pub(super) fn configuration(cmdline: &str) -> String {
    let cmdline = cmdline.split_whitespace().collect::<Vec<_>>().join(" ");
    let serial = config::serial(&cmdline);
    format!(
        "{serial}DEFAULT steppe\nPROMPT 0\nNOESCAPE 1\nLABEL steppe\nLINUX /boot/vmlinuz\nINITRD /boot/initrd\nAPPEND {cmdline}\n"
    )
}

/// The first 512 bytes of a stick: isolinux's code for them, told where isolinux lies, and a partition table with the FAT volume.
/// Nothing if the code is too long.
///
/// The medium as a whole is the active partition, of the type "empty": some BIOSes start nothing without an active one, and UEFI
/// firmware passes over tables with partitions that overlap, unless they are empty.
pub(super) fn first_sector(
    code: Option<(&[u8], u32)>,
    id: u32,
    sectors: usize,
    (efi, length): (u32, usize),
) -> Option<[u8; 512]> {
    let mut sector = [0; 512];
    if let Some((code, isolinux)) = code {
        sector[..432].get_mut(..code.len())?.copy_from_slice(code);
        sector[432..440].copy_from_slice(&(u64::from(isolinux) * 4).to_le_bytes());
    }
    sector[440..444].copy_from_slice(&id.to_le_bytes());
    let blocks = |bytes: usize| u32::try_from(bytes / BLOCK as usize).ok();
    let partitions = [(0x80, 0, 0, blocks(sectors * SECTOR)?), (0, EFI, efi * 4, blocks(length)?)];
    for (index, (active, kind, first, count)) in partitions.into_iter().enumerate() {
        let entry = &mut sector[446 + index * 16..][..16];
        // Places by cylinders and heads are beyond what these can say.
        entry[..8].copy_from_slice(&[active, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Some(sector)
}
