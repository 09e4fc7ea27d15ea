//! What the firmware starts: files of the boot partition, and what is in those that are unified kernel images.

use std::io;

use object::{LittleEndian, Object as _, ObjectSection as _, read::pe::PeFile64};
use serde::Serialize;

use crate::{content::Digest, fat::Reader};

/// A file of the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootFile {
    /// Its path, without a slash in front.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Digest,
    /// The release, of a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is in it, of a unified kernel image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uki: Option<Uki>,
}

impl BootFile {
    /// Looks at the bytes of a file.
    #[must_use]
    pub fn new(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            version: version(bytes),
            uki: uki(bytes),
        }
    }
}

/// A unified kernel image, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uki {
    /// Name, bytes and digest of each section that is not the stub's own code.
    pub sections: Vec<Section>,
    /// The kernel command line.
    pub cmdline: String,
    /// The kernel's release.
    pub uname: String,
    /// Whether it has a signature for Secure Boot. Whose, and whether it is good, is the firmware's to say.
    pub signed: bool,
}

/// A section of a unified kernel image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its name, with the dot.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Digest,
}

/// What a boot partition has.
#[derive(Debug, Default)]
pub struct Boot {
    /// Its files, by path.
    pub files: Vec<BootFile>,
    /// Bytes of it that are in use.
    pub used: u64,
    /// The initramfs of the first unified kernel image. Of the others there are the digests: nobody asks for more, and they may be many.
    pub initrd: Option<Vec<u8>>,
}

/// Reads a FAT volume.
///
/// # Errors
/// When it is no FAT volume, or a damaged one.
pub fn read(volume: &[u8]) -> io::Result<Boot> {
    let reader = Reader::new(volume)?;
    let mut boot = Boot { used: reader.used(), ..Boot::default() };
    for (path, bytes) in reader.files()? {
        let file = BootFile::new(&path, &bytes);
        if file.uki.is_some() && boot.initrd.is_none() {
            boot.initrd = Some(initrd(&bytes).to_vec());
        }
        boot.files.push(file);
    }
    Ok(boot)
}

/// The release of a kernel; nothing when the bytes are none ("The Linux/x86 Boot Protocol": `kernel_version`).
fn version(bytes: &[u8]) -> Option<String> {
    let header = bytes.get(0x202..0x210)?;
    header.starts_with(b"HdrS").then_some(())?;
    let at = 0x200 + usize::from(u16::from_le_bytes(header[12..].try_into().ok()?));
    let text = bytes.get(at..)?.split(|byte| *byte == 0).next()?;
    let release = std::str::from_utf8(text.get(..text.len().min(200))?).ok()?.split(' ').next()?;
    (!release.is_empty()).then(|| release.to_owned())
}

/// Bytes of a command line or release that are kept; the kernel takes 2048 of them.
const LONGEST: usize = 64 << 10;

/// A section of a PE image.
fn section<'a>(file: &PeFile64<'a>, name: &str) -> Option<&'a [u8]> {
    let section = file.section_by_name(name)?;
    // The file may hold less than the section has, or padding behind it.
    let data = section.data().ok()?;
    Some(&data[..data.len().min(usize::try_from(section.size()).unwrap_or(usize::MAX))])
}

/// The initramfs in a unified kernel image; nothing when there is none.
#[must_use]
pub fn initrd(uki: &[u8]) -> &[u8] {
    PeFile64::parse(uki).ok().and_then(|file| section(&file, ".initrd")).unwrap_or_default()
}

/// What is in a unified kernel image; nothing when the bytes are none.
#[must_use]
pub fn uki(bytes: &[u8]) -> Option<Uki> {
    let file = PeFile64::parse(bytes).ok()?;
    let section = |name: &str| section(&file, name);
    section(".linux")?;
    let text = |name| {
        let text = section(name).map(|text| String::from_utf8_lossy(&text[..text.len().min(LONGEST)]).into_owned());
        text.map(|text| text.trim_end_matches(['\0', '\n']).to_owned())
    };
    let one = |name: &str| {
        section(name).map(|data| Section { name: name.to_owned(), size: data.len() as u64, sha256: Digest::of(data) })
    };
    // "Certificate Table" is the fifth of the optional header's directories.
    let directories = file.data_directories();
    let signed = directories.get(4).is_some_and(|table| table.size.get(LittleEndian) > 0);
    Some(Uki {
        sections: [".osrel", ".cmdline", ".uname", ".initrd", ".linux"].into_iter().filter_map(one).collect(),
        cmdline: text(".cmdline").unwrap_or_default(),
        uname: text(".uname").unwrap_or_default(),
        signed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fat::{File, Identity, Volume},
        fixture,
        uki::{self, Parts},
    };

    #[test]
    fn of_many_initramfs_one_is_kept() {
        let uki = |initrd: &[u8]| {
            let parts = Parts { os_release: "", cmdline: "quiet", uname: "6.1", initrd, linux: b"linux", time: 1 };
            uki::assemble(&fixture::stub(), &parts).unwrap()
        };
        let (first, second) = (uki(&[1; 5000]), uki(&[2; 9000]));
        let files = [File::new("a loader", b"MZ"), File::new("b.efi", &first), File::new("c.efi", &second)];
        let volume = Volume::make(36 << 20, Identity { label: [b' '; 11], id: 1 }, &files).unwrap();
        let boot = read(&volume.bytes).unwrap();
        assert_eq!(boot.initrd.as_deref(), Some(&[1; 5000][..]));
        let digests: Vec<_> =
            boot.files.iter().filter_map(|file| file.uki.as_ref()).map(|uki| &uki.sections[3]).collect();
        assert_eq!(
            digests.iter().map(|one| (one.name.as_str(), one.size)).collect::<Vec<_>>(),
            [(".initrd", 5000), (".initrd", 9000)]
        );
        let long =
            Parts { os_release: "", cmdline: &"x".repeat(LONGEST + 1), uname: "", initrd: b"", linux: b"", time: 1 };
        let long = super::uki(&uki::assemble(&fixture::stub(), &long).unwrap()).unwrap();
        assert_eq!((long.cmdline.len(), long.sections[1].size), (LONGEST, LONGEST as u64 + 1));
        assert_eq!((initrd(&second), initrd(b"MZ")), (&[2; 9000][..], &[][..]));
    }
}
