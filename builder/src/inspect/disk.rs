//! Disks: what is in their partitions.

use std::io;

use super::{
    Image, boot,
    files::{self, Root},
    parts::{self, Stored},
    table, verity,
    volume::Volume,
};

/// The first root and the first initramfs that were found.
#[derive(Default)]
struct Seen {
    /// Its partition: first byte and bytes.
    place: Option<(u64, u64)>,
    root: Root,
    used: u64,
    tree: u64,
    initrd: Option<Vec<u8>>,
    /// Bytes of partitions that were read.
    read: u64,
}

/// Bytes that are read of all partitions together: more than any image has. The clusters of a disk may all be one and the same, so its
/// size is no bound.
const MOST: u64 = 8 << 30;

impl Seen {
    fn bytes(&mut self, volume: &mut Volume, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the partitions before have as much as any image");
        self.read = self.read.checked_add(length).filter(|read| *read <= MOST).ok_or_else(wrong)?;
        volume.bytes(at, length)
    }
}

/// Reads a disk.
///
/// # Errors
/// When it has no partition table. What is wrong further in is noted.
pub(super) fn read(image: &mut Image, volume: &mut Volume) -> io::Result<()> {
    let (id, partitions) = table::read(volume)?;
    (image.id, image.partitions) = (Some(id), partitions);
    let mut seen = Seen::default();
    for index in 0..image.partitions.len() {
        if let Err(error) = partition(image, volume, index, &mut seen) {
            image.wrong.push(format!("partition {}: {error}", image.partitions[index].number));
        }
    }
    let found = image.take_initramfs(&seen.initrd.take().unwrap_or_default());
    image.parts = parts::of(&Stored {
        boot: &image.boot,
        initramfs: &found,
        root: (&seen.root.stored, seen.used),
        tree: seen.tree,
    });
    (image.files, image.facts) = (seen.root.files, seen.root.facts);
    let named =
        image.cmdline().and_then(|line| line.split_whitespace().find_map(|word| word.strip_prefix("roothash=")));
    if let (Some(named), Some(verity)) = (named, &image.verity)
        && named != verity.root_hash.hex()
    {
        image.wrong.push(format!("the command line names the root hash {named}, the root has {}", verity.root_hash));
    }
    Ok(())
}

/// Reads one partition. The first root is kept for the check of its hash tree, which comes behind it.
fn partition(image: &mut Image, volume: &mut Volume, index: usize, seen: &mut Seen) -> io::Result<()> {
    let partition = &mut image.partitions[index];
    let (at, size) = (partition.start, partition.size);
    let start = volume.bytes(at, size.min(4096))?;
    if let Some(used) = files::squashfs_size(&start) {
        (partition.content, partition.used) = ("squashfs", used);
        // The disk holds whole blocks of the file system.
        let bytes = seen.bytes(volume, at, used.checked_next_multiple_of(4096).unwrap_or(used).min(size))?;
        let found = files::root(bytes)?;
        if seen.place.is_none() {
            (seen.place, seen.root, seen.used) = (Some((at, size)), found, used);
        }
    } else if let Some(superblock) = verity::superblock(&start) {
        partition.content = "verity";
        partition.used = crate::verity::size(superblock.data).min(size);
        let stored = seen.bytes(volume, at, partition.used)?;
        if let (None, Some((at, size))) = (&image.verity, seen.place) {
            seen.tree = partition.used;
            let data = seen.bytes(volume, at, superblock.data.min(size))?;
            let verity = superblock.check(&data, &stored);
            image.wrong.extend(verity.wrong.iter().cloned());
            (image.root_hash, image.verity) = (Some(verity.root_hash), Some(verity));
        }
    } else if start.get(82..87) == Some(b"FAT32") || start.get(54..57) == Some(b"FAT") {
        partition.content = "fat";
        let boot = boot::read(&seen.bytes(volume, at, size)?)?;
        partition.used = boot.used;
        image.boot.extend(boot.files);
        seen.initrd = seen.initrd.take().or(boot.initrd);
    } else if start.get(1080..1082) == Some(&[0x53, 0xef]) {
        (partition.content, partition.used) = ("ext4", size);
    } else if start.iter().all(|&byte| byte == 0) {
        partition.content = "empty";
    } else {
        (partition.content, partition.used) = ("unknown", size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::fat::{File, Identity, Volume as Fat};

    /// Each partition is small enough, all of them are not.
    #[test]
    fn partitions_are_read_up_to_a_bound_for_all_of_them() {
        let fat = Fat::make(36 << 20, Identity { label: [b' '; 11], id: 1 }, &[File::new("a", b"x")]).unwrap();
        let size = fat.bytes.len() as u64;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&fat.bytes).unwrap();
        let mut volume = Volume::open(file.path()).unwrap();
        let mut found = |read: u64| {
            let one = table::Partition { size, ..table::Partition::default() };
            let mut image = Image { partitions: vec![one], ..Image::default() };
            let mut seen = Seen { read, ..Seen::default() };
            partition(&mut image, &mut volume, 0, &mut seen).map(|()| (image.boot.len(), seen.read))
        };
        assert_eq!(found(MOST - size).unwrap(), (1, MOST));
        assert!(found(MOST - size + 1).unwrap_err().to_string().contains("as much as any image"));
    }
}
