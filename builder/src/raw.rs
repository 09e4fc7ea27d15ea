//! Raw disk images: the bytes of the disk, with holes where there are only zeros.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
};

use crate::{disk::Disk, runs::runs};

/// Writes a disk into an empty file.
///
/// # Errors
/// When the file cannot be written.
pub fn write(disk: &Disk, file: &mut File) -> io::Result<()> {
    file.set_len(disk.size)?;
    for (at, bytes) in runs(disk) {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn bytes_are_in_their_place_and_zeros_take_no_room() {
        let mut bytes = vec![0; 1 << 20];
        bytes[70_000] = 7;
        let disk = Disk { size: 64 << 20, extents: vec![(0, vec![1; 10]), (1 << 20, bytes)] };
        let mut file = tempfile::tempfile().unwrap();
        write(&disk, &mut file).unwrap();
        let data = file.metadata().unwrap();
        assert_eq!(data.len(), 64 << 20);
        assert!(data.blocks() * 512 <= 1 << 17, "{} blocks", data.blocks());
        let mut byte = [0; 1];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, (1 << 20) + 70_000).unwrap();
        assert_eq!(byte, [7]);
    }
}
