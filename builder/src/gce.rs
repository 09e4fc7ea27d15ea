//! What Google Compute Engine makes images of: a gzip-compressed tar archive with one file, `disk.raw`, a whole number of
//! GiB long. Google's instructions make it by `tar --format=oldgnu -Sczf`, and so is this one: the `S` leaves zeros out, so
//! that nobody has to read or write gigabytes of them.
//!
//! A sparse file of the old GNU format names its stretches of data in the header and in further blocks behind it ("GNU tar
//! manual", "Old GNU Format"); the data follows without the holes.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, GnuExtSparseHeader, Header};

use crate::{disk::Disk, runs::runs};

/// Sizes of disks are multiples of this.
pub const GRANULE: u64 = 1 << 30;
const BLOCK: u64 = 512;

/// Writes a disk as such an archive. `epoch` is the file's time in seconds since 1970; gzip gets none.
///
/// # Errors
/// When it cannot be written.
pub fn write(disk: &Disk, epoch: u64, out: &mut impl Write) -> io::Result<()> {
    let mut out = GzBuilder::new().write(out, Compression::new(6));
    // Stretches are stored in whole blocks, and the last one, of no length, says where the file ends.
    let mut map: Vec<(u64, u64)> = runs(disk).map(|(at, bytes)| (at, padded(bytes))).collect();
    map.push((disk.size, 0));

    let mut header = Header::new_gnu();
    header.set_path("disk.raw")?;
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(map.iter().map(|(_, length)| length).sum());
    let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
    gnu.set_real_size(disk.size);
    let (first, more) = map.split_at(map.len().min(gnu.sparse.len()));
    for (place, (at, length)) in gnu.sparse.iter_mut().zip(first) {
        place.set_offset(*at);
        place.set_length(*length);
    }
    gnu.set_is_extended(!more.is_empty());
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    let mut blocks = more.chunks(GnuExtSparseHeader::new().sparse.len()).peekable();
    while let Some(entries) = blocks.next() {
        let mut block = GnuExtSparseHeader::new();
        for (place, (at, length)) in block.sparse.iter_mut().zip(entries) {
            place.set_offset(*at);
            place.set_length(*length);
        }
        block.set_is_extended(blocks.peek().is_some());
        out.write_all(block.as_bytes())?;
    }
    for (_, bytes) in runs(disk) {
        out.write_all(bytes)?;
        let rest = padded(bytes) - bytes.len() as u64;
        io::copy(&mut io::Read::take(io::repeat(0), rest), &mut out)?;
    }
    // Two blocks of zeros end an archive.
    out.write_all(&[0; 2 * BLOCK as usize])?;
    out.finish()?.flush()
}

fn padded(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn another_reader_gets_the_disk_back() {
        // More stretches than the header and one further block have room for, and one that does not fill its last block.
        for stretches in [0u64, 1, 3, 4, 24, 25, 40, 70] {
            let extents = (0..stretches).map(|n| (n << 16, vec![7; if n % 3 == 0 { 5000 } else { 4096 }])).collect();
            let disk = Disk { size: 8 << 20, extents };
            let mut bytes = Vec::new();
            write(&disk, 1_700_000_000, &mut bytes).unwrap();
            // No name and no time of the machine in gzip's own header.
            assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
            let mut archive = tar::Archive::new(GzDecoder::new(&bytes[..]));
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some("disk.raw"));
            let (mut got, mut wanted) = (Vec::new(), Vec::new());
            entry.read_to_end(&mut got).unwrap();
            crate::runs::reader(&disk).read_to_end(&mut wanted).unwrap();
            assert!(got == wanted, "{stretches}");
            drop(entry);
            assert!(entries.next().is_none());
        }
    }
}
