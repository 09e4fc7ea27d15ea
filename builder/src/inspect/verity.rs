//! The hash tree of a root, checked block by block.

use serde::Serialize;
use uuid::Uuid;

use crate::{content::Digest, verity};

/// A hash tree that was found, and what came of checking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verity {
    /// The root hash that follows from the root's bytes.
    pub root_hash: Digest,
    /// Salt, in hexadecimal.
    pub salt: String,
    /// Bytes of data that it covers.
    pub data: u64,
    /// What is wrong; empty when every block has the hash that the tree says.
    pub wrong: Vec<String>,
}

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    salt: Vec<u8>,
    uuid: Uuid,
    /// Bytes of data.
    pub data: u64,
}

/// The superblock that a hash partition begins with (`struct verity_sb` of cryptsetup); nothing when there is none, or
/// one with other parameters than the builder's.
#[must_use]
pub fn superblock(start: &[u8]) -> Option<Superblock> {
    let number = |at: usize| Some(u32::from_le_bytes(start.get(at..at + 4)?.try_into().ok()?));
    let blocks = u64::from_le_bytes(start.get(72..80)?.try_into().ok()?);
    let salt_size = usize::from(u16::from_le_bytes(start.get(80..82)?.try_into().ok()?));
    let block = u32::try_from(verity::BLOCK).ok()?;
    let known = start.starts_with(b"verity\0\0")
        && (number(8)?, number(12)?, number(64)?, number(68)?) == (1, 1, block, block)
        && start.get(32..64)?.strip_prefix(verity::ALGORITHM.as_bytes())?.iter().all(|&byte| byte == 0)
        && salt_size <= 256;
    known.then_some(())?;
    Some(Superblock {
        salt: start.get(88..88 + salt_size)?.to_vec(),
        uuid: Uuid::from_slice(start.get(16..32)?).ok()?,
        data: blocks.checked_mul(u64::from(block))?,
    })
}

/// The root hash that a build gives to a root of these bytes.
#[must_use]
pub fn root_hash(root: &[u8]) -> Digest {
    verity::tree(root, &verity::Parameters::of(root)).root_hash
}

impl Superblock {
    /// Makes the tree of `data` anew and holds it against the one in `stored`, the bytes of the hash partition.
    #[must_use]
    pub fn check(&self, data: &[u8], stored: &[u8]) -> Verity {
        let made = verity::tree(data, &verity::Parameters { salt: self.salt.clone(), uuid: self.uuid });
        let mut wrong = Vec::new();
        let stored = stored.get(..made.bytes.len()).unwrap_or(stored);
        let differs = made.bytes.chunks(verity::BLOCK).zip(stored.chunks(verity::BLOCK)).position(|(a, b)| a != b);
        if let Some(block) = differs {
            wrong.push(format!("the hash tree is not that of the root: its block {block} differs"));
        } else if stored.len() != made.bytes.len() {
            wrong.push("the hash tree is cut short".to_owned());
        }
        Verity { root_hash: made.root_hash, salt: crate::content::hex(&self.salt), data: self.data, wrong }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flipped_bit_is_found() {
        let mut data = vec![7; 20 * verity::BLOCK];
        let tree = verity::tree(&data, &verity::Parameters::of(&data));
        let found = superblock(&tree.bytes).unwrap();
        assert_eq!(found.data, data.len() as u64);
        let good = found.check(&data, &tree.bytes);
        assert_eq!((good.root_hash, good.wrong.len()), (tree.root_hash, 0));
        data[9 * verity::BLOCK] ^= 1;
        assert_eq!(found.check(&data, &tree.bytes).wrong.len(), 1);
    }

    proptest! {
        #[test]
        fn damage_never_panics(mut start in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
            if magic && start.len() > 8 {
                start[..8].copy_from_slice(b"verity\0\0");
            }
            let _ = superblock(&start);
        }
    }
}
