//! Directory records, and names in them.

/// Midnight of 1980-01-01: the same input must give the same bytes.
const RECORD_TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

/// The system use sharing protocol is in use (IEEE P1281, `SP`).
pub(super) const SHARING: &[u8] = &[b'S', b'P', 7, 1, 0xbe, 0xef, 0];

/// Its extension is Rock Ridge (`ER`, with an identifier of 10 characters and neither description nor source).
pub(super) const EXTENSION: &[u8] = b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A";

/// Mode, links, user 0 and group 0 (IEEE P1282, `PX`).
pub(super) fn permissions(mode: u32, links: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(b"PX\x24\x01");
    bytes[4..12].copy_from_slice(&both32(mode));
    bytes[12..20].copy_from_slice(&both32(links));
    bytes
}

/// The name as it is (`NM`).
pub(super) fn real_name(name: &str) -> Vec<u8> {
    // Names have at most 64 characters, so that the length fits.
    let length = u8::try_from(5 + name.len()).unwrap_or(u8::MAX);
    [&[b'N', b'M', length, 1, 0], name.as_bytes()].concat()
}

/// The name with capitals, digits and underscores alone, at most 28 of them, one dot and the version: what a reader without
/// extensions sees.
pub(super) fn plain_name(name: &str) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{}.{};1", legal(stem, 25), legal(extension, 3))
}

/// Capitals, digits and underscores alone, at most so many.
pub(super) fn legal(text: &str, longest: usize) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    text.chars().take(longest).map(legal).collect()
}

/// A directory record (ECMA-119, section 9.1).
pub(super) fn record(name: &[u8], place: u32, length: u32, directory: bool, system_use: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(place));
    bytes.extend(both32(length));
    bytes.extend(RECORD_TIME);
    bytes.extend([if directory { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    // Names have at most 64 characters of two bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(system_use);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    bytes
}

/// A number in both byte orders.
pub(super) fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

pub(super) fn both16(value: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&value.to_le_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}
