//! dm-verity: a root of which the kernel believes no block that is not the one that was built.
//!
//! The hash partition begins with the superblock of `veritysetup` (version 1), which the builder writes; the tree follows in
//! the next block. Only the root hash of the command line is believed: a superblock that says something else than the
//! builder's makes hashes that do not come out at it.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    dm::{self, DmError},
    gpt::Guid,
};

/// Bytes of a block of data, and of one of hashes.
const BLOCK: u64 = 4096;
/// Bytes of a sector of device-mapper, whatever the disk's are.
const SECTOR: u64 = 512;
/// The name of the device of the root.
const NAME: &str = "root";
/// Bytes of the superblock.
pub const SUPERBLOCK: usize = 512;

/// The root hash of the command line (`roothash=`), and the partitions that it names: their `PARTUUID`s are its first and its
/// last 128 bits (Discoverable Partitions Specification).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootHash {
    text: String,
    /// The partition of the root.
    pub data: Guid,
    /// The partition of its hashes.
    pub hashes: Guid,
}

impl RootHash {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (data, hashes) = text.as_bytes().split_at_checked(32)?;
        let (data, hashes) = (Guid::from_digits(data)?, Guid::from_digits(hashes)?);
        Some(Self { text: text.to_ascii_lowercase(), data, hashes })
    }
}

/// What the superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Blocks of the root, 4096 bytes each.
    pub blocks: u64,
    /// Hashed before every block.
    pub salt: Vec<u8>,
}

/// Reads a superblock.
///
/// # Errors
/// What about it is not as the builder writes it.
pub fn parse(bytes: &[u8]) -> Result<Superblock, &'static str> {
    let Ok(sb) = <&[u8; SUPERBLOCK]>::try_from(bytes) else { return Err("it is too short") };
    let u32_at = |at: usize| u32::from_le_bytes([sb[at], sb[at + 1], sb[at + 2], sb[at + 3]]);
    if sb[..8] != *b"verity\0\0" {
        return Err("it does not begin with a superblock of dm-verity");
    }
    if (u32_at(8), u32_at(12)) != (1, 1) {
        return Err("its superblock has another version");
    }
    if sb[32..64] != *b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" {
        return Err("its superblock names another algorithm than sha256");
    }
    if (u64::from(u32_at(64)), u64::from(u32_at(68))) != (BLOCK, BLOCK) {
        return Err("its superblock has other block sizes than 4096");
    }
    let blocks = u64::from(u32_at(76)) << 32 | u64::from(u32_at(72));
    if blocks == 0 || blocks > u64::MAX / BLOCK {
        return Err("its superblock has an impossible number of blocks");
    }
    let salt = usize::from(sb[81]) << 8 | usize::from(sb[80]);
    let salt = sb[88..344].get(..salt).ok_or("its superblock has an impossible salt")?;
    Ok(Superblock { blocks, salt: salt.to_vec() })
}

impl Superblock {
    /// The parameters of the kernel's target (`admin-guide/device-mapper/verity`).
    ///
    /// No options. A block that is not the one that was built is an I/O error, which init hears of ([`super::fallback`]): with
    /// `panic_on_corruption` nobody would be left to say that the other slot is to boot. Not `check_at_most_once`: whoever can change
    /// what the disk returns would only have to wait. Not `ignore_zero_blocks`: it would give zeros instead of a compressed root's
    /// blocks, of which none is zero.
    fn parameters(&self, data: &Path, hashes: &Path, root_hash: &RootHash) -> String {
        let (data, hashes, blocks) = (data.display(), hashes.display(), self.blocks);
        let mut text = format!("1 {data} {hashes} {BLOCK} {BLOCK} {blocks} 1 sha256 {} ", root_hash.text);
        if self.salt.is_empty() {
            text.push('-');
        }
        for byte in &self.salt {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Whether a block of the root was not the one that was built. What was said of it before this stage listened is not lost with that.
pub(super) fn is_corrupted() -> bool {
    // `V` for valid, `C` for corruption detected (`admin-guide/device-mapper/verity`, "Status").
    dm::status(NAME) == Some(b'C')
}

/// Why there is no verified device.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The hash partition cannot be read.
    #[error("failed to read {device}: {source}")]
    Read {
        /// The partition.
        device: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what the builder wrote.
    #[error(
        "{device} is not the hash tree of this root: {why}; write this slot of the disk anew, or start the other one"
    )]
    Superblock {
        /// The partition.
        device: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The kernel refused.
    #[error("failed to verify {data} by {hashes}: {source}; write this slot of the disk anew, or start the other one")]
    Device {
        /// The partition of the root.
        data: PathBuf,
        /// The partition of its hashes.
        hashes: PathBuf,
        /// Why.
        source: DmError,
    },
}

/// Makes the device that gives the blocks of `data` which `hashes` proves, and no others.
pub(super) fn open(data: &Path, hashes: &Path, root_hash: &RootHash) -> Result<PathBuf, VerityError> {
    let mut bytes = [0; SUPERBLOCK];
    let read = File::open(hashes).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| VerityError::Read { device: hashes.to_owned(), source })?;
    let superblock = parse(&bytes).map_err(|why| VerityError::Superblock { device: hashes.to_owned(), why })?;
    let parameters = superblock.parameters(data, hashes, root_hash);
    dm::create(NAME, superblock.blocks * (BLOCK / SECTOR), "verity", &parameters)
        .map_err(|source| VerityError::Device { data: data.to_owned(), hashes: hashes.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "598F3A882d4f8fb852b02bcc23437e51480d4d2bbb1e239125eb3b042ce21385";

    /// As `veritysetup format` of cryptsetup 2.6 writes it for 129 blocks and the salt 0102.
    fn superblock() -> [u8; SUPERBLOCK] {
        let mut sb = [0; SUPERBLOCK];
        sb[..8].copy_from_slice(b"verity\0\0");
        (sb[8], sb[12]) = (1, 1);
        sb[16..32].fill(7);
        sb[32..38].copy_from_slice(b"sha256");
        (sb[65], sb[69], sb[72], sb[80]) = (16, 16, 129, 2);
        sb[88..90].copy_from_slice(&[1, 2]);
        sb
    }

    #[test]
    fn the_superblock_becomes_a_table() {
        let parsed = parse(&superblock()).unwrap();
        assert_eq!(parsed, Superblock { blocks: 129, salt: vec![1, 2] });
        let hash = RootHash::parse(HASH).unwrap();
        assert_eq!(
            parsed.parameters(Path::new("/dev/vda2"), Path::new("/dev/vda3"), &hash),
            "1 /dev/vda2 /dev/vda3 4096 4096 129 1 sha256 \
             598f3a882d4f8fb852b02bcc23437e51480d4d2bbb1e239125eb3b042ce21385 0102"
        );
        let unsalted = Superblock { salt: Vec::new(), ..parsed }.parameters(Path::new("a"), Path::new("b"), &hash);
        assert!(unsalted.ends_with("2ce21385 -"), "{unsalted}");
    }

    #[test]
    fn another_superblock_is_refused_with_the_reason() {
        for (at, value, part) in [
            (0, 0, "does not begin"),
            (8, 2, "another version"),
            (12, 0, "another version"),
            (37, b'7', "another algorithm"),
            (38, b'x', "another algorithm"),
            (65, 32, "block sizes"),
            (69, 8, "block sizes"),
            (72, 0, "number of blocks"),
            (79, 0x10, "number of blocks"),
            (81, 2, "salt"),
        ] {
            let mut sb = superblock();
            sb[at] = value;
            let why = parse(&sb).unwrap_err();
            assert!(why.contains(part), "{at}: {why}");
        }
        assert!(parse(&superblock()[1..]).is_err());
    }

    #[test]
    fn the_root_hash_names_both_partitions() {
        let hash = RootHash::parse(HASH).unwrap();
        assert_eq!(hash.data.to_string(), "598f3a88-2d4f-8fb8-52b0-2bcc23437e51");
        assert_eq!(hash.hashes.to_string(), "480d4d2b-bb1e-2391-25eb-3b042ce21385");
        for wrong in ["", &HASH[1..], &format!("{HASH}0"), &HASH.replace('5', "g"), &format!("{}é", &HASH[2..])] {
            assert_eq!(RootHash::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes: [u8; SUPERBLOCK], keep in 0_usize..100) {
            let _ = parse(&bytes);
            bytes[..keep].copy_from_slice(&superblock()[..keep]);
            if let Ok(read) = parse(&bytes) {
                prop_assert!(read.salt.len() <= 256 && read.blocks.checked_mul(BLOCK).is_some());
            }
        }

        #[test]
        fn other_text_is_no_root_hash(text: String) {
            prop_assert_eq!(RootHash::parse(&text), None);
        }
    }
}
