//! Labels of file systems, read from their first blocks: iso9660 and vfat, the two that seeds come on. Of UDF, which
//! Azure's media have, only that it is there.

use std::io::{self, Read, Seek, SeekFrom};

/// The kinds of file systems that seeds come on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ISO 9660 (ECMA-119).
    Iso9660,
    /// FAT 12, 16 or 32.
    Vfat,
    /// UDF (ECMA-167), without an ISO 9660 beside it.
    Udf,
}

impl FileSystem {
    /// The kernel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iso9660 => "iso9660",
            Self::Vfat => "vfat",
            Self::Udf => "udf",
        }
    }
}

/// A file system and its labels: vfat may have two, which tools often let differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Its kind.
    pub kind: FileSystem,
    /// Its labels, white space trimmed. Those of UDF are not read.
    pub labels: Vec<String>,
    /// Whether there is a UDF: beside an ISO 9660 (a "bridge"), it has the whole of the files.
    pub udf: bool,
}

impl Superblock {
    /// Whether one of the labels is `label`, in any case.
    #[must_use]
    pub fn is_labelled(&self, label: &str) -> bool {
        self.labels.iter().any(|l| l.eq_ignore_ascii_case(label))
    }
}

/// More root directory entries than this are not searched for a label.
const MOST_ENTRIES: usize = 4096;

/// Looks at a device or an image.
///
/// # Errors
/// When reading fails; a device that is too short for either file system has none.
pub fn read<R: Read + Seek>(device: &mut R) -> io::Result<Option<Superblock>> {
    let (label, udf) = descriptors(device)?;
    if let Some(label) = label {
        return Ok(Some(Superblock { kind: FileSystem::Iso9660, labels: label.into_iter().collect(), udf }));
    }
    if udf {
        return Ok(Some(Superblock { kind: FileSystem::Udf, labels: Vec::new(), udf }));
    }
    let Some(boot) = block(device, 0, 512)?.as_deref().and_then(Fat::parse) else { return Ok(None) };
    let mut labels: Vec<String> = boot.label.clone().into_iter().collect();
    let (start, length) = boot.root_directory();
    if let Some(directory) = block(device, start, length)? {
        labels.extend(root_label(&directory).filter(|label| !labels.contains(label)));
    }
    Ok(Some(Superblock { kind: FileSystem::Vfat, labels, udf: false }))
}

/// The volume recognition sequence: sectors of 2 KiB from 32 KiB on, each with a name, until one has none (ECMA-167
/// 2/8.3.1). Gives the label of an ISO 9660, when there is one, and whether there is a UDF.
#[expect(clippy::option_option, reason = "an unlabelled file system is not no file system")]
fn descriptors<R: Read + Seek>(device: &mut R) -> io::Result<(Option<Option<String>>, bool)> {
    /// More descriptors than this are not looked at.
    const MOST: u64 = 64;
    let (mut label, mut udf) = (None, false);
    for n in 0..MOST {
        let Some(sector) = block(device, 32768 + n * 2048, 2048)? else { break };
        match sector.get(1..6) {
            Some(b"CD001") if label.is_none() => label = iso9660_label(&sector),
            Some(b"CD001" | b"BEA01" | b"BOOT2" | b"CDW02" | b"TEA01") => {}
            Some(b"NSR02" | b"NSR03") => udf = true,
            _ => break,
        }
    }
    Ok((label, udf))
}

/// `None` when the device ends before.
fn block<R: Read + Seek>(device: &mut R, at: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    device.seek(SeekFrom::Start(at))?;
    match device.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The volume identifier of a primary volume descriptor (ECMA-119, 8.4): outer `None` when it is none.
#[expect(clippy::option_option, reason = "an unlabelled file system is not no file system")]
fn iso9660_label(sector: &[u8]) -> Option<Option<String>> {
    let is_primary = sector.first() == Some(&1) && sector.get(1..6) == Some(b"CD001");
    is_primary.then(|| text(sector.get(40..72).unwrap_or_default()))
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\0', ' ']);
    (!text.is_empty() && text != "NO NAME").then(|| text.to_owned())
}

/// What a boot sector of FAT says (Microsoft's `fatgen103`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fat {
    label: Option<String>,
    sector: u64,
    cluster: u64,
    reserved: u64,
    fats: u64,
    fat_length: u64,
    root_entries: usize,
    /// FAT 32 only.
    root_cluster: Option<u64>,
}

impl Fat {
    fn parse(boot: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from(u16::from_le_bytes(boot.get(at..at + 2)?.try_into().ok()?)));
        let long = |at: usize| Some(u64::from(u32::from_le_bytes(boot.get(at..at + 4)?.try_into().ok()?)));
        let sector = word(11)?;
        let cluster = u64::from(*boot.get(13)?);
        let (reserved, fats) = (word(14)?, u64::from(*boot.get(16)?));
        let fits = boot.get(510..512) == Some(&[0x55, 0xaa])
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && cluster.is_power_of_two()
            && reserved > 0
            && matches!(fats, 1 | 2);
        if !fits {
            return None;
        }
        let is_32 = word(22)? == 0;
        // The signature before the label says that there is one.
        let at = if is_32 { 66 } else { 38 };
        let label = (*boot.get(at)? == 0x29).then(|| text(boot.get(at + 5..at + 16).unwrap_or_default())).flatten();
        Some(Self {
            label,
            sector,
            cluster,
            reserved,
            fats,
            fat_length: if is_32 { long(36)? } else { word(22)? },
            root_entries: usize::try_from(word(17)?).ok()?,
            root_cluster: if is_32 { Some(long(44)?) } else { None },
        })
    }

    /// Where the root directory is, and how much of it to read: all, or of FAT 32 its first cluster.
    fn root_directory(&self) -> (u64, usize) {
        let after_fats = (self.reserved + self.fats * self.fat_length) * self.sector;
        match self.root_cluster {
            Some(cluster) => {
                let bytes = self.cluster * self.sector;
                (after_fats + cluster.saturating_sub(2) * bytes, usize::try_from(bytes).unwrap_or(0))
            }
            None => (after_fats, self.root_entries.min(MOST_ENTRIES) * 32),
        }
    }
}

/// The volume label entry of a root directory.
fn root_label(directory: &[u8]) -> Option<String> {
    for entry in directory.chunks_exact(32) {
        let attributes = entry[11];
        match entry[0] {
            0 => return None,
            0xe5 => {}
            // 0x0f marks a long name, which has this bit too.
            _ if attributes & 0x08 != 0 && attributes & 0x3f != 0x0f => return text(&entry[..11]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn iso(label: &str) -> Vec<u8> {
        let mut image = vec![0; 32768 + 2048];
        image[32768] = 1;
        image[32769..32774].copy_from_slice(b"CD001");
        image[32808..32840].fill(b' ');
        image[32808..32808 + label.len()].copy_from_slice(label.as_bytes());
        image
    }

    fn fat(boot_label: &[u8; 11], root_label: &[u8; 11]) -> Vec<u8> {
        let mut image = vec![0; 512 * 8];
        image[11..13].copy_from_slice(&512_u16.to_le_bytes());
        image[13] = 1;
        image[14..16].copy_from_slice(&1_u16.to_le_bytes());
        image[16] = 2;
        image[17..19].copy_from_slice(&16_u16.to_le_bytes());
        image[22..24].copy_from_slice(&1_u16.to_le_bytes());
        image[38] = 0x29;
        image[43..54].copy_from_slice(boot_label);
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        // A deleted entry and a long name in front of the label.
        image[3 * 512] = 0xe5;
        image[3 * 512 + 32] = 0x41;
        image[3 * 512 + 43] = 0x0f;
        image[3 * 512 + 64..3 * 512 + 75].copy_from_slice(root_label);
        image[3 * 512 + 75] = 0x08;
        image
    }

    #[test]
    fn labels_are_found() {
        let found = read(&mut Cursor::new(iso("cidata"))).unwrap().unwrap();
        assert!(found.kind == FileSystem::Iso9660 && found.is_labelled("CIDATA"));
        let found = read(&mut Cursor::new(fat(b"NO NAME    ", b"CIDATA     "))).unwrap().unwrap();
        assert!(found.kind == FileSystem::Vfat && found.is_labelled("cidata") && found.labels.len() == 1);
        let found = read(&mut Cursor::new(fat(b"cidata     ", b"OTHER      "))).unwrap().unwrap();
        assert!(found.is_labelled("cidata") && found.is_labelled("other"));
    }

    #[test]
    fn udf_is_seen_alone_and_beside_an_iso9660() {
        let with = |names: &[&[u8; 5]]| {
            let mut image = vec![0; 32768 + (names.len() + 1) * 2048];
            for (n, name) in names.iter().enumerate() {
                let at = 32768 + n * 2048;
                image[at] = u8::from(n == 0);
                image[at + 1..at + 6].copy_from_slice(*name);
            }
            read(&mut Cursor::new(image)).unwrap().map(|found| (found.kind, found.udf))
        };
        assert_eq!(with(&[b"BEA01", b"NSR02", b"TEA01"]), Some((FileSystem::Udf, true)));
        assert_eq!(with(&[b"CD001", b"CD001", b"BEA01", b"NSR03", b"TEA01"]), Some((FileSystem::Iso9660, true)));
        assert_eq!(with(&[b"CD001", b"CD001"]), Some((FileSystem::Iso9660, false)));
        assert_eq!(with(&[b"BEA01", b"TEA01", b"xxxxx", b"NSR02"]), None);
    }

    #[test]
    fn short_and_foreign_devices_have_none() {
        assert_eq!(read(&mut Cursor::new(vec![])).unwrap(), None);
        assert_eq!(read(&mut Cursor::new(vec![0xff; 40000])).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = read(&mut Cursor::new(bytes));
        }

        #[test]
        fn any_boot_sector_is_read(mut head in proptest::collection::vec(any::<u8>(), 512)) {
            head[510] = 0x55;
            head[511] = 0xaa;
            head[11] = 0;
            head[12] = 2;
            let _ = read(&mut Cursor::new(head));
        }
    }
}
