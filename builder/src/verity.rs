//! The hash tree of the root (dm-verity): what lets the kernel refuse every block that is not the one that was built.
//!
//! Written by hand after the kernel's `admin-guide/device-mapper/verity` and the on-disk format of `veritysetup` (version 1, hash
//! type 1): a superblock, then the levels of the tree, the top one first. Each hash is over the salt and a block, and fills
//! its part of a block of the next level; the hash of the topmost block is the root hash, which the kernel command line names.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::content::Digest;

/// Bytes of a block, of data and of hashes. The kernel allows no larger one than a page.
pub const BLOCK: usize = 4096;
/// The only algorithm used, as the kernel names it.
pub const ALGORITHM: &str = "sha256";
/// Hashes in one block of the tree.
const FAN: usize = BLOCK / 32;

/// The root hash of some data and the contents of its hash partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What the kernel command line says.
    pub root_hash: Digest,
    /// Superblock and tree, whole blocks.
    pub bytes: Vec<u8>,
}

/// What goes into the hashes and the superblock besides the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Hashed before every block; at most 256 bytes.
    pub salt: Vec<u8>,
    /// Names the tree; nothing depends on it.
    pub uuid: Uuid,
}

impl Parameters {
    /// Those that follow from the data alone, so that the same data always have the same root hash. The salt keeps hashes
    /// of the same block in two images apart.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        let digest = Digest::of(data);
        let salt = Digest::of(format!("steppe verity salt {digest}").as_bytes());
        Self { salt: salt.bytes().to_vec(), uuid: crate::disk::identifier(digest, "verity") }
    }
}

/// Bytes of the hash partition for `data` bytes of data.
#[must_use]
pub fn size(data: u64) -> u64 {
    let block = BLOCK as u64;
    let mut level = data.div_ceil(block);
    let mut blocks = 1;
    while level > 1 {
        level = level.div_ceil(FAN as u64);
        blocks += level;
    }
    blocks * block
}

/// Makes the tree of `data`. The last block counts as filled up with zeros, as it is on the disk.
#[must_use]
pub fn tree(data: &[u8], parameters: &Parameters) -> Tree {
    let salted = Sha256::new_with_prefix(&parameters.salt);
    let hash = |block: &[u8]| -> [u8; 32] {
        let mut hasher = salted.clone();
        hasher.update(block);
        if block.len() < BLOCK {
            hasher.update(&[0; BLOCK][block.len()..]);
        }
        hasher.finalize().into()
    };
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut hashes: Vec<[u8; 32]> = data.chunks(BLOCK).map(hash).collect();
    while hashes.len() > 1 {
        let mut level = hashes.concat();
        level.resize(level.len().next_multiple_of(BLOCK), 0);
        hashes = level.chunks(BLOCK).map(hash).collect();
        levels.push(level);
    }
    let mut bytes = superblock(parameters, data.len().div_ceil(BLOCK) as u64);
    bytes.resize(BLOCK, 0);
    levels.iter().rev().for_each(|level| bytes.extend(level));
    // Without data there is nothing to verify; the hash of nothing is as good as any.
    let root_hash = Digest::from(hashes.first().copied().unwrap_or_else(|| hash(&[])));
    Tree { root_hash, bytes }
}

/// `struct verity_sb` of cryptsetup, 512 bytes.
fn superblock(parameters: &Parameters, blocks: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let block = u32::try_from(BLOCK).unwrap_or(0).to_le_bytes();
    put(0, b"verity\0\0");
    put(8, &1u32.to_le_bytes());
    put(12, &1u32.to_le_bytes());
    put(16, parameters.uuid.as_bytes());
    put(32, ALGORITHM.as_bytes());
    put(64, &block);
    put(68, &block);
    put(72, &blocks.to_le_bytes());
    put(80, &u16::try_from(parameters.salt.len()).unwrap_or(0).to_le_bytes());
    put(88, &parameters.salt);
    bytes
}

/// Identifiers of the partitions of data and hashes, as the Discoverable Partitions Specification derives them from the root
/// hash: its first and its last 128 bits. So they are found by the root hash alone, in whichever slot they lie.
#[must_use]
pub fn partition_ids(root_hash: Digest) -> (Uuid, Uuid) {
    let number = u128::from_be_bytes;
    let (mut first, mut last) = ([0; 16], [0; 16]);
    first.copy_from_slice(&root_hash.bytes()[..16]);
    last.copy_from_slice(&root_hash.bytes()[16..]);
    (Uuid::from_u128(number(first)), Uuid::from_u128(number(last)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(salt: &[u8]) -> Parameters {
        Parameters { salt: salt.to_vec(), uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888) }
    }

    fn data(blocks: usize) -> Vec<u8> {
        (0..blocks * BLOCK).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 7 & 0xff).unwrap()).collect()
    }

    /// Reads `data` through the tree as the kernel does, from the root hash down; false at the first hash that is wrong.
    fn verifies(data: &[u8], tree: &[u8], salt: &[u8], root_hash: Digest) -> bool {
        let mut counts = vec![data.len().div_ceil(BLOCK)];
        while counts.last().is_some_and(|count| *count > 1) {
            counts.push(counts.last().unwrap().div_ceil(FAN));
        }
        let mut expected = vec![*root_hash.bytes()];
        let mut at = BLOCK;
        let hash = |block: &[u8]| -> [u8; 32] { Sha256::digest([salt, block].concat()).into() };
        for count in counts.iter().skip(1).rev() {
            let level = &tree[at..at + count * BLOCK];
            if level.chunks(BLOCK).map(hash).ne(expected.iter().copied().take(*count)) {
                return false;
            }
            expected = level.chunks(32).map(|hash| hash.try_into().unwrap()).collect();
            at += count * BLOCK;
        }
        at == tree.len() && data.chunks(BLOCK).map(hash).eq(expected.iter().copied().take(counts[0]))
    }

    #[test]
    fn known_trees_of_veritysetup() {
        let salt: Vec<u8> = (0..32).collect();
        for (blocks, salt, root_hash, file) in [
            (
                1,
                &[][..],
                "1827960109680466ca2f8264e6f11b02da28000f17c69b503123aed18eddf627",
                "2bbe5770932fad50c1c2f40c654ede6812ea9727b7a6622196ca1a7742bf098f",
            ),
            (
                2,
                &[1, 2],
                "d212d266848eb805bd4a5cee08b9a389d58e04236a33765a52558c622dd88c16",
                "e826f349e15904a9892feececa6f29bd1317f5f8afa9d1365743103516163d47",
            ),
            (
                129,
                &salt[..],
                "598f3a882d4f8fb852b02bcc23437e51480d4d2bbb1e239125eb3b042ce21385",
                "903871ca47e5c9053df85afed456b774e7dc8d52fdca91f8409576bfa2d76dbf",
            ),
        ] {
            let tree = tree(&data(blocks), &parameters(salt));
            assert_eq!(tree.root_hash.hex(), root_hash, "{blocks} blocks");
            assert_eq!(Digest::of(&tree.bytes).hex(), file, "{blocks} blocks");
        }
    }

    #[test]
    fn identifiers_are_the_halves_of_the_root_hash() {
        let hash = Digest::parse("598f3a882d4f8fb852b02bcc23437e51480d4d2bbb1e239125eb3b042ce21385").unwrap();
        let (data, hashes) = partition_ids(hash);
        assert_eq!(data.to_string(), "598f3a88-2d4f-8fb8-52b0-2bcc23437e51");
        assert_eq!(hashes.to_string(), "480d4d2b-bb1e-2391-25eb-3b042ce21385");
    }

    #[test]
    fn the_parameters_follow_from_the_data() {
        let of = |bytes: &[u8]| Parameters::of(bytes);
        assert_eq!(of(b"a"), of(b"a"));
        assert_ne!(of(b"a").salt, of(b"b").salt);
        assert_ne!(of(b"a").uuid, of(b"b").uuid);
        assert_ne!(of(b"a").salt, Digest::of(b"a").bytes(), "the salt is no digest that stands elsewhere");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn every_block_is_reached_from_the_root(
            blocks in prop_oneof![1_usize..5, 126_usize..131, 16_383_usize..16_387], short in 0_usize..BLOCK, salt: Vec<u8>,
        ) {
            let salt = &salt[..salt.len().min(256)];
            // No two blocks are alike.
            let mut bytes: Vec<u8> = (0..blocks as u64).flat_map(|n| n.to_le_bytes().repeat(BLOCK / 8)).collect();
            bytes.truncate(bytes.len() - short);
            let tree = tree(&bytes, &parameters(salt));
            prop_assert_eq!(tree.bytes.len() as u64, size(bytes.len() as u64));
            bytes.resize(blocks * BLOCK, 0);
            prop_assert!(verifies(&bytes, &tree.bytes, salt, tree.root_hash));
        }

        #[test]
        fn a_flipped_bit_is_another_root(at in 0_usize..300 * BLOCK, bit in 0_u8..8) {
            let mut bytes = data(300);
            let whole = tree(&bytes, &parameters(b"x"));
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(tree(&bytes, &parameters(b"x")).root_hash, whole.root_hash);
            prop_assert!(!verifies(&bytes, &whole.bytes, b"x", whole.root_hash));
        }
    }
}
