//! The disk: GPT with the EFI system partition and two slots, each for a root and its hash tree, then free space for the state.
//!
//! The image fills slot A; slot B is for the first update. A disk is a list of extents; what lies between them is zeros.
//! Writers of formats make files of it.

use agent::slots::{self, Slot};
use gptman::{GPT, GPTPartitionEntry};
use serde::{Deserialize, Serialize};
use std::io::{self, Cursor, Read};
use uuid::Uuid;

use crate::{architecture::Architecture, content::Digest, esp::Esp, size::Size, syslinux, verity};

const SECTOR: u64 = 512;
const ALIGN: u64 = 1 << 20;
/// Name space of every identifier that is derived from content.
const NAMESPACE: Uuid = Uuid::from_u128(0x9d0c_2f6a_41f5_5b0e_a0b7_53e5_7a1d_6c11);
/// EFI system partition (UEFI specification).
const ESP_TYPE: Uuid = Uuid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
/// "Legacy BIOS bootable" of the UEFI specification, for every type.
const BIOS_BOOTABLE: u64 = 1 << 2;
/// "Read-only" in the specification of the types of a root and of its hash tree.
const READ_ONLY: u64 = 1 << 60;

/// An identifier that follows from a digest of content.
#[must_use]
pub fn identifier(content: Digest, what: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{what}:{content}").as_bytes())
}

/// What the recipe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The disk.
    pub size: Size,
    /// The partition of a root; that of its hash tree follows from it. Multiple of 1 MiB.
    pub slot: Size,
    /// What the types of the partitions say that their contents are for.
    pub architecture: Architecture,
}

/// A partition, as the manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its type (GUID).
    pub kind: Uuid,
    /// Which one it is (`PARTUUID`).
    pub id: Uuid,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Of these, bytes that the image fills; the others are zero.
    pub used: u64,
}

impl Layout {
    /// The partitions of a disk with an EFI system partition of `esp` bytes, and in slot A a root of `root` bytes.
    ///
    /// # Errors
    /// When they do not fit, or the root does not fit into a slot.
    pub fn partitions(self, esp: u64, root: u64, tree: &verity::Tree) -> Result<Vec<Partition>, DiskError> {
        let Self { size: Size(size), slot: Size(slot), architecture } = self;
        let (root_type, verity_type) = (architecture.root_type(), architecture.verity_type());
        let hashes = verity::size(slot).next_multiple_of(ALIGN);
        if root > slot {
            return Err(DiskError::Slot { root, slot });
        }
        let content = tree.root_hash;
        let (root_id, verity_id) = verity::partition_ids(content);
        let own = |what| identifier(content, what);
        let mut partitions: Vec<Partition> = Vec::new();
        let mut end = ALIGN;
        for (name, kind, id, size, used) in [
            (slots::ESP_LABEL, ESP_TYPE, own("esp"), esp, esp),
            (Slot::A.root_label(), root_type, root_id, slot, root),
            (Slot::A.verity_label(), verity_type, verity_id, hashes, tree.bytes.len() as u64),
            (Slot::B.root_label(), root_type, own("root-b"), slot, 0),
            (Slot::B.verity_label(), verity_type, own("verity-b"), hashes, 0),
        ] {
            let number = u32::try_from(partitions.len()).unwrap_or(0) + 1;
            partitions.push(Partition { number, name: name.to_owned(), kind, id, start: end, size, used });
            end = (end + size).next_multiple_of(ALIGN);
        }
        // Four megabytes after the slots: the backup table, and a state partition that a file system can be made on.
        let least = end + (4 << 20);
        if size < least {
            return Err(DiskError::Small { size, least });
        }
        Ok(partitions)
    }
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
    /// Lays out a disk with `root` and its hash tree in slot A.
    ///
    /// # Errors
    /// When the partitions do not fit, or the root does not fit into a slot.
    pub fn build(layout: Layout, esp: Esp, root: Vec<u8>, tree: &verity::Tree) -> Result<Self, DiskError> {
        let Layout { size: Size(size), .. } = layout;
        let Esp { bytes: esp, mbr } = esp;
        let partitions = layout.partitions(esp.len() as u64, root.len() as u64, tree)?;
        let bootable = if mbr.is_some() { BIOS_BOOTABLE } else { 0 };
        let mut sparse = SparseEnds::new(size);
        let mut gpt = GPT::new_from(&mut sparse, SECTOR, identifier(tree.root_hash, "disk").to_bytes_le())?;
        for partition in &partitions {
            gpt[partition.number] = GPTPartitionEntry {
                partition_type_guid: partition.kind.to_bytes_le(),
                unique_partition_guid: partition.id.to_bytes_le(),
                starting_lba: partition.start / SECTOR,
                ending_lba: (partition.start + partition.size) / SECTOR - 1,
                attribute_bits: if partition.kind == ESP_TYPE { bootable } else { READ_ONLY },
                partition_name: partition.name.as_str().into(),
            };
        }
        GPT::write_protective_mbr_into(&mut sparse, SECTOR)?;
        gpt.write_into(&mut sparse)?;
        let (mut head, tail) = sparse.into_parts();
        if let Some(code) = mbr {
            let place = head.get_mut(..code.len()).filter(|place| place.len() <= syslinux::MBR_CODE);
            place.ok_or(DiskError::Code(code.len()))?.copy_from_slice(&code);
        }
        let mut extents = vec![(0, head)];
        extents.extend(partitions.iter().map(|partition| partition.start).zip([esp, root, tree.bytes.clone()]));
        extents.push((size - tail.len() as u64, tail));
        Ok(Self { size, extents })
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
    #[error("a disk of {size} bytes is too small: raise disk.size to {least} or more, or lower disk.slot")]
    Small {
        /// What the recipe says.
        size: u64,
        /// What it takes.
        least: u64,
    },
    /// The code would lie over the partition table.
    #[error("boot code of {0} bytes does not fit into the first sector of a disk")]
    Code(usize),
    /// The root is larger than its partition.
    #[error("a root of {root} bytes does not fit into a slot of {slot}: raise disk.slot to {}", Size(root.next_multiple_of(ALIGN)))]
    Slot {
        /// Bytes of the root.
        root: u64,
        /// What the recipe says.
        slot: u64,
    },
    /// The partition table writer failed.
    #[error("failed to write the partition table: {0}")]
    Table(#[from] gptman::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { size: Size(80 << 20), slot: Size(8 << 20), architecture: Architecture::X86_64 };

    fn tree(root: &[u8]) -> verity::Tree {
        verity::tree(root, &verity::Parameters::of(root))
    }

    #[test]
    fn another_pass_reads_the_table_back() {
        let root = vec![2; 5000];
        let tree = tree(&root);
        let esp = |code: &[u8]| Esp { bytes: vec![1; 36 << 20], mbr: Some(code.to_vec()) };
        let disk = Disk::build(LAYOUT, esp(&[3; 440]), root, &tree).unwrap();
        let mut image = vec![0; 80 << 20];
        for (at, bytes) in &disk.extents {
            let at = usize::try_from(*at).unwrap();
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let gpt = GPT::read_from(&mut Cursor::new(&mut image), SECTOR).unwrap();
        let (root_id, verity_id) = verity::partition_ids(tree.root_hash);
        assert_eq!(gpt[2].unique_partition_guid, root_id.to_bytes_le());
        assert_eq!(gpt[3].unique_partition_guid, verity_id.to_bytes_le());
        assert_eq!(gpt[2].starting_lba * SECTOR, 37 << 20);
        assert_eq!(&image[37 << 20..(37 << 20) + 5000], &[2; 5000]);
        assert_eq!(&image[45 << 20..(45 << 20) + tree.bytes.len()], &tree.bytes);
        let names: Vec<_> =
            gpt.iter().filter(|(_, p)| p.is_used()).map(|(_, p)| p.partition_name.to_string()).collect();
        assert_eq!(names, ["steppe-esp", "steppe-root-a", "steppe-verity-a", "steppe-root-b", "steppe-verity-b"]);
        for (a, b) in [(2, 4), (3, 5)] {
            let size = |n: u32| gpt[n].ending_lba - gpt[n].starting_lba;
            assert_eq!((gpt[a].partition_type_guid, size(a)), (gpt[b].partition_type_guid, size(b)), "slots are alike");
            assert_ne!(gpt[a].unique_partition_guid, gpt[b].unique_partition_guid);
        }
        assert_eq!(image[510..512], [0x55, 0xaa]);
        assert_eq!((&image[..440], gpt[1].attribute_bits), (&[3; 440][..], BIOS_BOOTABLE));
        assert!(matches!(Disk::build(LAYOUT, esp(&[3; 441]), vec![2], &tree), Err(DiskError::Code(441))));
        assert_eq!(disk.digest().unwrap(), Digest::of(&image));
    }

    #[test]
    fn types_of_partitions_say_the_architecture() {
        for architecture in Architecture::ALL {
            let layout = Layout { architecture, ..LAYOUT };
            let partitions = layout.partitions(36 << 20, 1, &tree(&[1])).unwrap();
            let kinds: Vec<_> = partitions.iter().map(|partition| partition.kind).collect();
            let [root, verity] = [architecture.root_type(), architecture.verity_type()];
            assert_eq!(kinds, [ESP_TYPE, root, verity, root, verity]);
        }
    }

    #[test]
    fn what_does_not_fit_says_what_to_raise() {
        let why = |layout: Layout, root: Vec<u8>| {
            let tree = tree(&root);
            Disk::build(layout, Esp { bytes: vec![0; 36 << 20], mbr: None }, root, &tree).unwrap_err().to_string()
        };
        let small = why(Layout { size: Size(40 << 20), ..LAYOUT }, vec![1]);
        assert!(small.contains("raise disk.size to"), "{small}");
        let large = why(LAYOUT, vec![1; (8 << 20) + 1]);
        assert!(large.contains("raise disk.slot to 9MiB"), "{large}");
        // As much as the message says is enough.
        let least = 1 + 36 + 2 * (8 + 1) + 4;
        assert!(
            Disk::build(
                Layout { size: Size(least << 20), ..LAYOUT },
                Esp { bytes: vec![0; 36 << 20], mbr: None },
                vec![1],
                &tree(&[1])
            )
            .is_ok()
        );
    }
}
