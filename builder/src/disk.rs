//! The disk: GPT with the EFI system partition and the root, then free space for the state.
//!
//! A disk is a list of extents; what lies between them is zeros. Writers of formats make files of it.

use gptman::{GPT, GPTPartitionEntry};
use std::io::{self, Cursor, Read};
use uuid::Uuid;

use crate::{content::Digest, esp::Esp, syslinux};

const SECTOR: u64 = 512;
const ALIGN: u64 = 1 << 20;
/// Name space of every identifier that is derived from content.
const NAMESPACE: Uuid = Uuid::from_u128(0x9d0c_2f6a_41f5_5b0e_a0b7_53e5_7a1d_6c11);
/// EFI system partition (UEFI specification).
const ESP_TYPE: Uuid = Uuid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
/// Root for x86-64 (Discoverable Partitions Specification).
const ROOT_TYPE: Uuid = Uuid::from_u128(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709);
/// "Legacy BIOS bootable" of the UEFI specification, for every type.
const BIOS_BOOTABLE: u64 = 1 << 2;
/// "Read-only" in the specification of that type.
const READ_ONLY: u64 = 1 << 60;

/// An identifier that follows from the root's content: the kernel command line names the root by it, so that a machine
/// with two such disks starts from the one that belongs to its kernel.
#[must_use]
pub fn identifier(root: Digest, what: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{what}:{root}").as_bytes())
}

/// A disk before it is a file.
#[derive(Debug)]
pub struct Disk {
    /// Bytes in all.
    pub size: u64,
    /// Offset and bytes, ascending, without overlap.
    pub extents: Vec<(u64, Vec<u8>)>,
}

impl Disk {
    /// Lays out a disk of `size` bytes. `root_id` is the digest that identifiers are made from.
    ///
    /// # Errors
    /// When the partitions do not fit.
    pub fn build(size: u64, esp: Esp, root: Vec<u8>, root_id: Digest) -> Result<Self, DiskError> {
        let Esp { bytes: esp, mbr } = esp;
        let bootable = if mbr.is_some() { BIOS_BOOTABLE } else { 0 };
        let esp_at = ALIGN;
        let root_at = esp_at + (esp.len() as u64).next_multiple_of(ALIGN);
        let root_len = (root.len() as u64).next_multiple_of(ALIGN);
        // Four megabytes after the root: the backup table, and a state partition that a file system can be made on.
        let least = root_at + root_len + (4 << 20);
        if size < least {
            return Err(DiskError::Small { size, least: least.next_multiple_of(ALIGN) });
        }
        let entry = |kind: Uuid, id: Uuid, at: u64, len: u64, bits: u64, name: &str| GPTPartitionEntry {
            partition_type_guid: kind.to_bytes_le(),
            unique_partition_guid: id.to_bytes_le(),
            starting_lba: at / SECTOR,
            ending_lba: (at + len) / SECTOR - 1,
            attribute_bits: bits,
            partition_name: name.into(),
        };
        let mut sparse = SparseEnds::new(size);
        let mut gpt = GPT::new_from(&mut sparse, SECTOR, identifier(root_id, "disk").to_bytes_le())?;
        gpt[1] = entry(ESP_TYPE, identifier(root_id, "esp"), esp_at, esp.len() as u64, bootable, "steppe-esp");
        gpt[2] = entry(ROOT_TYPE, identifier(root_id, "root"), root_at, root_len, READ_ONLY, "steppe-root");
        GPT::write_protective_mbr_into(&mut sparse, SECTOR)?;
        gpt.write_into(&mut sparse)?;
        let (mut head, tail) = sparse.into_parts();
        if let Some(code) = mbr {
            let place = head.get_mut(..code.len()).filter(|place| place.len() <= syslinux::MBR_CODE);
            place.ok_or(DiskError::Code(code.len()))?.copy_from_slice(&code);
        }
        let tail_at = size - tail.len() as u64;
        Ok(Self { size, extents: vec![(0, head), (esp_at, esp), (root_at, root), (tail_at, tail)] })
    }
}

impl Disk {
    /// The digest of the raw disk, without a file of it.
    ///
    /// # Errors
    /// Those of reading, which memory and zeros do not have.
    pub fn digest(&self) -> io::Result<Digest> {
        Ok(Digest::of_reader(crate::runs::reader(self))?.0)
    }
}

impl crate::qcow2::Source for &Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let end = offset + buffer.len() as u64;
        let here = |(at, bytes): &&(u64, Vec<u8>)| *at < end && offset < at + bytes.len() as u64;
        if !self.extents.iter().any(|extent| here(&extent)) {
            return Ok(false);
        }
        buffer.fill(0);
        // All of these are below the length of something in memory.
        let place = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        for (at, bytes) in self.extents.iter().filter(here) {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            buffer[place(from - offset)..place(to - offset)].copy_from_slice(&bytes[place(from - at)..place(to - at)]);
        }
        Ok(true)
    }
}

/// The first and last megabyte of a disk, which is where the partition table is.
struct SparseEnds {
    size: u64,
    at: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl SparseEnds {
    fn new(size: u64) -> Self {
        let end = || vec![0; usize::try_from(ALIGN).unwrap_or(0)];
        Self { size, at: 0, head: end(), tail: end() }
    }

    fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        (self.head, self.tail)
    }

    /// Where in which end the position is.
    fn window(&mut self) -> io::Result<Cursor<&mut [u8]>> {
        let (part, start) = if self.at < ALIGN {
            (&mut self.head, 0)
        } else if self.at >= self.size - ALIGN {
            (&mut self.tail, self.size - ALIGN)
        } else {
            return Err(io::Error::other("the partition table is not at an end of the disk"));
        };
        let mut cursor = Cursor::new(part.as_mut_slice());
        cursor.set_position(self.at - start);
        Ok(cursor)
    }
}

impl Read for SparseEnds {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.window()?.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl io::Write for SparseEnds {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.window()?.write(buffer)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for SparseEnds {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => self.size.checked_add_signed(by),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::other("seek before the disk"))?;
        Ok(self.at)
    }
}

/// Why a disk cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The partitions do not fit.
    #[error("a disk of {size} bytes is too small: raise disk.size to {least} or more")]
    Small {
        /// What the recipe says.
        size: u64,
        /// What it takes.
        least: u64,
    },
    /// The code would lie over the partition table.
    #[error("boot code of {0} bytes does not fit into the first sector of a disk")]
    Code(usize),
    /// The partition table writer failed.
    #[error("failed to write the partition table: {0}")]
    Table(#[from] gptman::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pass_reads_the_table_back() {
        let root = Digest::of(b"root");
        let esp = |code: &[u8]| Esp { bytes: vec![1; 36 << 20], mbr: Some(code.to_vec()) };
        let disk = Disk::build(64 << 20, esp(&[3; 440]), vec![2; 5000], root).unwrap();
        let mut image = vec![0; 64 << 20];
        for (at, bytes) in &disk.extents {
            let at = usize::try_from(*at).unwrap();
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let gpt = GPT::read_from(&mut Cursor::new(&mut image), SECTOR).unwrap();
        assert_eq!(gpt[2].unique_partition_guid, identifier(root, "root").to_bytes_le());
        assert_eq!(gpt[2].starting_lba * SECTOR, 37 << 20);
        assert_eq!(&image[37 << 20..(37 << 20) + 5000], &[2; 5000]);
        assert_eq!(image[510..512], [0x55, 0xaa]);
        assert_eq!((&image[..440], gpt[1].attribute_bits), (&[3; 440][..], BIOS_BOOTABLE));
        assert!(matches!(Disk::build(64 << 20, esp(&[3; 441]), vec![2], root), Err(DiskError::Code(441))));
        assert_eq!(disk.digest().unwrap(), Digest::of(&image));
        // Another root, other identifiers.
        assert_ne!(identifier(root, "root"), identifier(Digest::of(b"other"), "root"));
        assert!(matches!(Disk::build(38 << 20, esp(b""), vec![1], root), Err(DiskError::Small { .. })));
    }
}
