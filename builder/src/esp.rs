//! The EFI system partition: FAT32 with one file, `EFI/BOOT/BOOTX64.EFI`.

use std::io::{self, Cursor, Write as _};

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

/// Every time stamp in the file system: the oldest that FAT knows. It has local time without a zone, so none would be right.
#[derive(Debug)]
struct Oldest;

impl TimeProvider for Oldest {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

static OLDEST: Oldest = Oldest;

/// The fewest clusters of a FAT32. Firmware tells the kind from their number, whatever the boot sector says.
const FAT32_CLUSTERS: u64 = 65_525;

/// The bytes of a partition of `size` bytes with `image` as its boot program.
///
/// # Errors
/// When the image does not fit.
pub fn build(size: u64, volume_id: u32, image: &[u8]) -> Result<Vec<u8>, EspError> {
    // Of two sizes the larger cluster that still makes it FAT32: fewer entries for the firmware to walk.
    let cluster = [4096u32, 2048, 1024, 512]
        .into_iter()
        .find(|cluster| size / u64::from(*cluster) > FAT32_CLUSTERS + 2048)
        .ok_or(EspError::Small(size))?;
    if image.len() as u64 + (size / 64) > size {
        return Err(EspError::Full { image: image.len() as u64, size });
    }
    write(size, volume_id, cluster, image).map_err(EspError::Io)
}

fn write(size: u64, volume_id: u32, cluster: u32, image: &[u8]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(size).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; length]);
    let format = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(cluster)
        .volume_id(volume_id)
        .volume_label(*b"STEPPE-ESP ");
    fatfs::format_volume(&mut disk, format)?;
    disk.set_position(0);
    {
        let fs = FileSystem::new(&mut disk, FsOptions::new().time_provider(&OLDEST))?;
        let mut file = fs.root_dir().create_dir("EFI")?.create_dir("BOOT")?.create_file("BOOTX64.EFI")?;
        file.write_all(image)?;
        file.flush()?;
        drop(file);
        fs.unmount()?;
    }
    Ok(disk.into_inner())
}

/// Why the partition cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// Below what FAT32 needs.
    #[error("an EFI system partition of {0} bytes cannot be FAT32: raise disk.esp to 35MiB or more")]
    Small(u64),
    /// The image does not fit.
    #[error("a boot image of {image} bytes does not fit into an EFI system partition of {size}: raise disk.esp")]
    Full {
        /// Bytes of the image.
        image: u64,
        /// Bytes of the partition.
        size: u64,
    },
    /// The file system writer failed.
    #[error("failed to write the EFI system partition: {0}")]
    Io(io::Error),
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_file_is_there_and_the_kind_is_right() {
        let image = vec![9; 1_000_000];
        for size in [36 << 20, 64 << 20] {
            let bytes = build(size, 7, &image).unwrap();
            assert_eq!(bytes, build(size, 7, &image).unwrap());
            let fs = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            assert_eq!((fs.fat_type(), fs.volume_id()), (FatType::Fat32, 7));
            assert!(u64::from(fs.stats().unwrap().total_clusters()) >= FAT32_CLUSTERS);
            let mut read = Vec::new();
            fs.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, image);
        }
    }

    #[test]
    fn too_small_and_too_full() {
        assert!(matches!(build(16 << 20, 1, b""), Err(EspError::Small(_))));
        assert!(matches!(build(36 << 20, 1, &vec![0; 36 << 20]), Err(EspError::Full { .. })));
    }
}
