//! Small made-up inputs for tests: packages, programs, kernel modules.

use std::io::Write as _;

/// A member of a made-up package.
pub(crate) enum Member<'a> {
    File(&'a str, u32, &'a [u8]),
    Symlink(&'a str, &'a str),
    HardLink(&'a str, &'a str),
}

/// A Debian package `p` of version `1`, the members of which are compressed as `compression` says (`.xz`).
pub(crate) fn deb(compression: &str, time: u64, members: &[Member<'_>]) -> Vec<u8> {
    package("p", "1", compression, time, members)
}

/// Another package.
pub(crate) fn package(name: &str, version: &str, compression: &str, time: u64, members: &[Member<'_>]) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
    let control = compressed(compression, tar(&[Member::File("control", 0o644, control.as_bytes())]));
    let data = compressed(compression, tar(members));
    let mut archive = ar::Builder::new(Vec::new());
    let [of_control, of_data] = ["control.tar", "data.tar"].map(|name| format!("{name}{compression}"));
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), (&of_control, &control), (&of_data, &data)] {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mtime(time);
        header.set_mode(0o644);
        archive.append(&header, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A tape archive.
pub(crate) fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let (path, bytes): (&str, &[u8]) = match member {
            Member::File(path, mode, bytes) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                (path, bytes)
            }
            Member::Symlink(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
                (path, &[])
            }
            Member::HardLink(path, target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_link_name(format!("./{target}")).unwrap();
                (path, &[])
            }
        };
        // Not set_path: it refuses the climbing paths that a test needs.
        let name = format!("./{path}");
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn compressed(compression: &str, tar: Vec<u8>) -> Vec<u8> {
    match compression {
        ".xz" => xz(&tar),
        ".zst" => zstd::encode_all(&tar[..], 1).unwrap(),
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        _ => tar,
    }
}

/// xz-compressed `bytes`.
pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn section(name: u32, kind: u32, at: usize, size: usize, link: u32, entry: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for value in [name, kind] {
        out.extend(value.to_le_bytes());
    }
    for value in [0u64, 0, at as u64, size as u64] {
        out.extend(value.to_le_bytes());
    }
    out.extend(link.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(entry.to_le_bytes());
    out
}

fn header(kind: u16, segments: u16, sections_at: usize, sections: u16, names: u16) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for value in [kind, 62] {
        out.extend(value.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for value in [0u64, if segments == 0 { 0 } else { 64 }, sections_at as u64] {
        out.extend(value.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for value in [64, 56, segments, 64, sections, names] {
        out.extend(value.to_le_bytes());
    }
    out
}

/// An ELF program or library that needs what is named.
pub(crate) fn elf(interpreter: Option<&str>, libraries: &[&str]) -> Vec<u8> {
    let segments = u16::from(interpreter.is_some());
    let mut body = Vec::new();
    let base = 64 + usize::from(segments) * 56;
    let mut table = Vec::new();
    if let Some(path) = interpreter {
        body.extend(path.as_bytes());
        body.push(0);
        table.extend(3u32.to_le_bytes());
        table.extend(4u32.to_le_bytes());
        let size = path.len() as u64 + 1;
        for value in [base as u64, 0, 0, size, size, 1] {
            table.extend(value.to_le_bytes());
        }
    }
    let strings_at = base + body.len();
    let mut strings = vec![0u8];
    let mut dynamic = Vec::new();
    for library in libraries {
        dynamic.extend(1u64.to_le_bytes());
        dynamic.extend((strings.len() as u64).to_le_bytes());
        strings.extend(library.as_bytes());
        strings.push(0);
    }
    dynamic.extend([0; 16]);
    body.extend(&strings);
    body.resize(body.len().next_multiple_of(8), 0);
    let dynamic_at = base + body.len();
    body.extend(&dynamic);
    let names = b"\0.dynstr\0.dynamic\0.shstrtab\0";
    let names_at = base + body.len();
    body.extend(names);
    body.resize((base + body.len()).next_multiple_of(8) - base, 0);
    let sections_at = base + body.len();
    let mut out = header(2, segments, sections_at, 4, 3);
    out.extend(table);
    out.extend(body);
    out.extend([0; 64]);
    out.extend(section(1, 3, strings_at, strings.len(), 0, 0));
    out.extend(section(9, 6, dynamic_at, dynamic.len(), 1, 16));
    out.extend(section(18, 3, names_at, names.len(), 0, 0));
    out
}

/// A kernel module with the text of its `.modinfo`.
pub(crate) fn kernel_module(info: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut body = info.as_bytes().to_vec();
    let names_at = 64 + body.len();
    body.extend(names);
    body.resize(body.len().next_multiple_of(8), 0);
    let mut out = header(1, 0, 64 + body.len(), 3, 2);
    out.extend(body);
    out.extend([0; 64]);
    out.extend(section(1, 1, 64, info.len(), 0, 0));
    out.extend(section(10, 3, names_at, names.len(), 0, 0));
    out
}

/// A PE image like systemd's stub: one section, room for more headers.
pub(crate) fn stub() -> Vec<u8> {
    let mut out = vec![0; 0x400];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x40;
    out[0x40..0x44].copy_from_slice(b"PE\0\0");
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes());
    put(0x48, &0x1234_5678u32.to_le_bytes());
    put(0x54, &0xf0u16.to_le_bytes());
    put(0x56, &0x22u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 32, &0x1000u32.to_le_bytes());
    put(optional + 36, &0x200u32.to_le_bytes());
    put(optional + 56, &0x2000u32.to_le_bytes());
    put(optional + 60, &0x400u32.to_le_bytes());
    put(optional + 64, &0xdead_beefu32.to_le_bytes());
    put(optional + 68, &10u16.to_le_bytes());
    put(optional + 108, &16u32.to_le_bytes());
    let table = optional + 0xf0;
    put(table, b".text\0\0\0");
    put(table + 8, &0x100u32.to_le_bytes());
    put(table + 12, &0x1000u32.to_le_bytes());
    put(table + 16, &0x200u32.to_le_bytes());
    put(table + 20, &0x400u32.to_le_bytes());
    put(table + 36, &0x6000_0020u32.to_le_bytes());
    out.resize(0x600, 0xcc);
    out
}

/// Where the boot sector of [`syslinux`] has the place of its loader.
pub(crate) const SECTOR_POINTER: usize = 0x100;

/// A program like syslinux's installer: the boot programs in its data, and what it needs to know to install them.
pub(crate) fn syslinux() -> Vec<u8> {
    let mut sector = [0xb0; 512];
    sector[..11].copy_from_slice(b"\xeb\x58\x90SYSLINUX");
    sector[0x1f8..].copy_from_slice(b"\xfe\x02\xb2\x3e\x18\x37\x55\xaa");
    let mut loader = vec![0; 1536];
    let mut put = |at: usize, bytes: &[u8]| loader[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\r\nSYSLINUX 6.04 \0\r\n\x1a");
    put(24, b"\xfe\x02\xb2\x3e");
    put(24 + 22, &64u16.to_le_bytes());
    // Record, directory and its room, subvolume and its room, pieces and their number, the places in the boot sector.
    for (index, value) in [128u16, 160, 64, 0, 0, 256, 4, 0x100, 0x106, 0x110].into_iter().enumerate() {
        put(64 + 2 * index, &value.to_le_bytes());
    }
    let mut module = b"\x7fELF\x01\x01\x01".to_vec();
    module.resize(100, 0x4d);
    module[32..36].copy_from_slice(&60u32.to_le_bytes());
    module[46..50].copy_from_slice(&[40, 0, 1, 0]);
    let data = [&[0; 48], &sector[..], &loader, &module, b"rest"].concat();
    let names = b"\0.data\0.shstrtab\0";
    let mut body = data.clone();
    body.extend(names);
    body.resize(body.len().next_multiple_of(8), 0);
    let mut out = header(3, 0, 64 + body.len(), 3, 2);
    out.extend(body);
    out.extend([0; 64]);
    out.extend(section(1, 1, 64, data.len(), 0, 0));
    out.extend(section(7, 3, 64 + data.len(), names.len(), 0, 0));
    out
}
