//! Stream-optimized VMDK images, after VMware's "Virtual Disk Format 5.0": what ESXi imports, in an OVA above all.
//!
//! The disk is cut into grains of 64 KiB. Each grain that is not all zeros is stored with its place on the disk and
//! compressed; tables behind the grains say where in the file each one is, a directory behind them where the tables are,
//! and a copy of the header at the end where the directory is. So it is written, and can be read, front to back.
//!
//! | sectors | what |
//! |---|---|
//! | 0 | header, whose directory is "at the end" |
//! | 1..21 | descriptor, a text |
//! | 128.. | marked grains; behind those of 32 MiB of the disk their table |
//! | last | directory, footer, end of stream, each with its marker |

mod reader;

use std::io::{self, Write};

use flate2::{Compression, write::ZlibEncoder};

pub use self::reader::Reader;
use crate::{
    disk::Disk,
    qcow2::Source as _,
    runs::{fingerprint, is_zero},
};

/// Sizes of disks are multiples of this.
pub const GRANULE: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Sectors of a grain.
const GRAIN: u64 = 128;
/// Grains of a table.
const TABLE: usize = 512;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Where the first grain is: the format calls what is before it overhead.
const OVERHEAD: u64 = 128;
/// The directory's place in the header of a stream.
const AT_END: u64 = u64::MAX;
/// The name of the disk in the descriptor. It names the file itself, so readers pass over it; a fixed one keeps equal disks
/// equal whatever they are called.
const NAME: &str = "disk.vmdk";

/// "Stream-Optimized Compressed": the types of markers.
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// Writes a disk to the start of a file or stream, and gives the bytes of the disk that are stored. The content's
/// identifier follows from what is on the disk.
///
/// # Errors
/// When it cannot be written, or the disk has no whole megabytes.
pub fn write(mut disk: &Disk, out: &mut impl Write) -> io::Result<u64> {
    if !disk.size.is_multiple_of(GRANULE) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a VMDK disk has whole megabytes"));
    }
    let mut out = Sectors { out, at: 0 };
    let capacity = disk.size / SECTOR;
    out.put(&header(capacity, AT_END))?;
    let mut text = descriptor(capacity, fingerprint(disk).bytes()).into_bytes();
    text.resize(index(DESCRIPTOR_SECTORS * SECTOR), 0);
    out.put(&text)?;
    out.put(&vec![0; index((OVERHEAD - out.at) * SECTOR)])?;

    let (mut directory, mut stored) = (Vec::new(), 0);
    let mut table: Vec<u32> = Vec::with_capacity(TABLE);
    let mut grain = vec![0; index(GRAIN * SECTOR)];
    for place in (0..capacity).step_by(index(GRAIN)) {
        let length = index((capacity - place).min(GRAIN) * SECTOR);
        let data = disk.read(place * SECTOR, &mut grain[..length])? && !is_zero(&grain[..length]);
        if data {
            grain[length..].fill(0);
            table.push(sector(out.at)?);
            out.grain(place, &grain)?;
            stored += length as u64;
        } else {
            table.push(0);
        }
        if table.len() == TABLE || place + GRAIN >= capacity {
            table.resize(TABLE, 0);
            // No table at all for 32 MiB of zeros.
            let empty = table.iter().all(|entry| *entry == 0);
            directory.push(if empty { 0 } else { out.marked(Marker::GrainTable, &words(&table))? });
            table.clear();
        }
    }
    let mut bytes = words(&directory);
    bytes.resize(bytes.len().next_multiple_of(index(SECTOR)), 0);
    let directory = out.marked(Marker::GrainDirectory, &bytes)?;
    out.marked(Marker::Footer, &header(capacity, directory.into()))?;
    out.marked(Marker::EndOfStream, &[])?;
    out.out.flush()?;
    Ok(stored)
}

/// "Hosted Sparse Extent Header". Little-endian, unaligned.
fn header(capacity: u64, directory: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV");
    put(4, &3u32.to_le_bytes());
    // The line ends below are there to be tested; grains are compressed; there are markers.
    put(8, &(1u32 | 1 << 16 | 1 << 17).to_le_bytes());
    put(12, &capacity.to_le_bytes());
    put(20, &GRAIN.to_le_bytes());
    put(28, &1u64.to_le_bytes());
    put(36, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(44, &(TABLE as u32).to_le_bytes());
    // No second directory.
    put(56, &directory.to_le_bytes());
    put(64, &OVERHEAD.to_le_bytes());
    // Shut down cleanly; what a transfer that takes it for text would change; deflate.
    put(72, b"\0\n \r\n\x01\0");
    header
}

/// "The Descriptor File". The geometry is the one that VMware gives disks of a SCSI controller.
fn descriptor(capacity: u64, content: &[u8; 32]) -> String {
    let cylinders = (capacity / (255 * 63)).clamp(1, 65_535);
    let id = u32::from_le_bytes([content[0], content[1], content[2], content[3]]);
    // All ones say that there is no parent, all but the last bit that there is no content.
    let id = id.min(0xffff_fffd);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {capacity} SPARSE \"{NAME}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"4\"\n"
    )
}

/// A file that is written in whole sectors, front to back.
struct Sectors<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> Sectors<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let padded = (bytes.len() as u64).next_multiple_of(SECTOR);
        self.out.write_all(&[0; 512][..index(padded) - bytes.len()])?;
        self.at += padded / SECTOR;
        Ok(())
    }

    /// "Grain Marker": the place on the disk, the length, and a stream of zlib's format.
    fn grain(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        let mut stored = Vec::with_capacity(bytes.len() + 64);
        stored.extend(place.to_le_bytes());
        stored.extend([0; 4]);
        let mut encoder = ZlibEncoder::new(stored, Compression::new(6));
        encoder.write_all(bytes)?;
        let mut stored = encoder.finish()?;
        let length = sector(stored.len() as u64 - 12)?;
        stored[8..12].copy_from_slice(&length.to_le_bytes());
        self.put(&stored)
    }

    /// A marker with what follows it, and the sector of that.
    fn marked(&mut self, marker: Marker, bytes: &[u8]) -> io::Result<u32> {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&(bytes.len() as u64 / SECTOR).to_le_bytes());
        block[12..].copy_from_slice(&(marker as u32).to_le_bytes());
        self.put(&block)?;
        let at = sector(self.at)?;
        if !bytes.is_empty() {
            self.put(bytes)?;
        }
        Ok(at)
    }
}

/// Places in the file have 32 bits.
fn sector(value: u64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Counts of bytes that are far below what memory has.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::ZlibDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::runs::reader;

    fn le(bytes: &[u8], at: usize, length: usize) -> u64 {
        bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Reads an image by its markers alone, as one that comes over a wire, and holds the tables against them.
    fn read(image: &[u8]) -> Vec<u8> {
        let at = |sector: u64| index(sector * SECTOR);
        let mut disk = vec![0; index(le(image, 12, 8) * SECTOR)];
        let (mut sector, mut grains, mut tables) = (le(image, 64, 8), Vec::new(), Vec::new());
        let footer = loop {
            let here = at(sector);
            let (value, size) = (le(image, here, 8), index(le(image, here + 8, 4)));
            if size > 0 {
                let mut grain = Vec::new();
                ZlibDecoder::new(&image[here + 12..here + 12 + size]).read_to_end(&mut grain).unwrap();
                assert_eq!(grain.len(), 65_536);
                let place = at(value);
                let length = (disk.len() - place).min(grain.len());
                disk[place..place + length].copy_from_slice(&grain[..length]);
                grains.push((value / GRAIN, sector));
                sector += (12 + size as u64).div_ceil(SECTOR);
                continue;
            }
            match le(image, here + 12, 4) {
                1 => tables.push(sector + 1),
                2 => {}
                3 => break sector + 1,
                other => panic!("marker {other}"),
            }
            sector += 1 + value;
        };
        assert_eq!(image.len(), at(footer + 2), "footer, end of stream, nothing more");
        assert!(image[at(footer + 1)..].iter().all(|byte| *byte == 0));
        let directory = at(le(image, at(footer) + 56, 8));
        let named: Vec<u64> = (0..disk.len().div_ceil(32 << 20)).map(|n| le(image, directory + n * 4, 4)).collect();
        assert_eq!(named.iter().copied().filter(|table| *table != 0).collect::<Vec<_>>(), tables);
        for (grain, sector) in grains {
            let table = at(named[index(grain / 512)]);
            assert_eq!(le(image, table + index(grain % 512) * 4, 4), sector);
        }
        disk
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_stream_reads_back(
            megabytes in 1u64..80,
            parts in prop::collection::vec((0..1000u64, any::<u8>(), 1usize..200_000), 0..5),
        ) {
            let size = megabytes << 20;
            let mut places: Vec<u64> = parts.iter().map(|(at, ..)| (megabytes * at / 1000) << 20).collect();
            places.sort_unstable();
            places.dedup();
            let extents = places.into_iter().zip(&parts).map(|(at, (_, byte, length))| (at, vec![*byte; *length])).collect();
            let disk = Disk { size, extents };
            let mut image = Vec::new();
            let stored = write(&disk, &mut image).unwrap();
            prop_assert!(stored <= size);
            let mut wanted = Vec::new();
            reader(&disk).read_to_end(&mut wanted).unwrap();
            prop_assert!(read(&image) == wanted);
        }
    }

    #[test]
    fn odd_sizes_are_refused() {
        let disk = Disk { size: (1 << 20) + 512, extents: Vec::new() };
        assert!(write(&disk, &mut Vec::new()).is_err());
    }
}
