//! Fixed VHD images, after Microsoft's "Virtual Hard Disk Image Format Specification" 1.0: the raw disk, and a footer of
//! 512 bytes. Azure takes no other, and wants disks of whole megabytes.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
};

use crate::{
    disk::{self, Disk},
    raw,
    runs::fingerprint,
};

/// Sizes of disks are multiples of this.
pub const GRANULE: u64 = 1 << 20;
const FOOTER: usize = 512;
/// 2000-01-01 00:00 UTC, from which the format counts its seconds.
const YEAR_2000: u64 = 946_684_800;

/// Writes a disk into an empty file, with holes where there are only zeros. `epoch` is the time of the image in seconds
/// since 1970. The identifier follows from what is on the disk.
///
/// # Errors
/// When the file cannot be written.
pub fn write(disk: &Disk, epoch: u64, file: &mut File) -> io::Result<()> {
    raw::write(disk, file)?;
    file.seek(SeekFrom::Start(disk.size))?;
    file.write_all(&footer(disk, epoch))?;
    file.flush()
}

/// "Hard Disk Footer Format".
fn footer(disk: &Disk, epoch: u64) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    let (cylinders, heads, sectors) = geometry(disk.size / 512);
    put(0, b"conectix");
    // Features: the reserved bit that is always set. Then version 1.0 of the format, and no further header.
    put(8, &2u32.to_be_bytes());
    put(12, &0x0001_0000u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes());
    put(24, &u32::try_from(epoch.saturating_sub(YEAR_2000)).unwrap_or(u32::MAX).to_be_bytes());
    // Readers believe the size below only of creators that they know, Hyper-V being one, and otherwise take the product of
    // the geometry, which is smaller.
    put(28, b"win \0\x0a\0\0Wi2k");
    put(40, &disk.size.to_be_bytes());
    put(48, &disk.size.to_be_bytes());
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &2u32.to_be_bytes());
    put(68, disk::identifier(fingerprint(disk), "vhd").as_bytes());
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// "Appendix: CHS Calculation".
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = sectors.min(65_535 * 16 * 255);
    let (mut per_track, mut heads) = (17, (total / 17).div_ceil(1024).max(4));
    if total >= 65_535 * 16 * 63 {
        (per_track, heads) = (255, 16);
    } else {
        if total / per_track >= heads * 1024 || heads > 16 {
            (per_track, heads) = (31, 16);
        }
        if total / per_track >= heads * 1024 {
            per_track = 63;
        }
    }
    let narrow = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    (u16::try_from(total / per_track / heads).unwrap_or(u16::MAX), narrow(heads), narrow(per_track))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_that_of_other_writers() {
        // `qemu-img create -f vpc` for disks of these sizes, which it rounds up to whole cylinders.
        for (size, wanted) in [
            (67_125_248, (964, 8, 17)),
            (167_862_272, (661, 16, 31)),
            (2_147_991_552, (4162, 16, 63)),
            (32_212_647_936, (62_416, 16, 63)),
            (214_748_364_800u64, (65_535, 16, 255)),
        ] {
            assert_eq!(geometry(size / 512), wanted, "{size}");
        }
    }

    #[test]
    fn the_footer_follows_the_disk() {
        let disk = Disk { size: 2 << 20, extents: vec![(0, vec![1; 10])] };
        let footer = footer(&disk, YEAR_2000 + 7);
        assert_eq!((&footer[..8], &footer[24..28]), (&b"conectix"[..], &7u32.to_be_bytes()[..]));
        let sum: u32 =
            footer.iter().enumerate().filter(|(at, _)| !(64..68).contains(at)).map(|(_, b)| u32::from(*b)).sum();
        assert_eq!(footer[64..68], (!sum).to_be_bytes());
        let other = super::footer(&Disk { size: 2 << 20, extents: vec![(0, vec![2; 10])] }, YEAR_2000 + 7);
        assert_ne!(footer[68..84], other[68..84]);
        assert_eq!(footer, super::footer(&disk, YEAR_2000 + 7));
    }
}
