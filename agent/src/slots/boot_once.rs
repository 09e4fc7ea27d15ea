//! The boot-once record of syslinux: what it boots at the next start, and at that start only.
//!
//! It is one item of the *auxiliary data vector*, the last two sectors of the installed `ldlinux.sys`, which are copies of each
//! other. Before it boots what the item says, syslinux deletes the item. Format, as syslinux 6.04 documents it in `core/adv.inc` and
//! `com32/include/syslinux/advconst.h`: two words of 32 bits (a signature, and a checksum with which the words up to the tail add up
//! to a constant), 500 bytes of items (tag, length, bytes; tag 0 ends them), and a tail signature.

/// Length of the vector: two copies of one sector.
pub const SIZE: usize = 2 * SECTOR;

const SECTOR: usize = 512;
const HEAD: u32 = 0x5a2d_2fa5;
const SUM: u32 = 0xa304_1767;
const TAIL: u32 = 0xdd28_bf64;
const BOOT_ONCE: u8 = 1;

/// A vector that boots `command` once: the name of a label, and more words for the kernel's command line. An empty command makes an
/// empty vector. `None` when it is longer than an item can be, 255 bytes.
#[must_use]
pub fn vector(command: &str) -> Option<[u8; SIZE]> {
    let length = u8::try_from(command.len()).ok()?;
    let mut sector = [0; SECTOR];
    if length > 0 {
        sector[8..10].copy_from_slice(&[BOOT_ONCE, length]);
        sector[10..10 + command.len()].copy_from_slice(command.as_bytes());
    }
    let sum = words(&sector[8..SECTOR - 4]).fold(SUM, u32::wrapping_sub);
    sector[..4].copy_from_slice(&HEAD.to_le_bytes());
    sector[4..8].copy_from_slice(&sum.to_le_bytes());
    sector[SECTOR - 4..].copy_from_slice(&TAIL.to_le_bytes());
    let mut vector = [0; SIZE];
    vector[..SECTOR].copy_from_slice(&sector);
    vector[SECTOR..].copy_from_slice(&sector);
    Some(vector)
}

/// Why bytes are not a vector of syslinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ldlinux.sys does not end in the record of syslinux: it was not installed, or is damaged")]
pub struct NoVector;

/// What is booted once, by the last bytes of `ldlinux.sys`. The second copy counts when the first is damaged, as for syslinux.
///
/// # Errors
/// When neither copy is sound.
pub fn command(vector: &[u8]) -> Result<Option<String>, NoVector> {
    let sector = vector.chunks_exact(SECTOR).take(2).find(|sector| is_sound(sector)).ok_or(NoVector)?;
    let mut items = &sector[8..SECTOR - 4];
    while let [tag, length, rest @ ..] = items
        && *tag != 0
    {
        let Some((item, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        if *tag == BOOT_ONCE {
            return Ok((!item.is_empty()).then(|| String::from_utf8_lossy(item).into_owned()));
        }
        items = rest;
    }
    Ok(None)
}

fn is_sound(sector: &[u8]) -> bool {
    let word = |at: usize| words(&sector[at..at + 4]).next();
    word(0) == Some(HEAD)
        && word(SECTOR - 4) == Some(TAIL)
        && words(&sector[4..SECTOR - 4]).fold(0, u32::wrapping_add) == SUM
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_vector_is_that_of_the_installer() {
        let empty = vector("").unwrap();
        // With no items the checksum is the constant itself.
        assert_eq!(empty[..8], [0xa5, 0x2f, 0x2d, 0x5a, 0x67, 0x17, 0x04, 0xa3]);
        assert_eq!(empty[508..512], [0x64, 0xbf, 0x28, 0xdd]);
        assert_eq!(empty[..512], empty[512..]);
        assert_eq!(command(&empty), Ok(None));
    }

    #[test]
    fn the_second_copy_serves_when_the_first_is_damaged() {
        let mut bytes = vector("b steppe.on-trial").unwrap();
        bytes[20] ^= 1;
        assert_eq!(command(&bytes).unwrap().as_deref(), Some("b steppe.on-trial"));
        bytes[512 + 20] ^= 1;
        assert_eq!(command(&bytes), Err(NoVector));
        assert_eq!(command(&[]), Err(NoVector));
        assert_eq!(vector(&"x".repeat(256)), None);
    }

    /// Makes both copies sound again after their items were changed.
    fn seal(mut items: [u8; 500]) -> Vec<u8> {
        let sum = words(&items).fold(SUM, u32::wrapping_sub);
        let mut sector = [&HEAD.to_le_bytes()[..], &sum.to_le_bytes(), &items, &TAIL.to_le_bytes()].concat();
        items.fill(0);
        sector.extend_from_within(..);
        sector
    }

    #[test]
    fn an_item_of_another_kind_is_passed_over() {
        let mut items = [0; 500];
        items[..6].copy_from_slice(&[2, 2, b'x', b'y', 1, 1]);
        items[6] = b'a';
        assert_eq!(command(&seal(items)).unwrap().as_deref(), Some("a"));
        // An item that reaches past the end ends the list.
        assert_eq!(command(&seal([0xff; 500])), Ok(None));
    }

    proptest! {
        #[test]
        fn a_command_is_read_back(text in "[ -~]{1,255}") {
            prop_assert_eq!(command(&vector(&text).unwrap()).unwrap(), Some(text));
        }

        #[test]
        fn any_bytes_are_a_vector_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..1100), items in proptest::collection::vec(any::<u8>(), 500)) {
            let _ = command(&bytes);
            prop_assert!(command(&seal(items.try_into().unwrap())).is_ok());
        }
    }
}
