//! What of a disk has to be stored: the stretches that are not zeros, and all of it as one stream.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::{content::Digest, disk::Disk};

/// Blocks that are looked at for zeros: pages and the blocks of most file systems.
const BLOCK: usize = 4096;

/// Whether all bytes are zero. Compared as memory, which is quick in a build for debugging, too.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(|block| block == &[0; BLOCK][..block.len()])
}

/// The stretches of a disk that are not all zeros, with their offsets, ascending. They are looked for in steps of 4096
/// bytes from the start of each extent.
pub fn runs(disk: &Disk) -> impl Iterator<Item = (u64, &[u8])> {
    disk.extents.iter().flat_map(|(at, bytes)| {
        let mut start = 0;
        std::iter::from_fn(move || {
            let length = |bytes: &[u8], zeros: bool| {
                bytes.chunks(BLOCK).take_while(|block| is_zero(block) == zeros).map(<[u8]>::len).sum::<usize>()
            };
            start += length(&bytes[start..], true);
            let run = &bytes[start..start + length(&bytes[start..], false)];
            let place = at + start as u64;
            start += run.len();
            (!run.is_empty()).then_some((place, run))
        })
    })
}

/// The bytes of a disk, front to back.
pub fn reader(disk: &Disk) -> impl Read + '_ {
    Reader { disk, at: 0, next: 0 }
}

struct Reader<'a> {
    disk: &'a Disk,
    at: u64,
    /// The first extent that is not behind `at`.
    next: usize,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let extent = loop {
            match self.disk.extents.get(self.next) {
                Some((at, bytes)) if at + bytes.len() as u64 <= self.at => self.next += 1,
                other => break other,
            }
        };
        let (zeros_end, bytes) = match extent {
            Some((at, bytes)) if *at <= self.at => (0, &bytes[index(self.at - at)..]),
            Some((at, _)) => (*at, &[][..]),
            None => (self.disk.size, &[][..]),
        };
        let length = if bytes.is_empty() {
            let length = buffer.len().min(index(zeros_end.saturating_sub(self.at)));
            buffer[..length].fill(0);
            length
        } else {
            let length = buffer.len().min(bytes.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            length
        };
        self.at += length as u64;
        Ok(length)
    }
}

/// A digest over what is stored of a disk and where, for the identifiers that some formats want: other disks, other
/// identifiers. It is not the digest of the raw disk, which takes reading all its zeros.
#[must_use]
pub fn fingerprint(disk: &Disk) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(disk.size.to_le_bytes());
    for (at, bytes) in runs(disk) {
        hasher.update(at.to_le_bytes());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    Digest::from_bytes(hasher.finalize().into())
}

/// Extents are in memory, and what exceeds it is cut to a buffer's length anyway.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flat(disk: &Disk) -> Vec<u8> {
        let mut all = vec![0; index(disk.size)];
        for (at, bytes) in &disk.extents {
            all[index(*at)..index(*at) + bytes.len()].copy_from_slice(bytes);
        }
        all
    }

    proptest! {
        #[test]
        fn runs_and_reader_give_the_disk(
            parts in prop::collection::vec((0usize..3, prop_oneof![Just(0u8), any::<u8>()], 1usize..20_000), 0..8),
            tail in 0u64..10_000,
        ) {
            let (mut extents, mut at) = (Vec::new(), 0);
            for (gap, byte, length) in parts {
                at += gap as u64 * 512;
                let mut bytes = vec![byte; length];
                // A hole in the middle, when there is a middle.
                bytes[length / 3..length * 2 / 3].fill(0);
                extents.push((at, bytes));
                at += (length as u64).next_multiple_of(512);
            }
            let disk = Disk { size: at + tail, extents };
            let wanted = flat(&disk);
            let mut read = Vec::new();
            reader(&disk).read_to_end(&mut read).unwrap();
            prop_assert!(read == wanted);
            let mut built = vec![0; wanted.len()];
            let mut end = 0;
            for (at, bytes) in runs(&disk) {
                prop_assert!(at >= end && bytes.chunks(BLOCK).all(|block| block.iter().any(|byte| *byte != 0)));
                end = at + bytes.len() as u64;
                built[index(at)..index(end)].copy_from_slice(bytes);
            }
            prop_assert!(built == wanted);
        }
    }

    #[test]
    fn other_disks_have_other_fingerprints() {
        let disk = |size, at, byte| fingerprint(&Disk { size, extents: vec![(at, vec![byte; 4096])] });
        let first = disk(1 << 20, 0, 1);
        assert_eq!(first, fingerprint(&Disk { size: 1 << 20, extents: vec![(0, vec![1; 4096]), (8192, vec![0; 99])] }));
        for other in [disk(2 << 20, 0, 1), disk(1 << 20, 4096, 1), disk(1 << 20, 0, 2)] {
            assert_ne!(first, other);
        }
    }
}
