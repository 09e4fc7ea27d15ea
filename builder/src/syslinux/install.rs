//! What an installer writes into the boot programs: where they are.
//!
//! After `syslinux_patch` and `generate_extents` in `libinstaller/syslxmod.c`; the structures are those of
//! `libinstaller/syslxint.h`, all little-endian.

use super::{Installer, SyslinuxError, half, installer::MAGIC, word};

const SECTOR: usize = 512;
/// Sectors of the boot-once record, which follows `ldlinux.sys` in its file.
const RECORD: usize = 2;
/// Sectors of a piece: its bytes are less than 64 KiB.
const MOST: usize = (1 << 16) / SECTOR - 1;

/// The two programs, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The boot sector, for [`crate::fat::Volume::set_boot_code`].
    pub boot_sector: [u8; SECTOR],
    /// `ldlinux.sys`, without the boot-once record.
    pub loader: Vec<u8>,
}

/// Installs `ldlinux.sys`, which lies in one piece from sector `first` of the volume on, with its boot-once record behind it.
/// `directory` has the configuration and `ldlinux.c32`, and starts with a slash.
///
/// # Errors
/// When the programs are not what they say.
pub fn install(parts: &Installer, first: u32, directory: &str) -> Result<Installed, SyslinuxError> {
    use SyslinuxError::Outside;

    let mut sector = parts.boot_sector;
    let mut loader = parts.loader.clone();
    let sectors = loader.len() / SECTOR;
    let area = loader.chunks_exact(4).position(|chunk| chunk == MAGIC.to_le_bytes());
    let area = area.ok_or(Outside("the patch area"))? * 4;
    // The extended area names everything else by its offset.
    let more = usize::from(half(&loader, area + 22).ok_or(Outside("the patch area"))?);
    let field =
        |index: usize| half(&parts.loader, more + 2 * index).map(usize::from).ok_or(Outside("the extended area"));
    let [record, folder, room] = [field(0)?, field(1)?, field(2)?];
    let [pieces, count] = [field(5)?, field(6)?];

    // The boot sector loads the first sector.
    put(&mut sector, field(7)?, &first.to_le_bytes(), "a place in the boot sector")?;
    put(&mut sector, field(8)?, &0u32.to_le_bytes(), "a place in the boot sector")?;
    let number = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    put(&mut loader, area + 8, &number(sectors), "the patch area")?;
    put(&mut loader, area + 10, &number(RECORD), "the patch area")?;
    let words = loader.len() / 4;
    let in_words = u32::try_from(words).unwrap_or(u32::MAX);
    put(&mut loader, area + 12, &in_words.to_le_bytes(), "the patch area")?;

    // The first sector loads the others, piece by piece; what is left of the list is zero.
    let mut list = Vec::new();
    for (sector, length) in pieces_of(first + 1, sectors.saturating_sub(1)) {
        list.extend(u64::from(sector).to_le_bytes());
        list.extend(number(length));
    }
    let list_end = count * 10;
    if list.len() > list_end {
        return Err(SyslinuxError::Pieces(count));
    }
    list.resize(list_end, 0);
    put(&mut loader, pieces, &list, "the list of pieces")?;
    let behind = u64::from(first) + sectors as u64;
    put(&mut loader, record, &[behind.to_le_bytes(), (behind + 1).to_le_bytes()].concat(), "the record's place")?;
    let name = [directory.as_bytes(), &[0]].concat();
    if name.len() > room {
        return Err(Outside("the directory's name"));
    }
    put(&mut loader, folder, &name, "the directory's name")?;

    // All words together make the magic number.
    put(&mut loader, area + 16, &[0; 4], "the patch area")?;
    let sum = (0..words).filter_map(|index| word(&loader, index * 4)).fold(MAGIC, u32::wrapping_sub);
    put(&mut loader, area + 16, &sum.to_le_bytes(), "the patch area")?;
    Ok(Installed { boot_sector: sector, loader })
}

/// First sector and length of each piece.
fn pieces_of(first: u32, sectors: usize) -> impl Iterator<Item = (u32, usize)> {
    (0..sectors).step_by(MOST).zip((first..).step_by(MOST)).map(move |(done, at)| (at, (sectors - done).min(MOST)))
}

fn put(to: &mut [u8], at: usize, bytes: &[u8], what: &'static str) -> Result<(), SyslinuxError> {
    let place = at.checked_add(bytes.len()).and_then(|end| to.get_mut(at..end));
    place.ok_or(SyslinuxError::Outside(what))?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_less_than_a_segment() {
        let of = |sectors| pieces_of(100, sectors).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(114), [(100, 114)]);
        assert_eq!(of(127), [(100, 127)]);
        assert_eq!(of(300), [(100, 127), (227, 127), (354, 46)]);
    }
}
