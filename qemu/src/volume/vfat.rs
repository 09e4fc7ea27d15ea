//! FAT volumes.

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use std::io::{self, Cursor, Write as _};

/// The smallest volume: 1 MiB.
const SMALLEST: usize = 1 << 20;

/// A FAT volume with the given files, the same bytes for the same input. A slash in a name makes a directory.
///
/// # Errors
/// When a name or the label cannot be written as FAT has it.
pub fn vfat(label: &str, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut padded = [b' '; 11];
    let room = padded.get_mut(..label.len()).filter(|_| label.is_ascii());
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(label.as_bytes());
    // Each file may fill a cluster of up to 4 KiB more than it has; the tables need less than a tenth of the data.
    let content: usize = files.iter().map(|(_, bytes)| bytes.len() + 4096).sum();
    let directories = super::directories(files.iter().map(|(path, _)| *path));
    let content = content + directories.len() * 4096;
    let size = (content + content / 4 + SMALLEST).next_multiple_of(SMALLEST);
    let mut image = Cursor::new(vec![0; size]);
    format_volume(&mut image, FormatVolumeOptions::new().volume_label(padded).volume_id(0x5354_4550))?;
    {
        let volume = FileSystem::new(&mut image, FsOptions::new().update_accessed_date(false))?;
        for directory in directories {
            volume.root_dir().create_dir(directory)?;
        }
        for (name, bytes) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        volume.unmount()?;
    }
    Ok(image.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn files_come_back_under_their_names() {
        let long = vec![b'x'; 3_000_000];
        let files =
            [("meta-data", &b"instance-id: i-1\n"[..]), ("user-data", &long), ("empty", b""), ("a/b c/d.json", b"{}")];
        let image = vfat("cidata", &files).unwrap();
        assert_eq!(image, vfat("cidata", &files).unwrap(), "the same input must give the same bytes");
        let volume = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "cidata");
        for (name, expected) in files {
            let mut content = Vec::new();
            volume.root_dir().open_file(name).unwrap().read_to_end(&mut content).unwrap();
            assert!(content == expected, "{name} differs");
        }
    }

    #[test]
    fn a_label_that_is_too_long_is_an_error() {
        assert!(vfat("much too long a label", &[]).is_err());
    }
}
