//! Names of boot entries: `steppe-<generation>-<a|b>[+LEFT[-DONE]].efi`.
//!
//! The counter is that of the Boot Loader Specification ("Boot counting", <https://uapi-group.org/specifications/specs/boot_loader_specification/>):
//! `+3` may be tried three times, `+2-1` was tried once, `+0-3` is used up, and no counter means that the entry is proven.
//! systemd-boot renames the file before each try.

use std::fmt;

use super::Slot;

/// How often an entry on trial may be tried, and was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Tries left.
    pub left: u32,
    /// Tries made.
    pub done: u32,
}

impl Tries {
    /// What an update starts with.
    pub const NEW: Self = Self { left: 3, done: 0 };
}

/// A boot entry, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Counts up with every change of mind about what boots; the highest one boots.
    generation: u64,
    /// The slot it boots.
    pub slot: Slot,
    /// On trial, or proven.
    pub tries: Option<Tries>,
}

const PREFIX: &str = "steppe-";
const SUFFIX: &str = ".efi";
/// Digits of a generation: a fixed number, so that any order of names is the order of generations.
const DIGITS: usize = 10;

/// Where the digits of a generation stand in a name.
pub const GENERATION: std::ops::Range<usize> = PREFIX.len()..PREFIX.len() + DIGITS;

impl Entry {
    /// The highest generation that a name can hold. An update an hour would reach it in a million years.
    pub const MAX: u64 = 9_999_999_999;

    /// A proven entry.
    #[must_use]
    pub fn new(generation: u64, slot: Slot) -> Self {
        Self { generation: generation.min(Self::MAX), slot, tries: None }
    }

    /// The same entry on trial.
    #[must_use]
    pub const fn on_trial(self, tries: Tries) -> Self {
        Self { tries: Some(tries), ..self }
    }

    /// The same entry without a counter.
    #[must_use]
    pub const fn proven(self) -> Self {
        Self { tries: None, ..self }
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Reads a file name. `None` for names that are not of this form, which are nobody's business here.
    ///
    /// The name in capitals, as a FAT without long names would give it, is not accepted: nobody writes it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (id, counter) = stem.split_once('+').map_or((stem, None), |(id, counter)| (id, Some(counter)));
        let (generation, letter) = id.split_once('-')?;
        if generation.len() != DIGITS {
            return None;
        }
        let tries = match counter.map(|text| text.split_once('-').unwrap_or((text, "0"))) {
            Some((left, done)) => Some(Tries { left: number(left)?, done: number(done)? }),
            None => None,
        };
        Some(Self { generation: number(generation)?, slot: Slot::parse(letter)?, tries })
    }

    /// Whether the name carries a counter.
    #[must_use]
    pub const fn is_on_trial(&self) -> bool {
        self.tries.is_some()
    }

    /// Whether its root could not be read: it has the generation 0 then, so that the other slot boots.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.generation == 0
    }

    /// Whether no try is left: the entry failed.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        matches!(self.tries, Some(Tries { left: 0, .. }))
    }
}

/// A number of digits alone; `str::parse` takes a sign as well.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$}-{}", self.generation, self.slot)?;
        match self.tries {
            Some(Tries { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Tries { left, done }) => write!(f, "+{left}-{done}")?,
            None => {}
        }
        f.write_str(SUFFIX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn entries() -> impl Strategy<Value = Entry> {
        let tries = proptest::option::of((0..5u32, 0..5u32).prop_map(|(left, done)| Tries { left, done }));
        (0..=Entry::MAX, any::<bool>(), tries).prop_map(|(generation, a, tries)| Entry {
            generation,
            slot: if a { Slot::A } else { Slot::B },
            tries,
        })
    }

    #[test]
    fn names_are_as_systemd_boot_writes_them() {
        let entry = Entry::new(7, Slot::B);
        assert_eq!(entry.to_string(), "steppe-0000000007-b.efi");
        assert_eq!(entry.on_trial(Tries::NEW).to_string(), "steppe-0000000007-b+3.efi");
        let tried = Entry::parse("steppe-0000000007-b+2-1.efi").unwrap();
        assert_eq!(tried, entry.on_trial(Tries { left: 2, done: 1 }));
        assert!(!tried.is_used_up());
        assert!(Entry::parse("steppe-0000000007-b+0-3.efi").unwrap().is_used_up());
        assert_eq!(&entry.to_string()[GENERATION], "0000000007");
        assert!(!entry.is_lost() && Entry::parse("steppe-0000000000-b+3.efi").unwrap().is_lost());
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "",
            "steppe-7-a.efi",
            "steppe-0000000007-c.efi",
            "steppe-0000000007-a",
            "steppe-0000000007-a+.efi",
            "steppe-0000000007-a+3-.efi",
            "steppe-0000000007-a++3.efi",
            "steppe-0000000007-a+-3.efi",
            "steppe-0000000007-a+3-1-1.efi",
            "steppe-+000000007-a.efi",
            "steppe-0000000007-a+99999999999.efi",
            "fedora-0000000007-a.efi",
        ] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_says_all_of_an_entry(entry in entries()) {
            prop_assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
        }

        #[test]
        fn any_name_is_an_entry_or_not(name in "(steppe-)?[0-9]{0,12}-?[abc]?(\\+[0-9]{0,11})?(-[0-9]{0,11})?(\\.efi)?|.*") {
            if let Some(entry) = Entry::parse(&name) {
                prop_assert!(entry.generation() <= Entry::MAX);
                prop_assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
            }
        }
    }
}
