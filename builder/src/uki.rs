//! Unified kernel images: systemd's EFI stub with kernel, initramfs and command line as PE sections.
//!
//! Sections are those of the UAPI group's specification. `.linux` stands last, because the kernel decompresses in place
//! and needs room after itself. Headers are patched on the raw bytes: no tool, and the same bytes every time.

/// What goes into the image besides the stub.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The text of os-release.
    pub os_release: &'a str,
    /// The kernel command line.
    pub cmdline: &'a str,
    /// The kernel's release.
    pub uname: &'a str,
    /// The initramfs.
    pub initrd: &'a [u8],
    /// The kernel.
    pub linux: &'a [u8],
    /// Time stamp, seconds since 1970.
    pub time: u32,
}

/// Initialised data, readable.
const CHARACTERISTICS: u32 = 0x4000_0040;
const SECTION_HEADER: usize = 40;
/// "FileAlignment" is a power of two from 512 to 64 KiB.
const LARGEST_ALIGNMENT: u32 = 64 << 10;

/// Appends the parts to the stub.
///
/// # Errors
/// When the stub is not a PE32+ image, or has no room for the section headers.
pub fn assemble(stub: &[u8], parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let mut out = stub.to_vec();
    let pe = word(&out, 0x3c)? as usize;
    if out.get(pe..pe + 4) != Some(b"PE\0\0") {
        return Err(UkiError::Stub("it has no PE header"));
    }
    let optional = pe + 24;
    if half(&out, optional)? != 0x20b {
        return Err(UkiError::Stub("it is not a 64-bit image"));
    }
    let count = usize::from(half(&out, pe + 6)?);
    let table = optional + usize::from(half(&out, pe + 20)?);
    let section_alignment = word(&out, optional + 32)?.max(4096);
    let file_alignment = word(&out, optional + 36)?;
    let headers_end = word(&out, optional + 60)? as usize;
    if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
        return Err(UkiError::Stub("its alignments are not powers of two"));
    }
    // The image is filled up to whole units of it.
    if file_alignment > LARGEST_ALIGNMENT {
        return Err(UkiError::Stub("its sections are further apart than the format allows"));
    }

    let added: [(&[u8; 8], &[u8]); 5] = [
        (b".osrel\0\0", parts.os_release.as_bytes()),
        (b".cmdline", parts.cmdline.as_bytes()),
        (b".uname\0\0", parts.uname.as_bytes()),
        (b".initrd\0", parts.initrd),
        (b".linux\0\0", parts.linux),
    ];
    // The first section's data is the true limit: SizeOfHeaders may claim more than there is.
    let mut first_data = headers_end;
    let mut end = 0;
    for index in 0..count {
        let header = table + index * SECTION_HEADER;
        let name = out.get(header..header + 8).unwrap_or_default();
        if let Some((clash, _)) = added.iter().find(|(added, _)| added.as_slice() == name) {
            return Err(UkiError::Section(String::from_utf8_lossy(*clash).trim_end_matches('\0').to_owned()));
        }
        end = end.max(word(&out, header + 12)?.saturating_add(word(&out, header + 8)?));
        if word(&out, header + 16)? > 0 {
            first_data = first_data.min(word(&out, header + 20)? as usize);
        }
    }
    if table + (count + added.len()) * SECTION_HEADER > first_data {
        return Err(UkiError::Room);
    }

    let mut initialised = word(&out, optional + 8)?;
    for (index, (name, bytes)) in added.iter().enumerate() {
        let too_large = || UkiError::Large(String::from_utf8_lossy(*name).trim_end_matches('\0').to_owned());
        out.resize(out.len().next_multiple_of(file_alignment as usize), 0);
        let at = u32::try_from(out.len()).map_err(|_| too_large())?;
        let size = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        let address = end.checked_next_multiple_of(section_alignment).ok_or_else(too_large)?;
        let raw = size.checked_next_multiple_of(file_alignment).ok_or_else(too_large)?;
        end = address.checked_add(size).ok_or_else(too_large)?;
        initialised = initialised.checked_add(raw).ok_or_else(too_large)?;
        let mut header = name.to_vec();
        for value in [size, address, raw, at, 0, 0, 0, CHARACTERISTICS] {
            header.extend(value.to_le_bytes());
        }
        let place = table + (count + index) * SECTION_HEADER;
        out[place..place + SECTION_HEADER].copy_from_slice(&header);
        out.extend_from_slice(bytes);
    }
    out.resize(out.len().next_multiple_of(file_alignment as usize), 0);

    let sections = u16::try_from(count + added.len()).map_err(|_| UkiError::Room)?;
    out[pe + 6..pe + 8].copy_from_slice(&sections.to_le_bytes());
    let image_end = end.checked_next_multiple_of(section_alignment).ok_or(UkiError::Room)?;
    for (at, value) in [
        (pe + 8, parts.time),
        (optional + 8, initialised),
        (optional + 56, image_end),
        // The checksum: firmware does not look at it, and zero says "none".
        (optional + 64, 0),
    ] {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(out)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, UkiError> {
    let found = at.checked_add(4).and_then(|end| bytes.get(at..end)).and_then(|b| b.try_into().ok());
    found.map(u32::from_le_bytes).ok_or(UkiError::Stub("it is cut short"))
}

fn half(bytes: &[u8], at: usize) -> Result<u16, UkiError> {
    let found = at.checked_add(2).and_then(|end| bytes.get(at..end)).and_then(|b| b.try_into().ok());
    found.map(u16::from_le_bytes).ok_or(UkiError::Stub("it is cut short"))
}

/// Why no unified kernel image can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UkiError {
    /// The stub is not what it should be.
    #[error("failed to use the EFI stub of systemd-boot-efi: {0}")]
    Stub(&'static str),
    /// A section is there already.
    #[error("the EFI stub of systemd-boot-efi already has a section {0}")]
    Section(String),
    /// No room for more headers.
    #[error("the EFI stub of systemd-boot-efi has no room for five more section headers")]
    Room,
    /// A part is too large.
    #[error("section {0} is too large for a PE image")]
    Large(String),
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _};
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    const PARTS: Parts<'_> = Parts {
        os_release: "ID=steppe\n",
        cmdline: "root=x",
        uname: "6.1",
        initrd: &[1; 5000],
        linux: &[2; 700],
        time: 42,
    };

    #[test]
    fn another_reader_finds_every_section() {
        let image = assemble(&fixture::stub(), &PARTS).unwrap();
        let file = object::read::pe::PeFile64::parse(&*image).unwrap();
        let names: Vec<_> = file.sections().map(|s| s.name().unwrap().to_owned()).collect();
        assert_eq!(names, [".text", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
        let data = |name| {
            let section = file.section_by_name(name).unwrap();
            section.data().unwrap()[..usize::try_from(section.size()).unwrap().min(section.data().unwrap().len())]
                .to_vec()
        };
        assert_eq!(data(".cmdline"), b"root=x");
        assert_eq!(data(".initrd"), PARTS.initrd);
        assert_eq!(data(".linux"), PARTS.linux);
        let mut last = 0;
        for section in file.sections() {
            assert!(section.address() >= last && section.address().is_multiple_of(4096));
            last = section.address() + section.size();
        }
        let header = file.nt_headers();
        assert_eq!(header.file_header.time_date_stamp.get(object::LittleEndian), 42);
        assert_eq!(header.optional_header.check_sum.get(object::LittleEndian), 0);
        assert_eq!(
            u64::from(header.optional_header.size_of_image.get(object::LittleEndian)),
            last.next_multiple_of(4096)
        );
    }

    #[test]
    fn a_stub_that_is_none() {
        assert!(matches!(assemble(b"MZ", &PARTS), Err(UkiError::Stub(_))));
        let image = assemble(&fixture::stub(), &PARTS).unwrap();
        assert_eq!(assemble(&image, &PARTS), Err(UkiError::Section(".osrel".into())));
        // A gigabyte between the sections.
        let mut stub = fixture::stub();
        stub[0x58 + 36..0x58 + 40].copy_from_slice(&(1u32 << 30).to_le_bytes());
        assert!(assemble(&stub, &PARTS).unwrap_err().to_string().contains("further apart"));
    }

    proptest! {
        #[test]
        fn a_damaged_stub_never_panics(at in 0usize..0x200, value: u8, length in 0usize..0x600) {
            let mut stub = fixture::stub();
            stub[at] = value;
            let _ = assemble(&stub, &PARTS);
            let _ = assemble(&stub[..length], &PARTS);
        }
    }
}
