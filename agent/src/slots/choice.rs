//! Which entry boots next, and the renames that change it.
//!
//! systemd-boot's order (`src/boot/boot.c`, `boot_entry_compare`; Boot Loader Specification, "Sorting"): entries that are used up
//! come last; then by sort key and version of the os-release in the image; then by name without its counter, the higher first.
//! **The images of Steppe name neither a sort key nor a version there** (their `.osrel` section has no `ID`, `IMAGE_ID`,
//! `VERSION_ID`, `IMAGE_VERSION` or `BUILD_ID`), so that the generation in the name decides alone: a rollback is a higher generation of
//! an older version.

use std::cmp::Reverse;

use super::{
    Slot,
    entry::{Entry, Tries},
};

/// A new name for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename {
    /// What it is called. Counters are written in one way only, so this is the name of the file.
    pub from: Entry,
    /// What it is called from now on.
    pub to: Entry,
}

/// Why there is nothing to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// The other slot has no entry.
    #[error("slot {0} is empty: there is no earlier system to go back to")]
    Empty(Slot),
    /// The other slot never proved itself.
    #[error("the system in slot {0} never became healthy: install it again with `update` if it is wanted")]
    Unproven(Slot),
    /// Its root has blocks that are not those that were built.
    #[error("the root in slot {0} could not be read: write that slot anew with `update`")]
    Lost(Slot),
}

/// Sorts as systemd-boot does: the first one boots.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| (entry.is_used_up(), Reverse((entry.generation(), entry.slot))));
}

/// The entry that boots next.
#[must_use]
pub fn next(entries: &[Entry]) -> Option<Entry> {
    let mut entries = entries.to_vec();
    sort(&mut entries);
    entries.first().copied()
}

/// The entry of a slot. Should a power cut have left two, the one that would boot.
#[must_use]
pub fn of(entries: &[Entry], slot: Slot) -> Option<Entry> {
    let entries: Vec<Entry> = entries.iter().copied().filter(|entry| entry.slot == slot).collect();
    next(&entries)
}

/// A generation above all others.
fn newest(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::generation).max().unwrap_or(0).saturating_add(1)
}

/// The entry of an update that was written to `slot`: it boots next, and has three tries.
#[must_use]
pub fn update(entries: &[Entry], slot: Slot) -> Entry {
    Entry::new(newest(entries), slot).on_trial(Tries::NEW)
}

/// The entry's trial is over: it is proven. `None` when it was before.
#[must_use]
pub fn bless(entry: Entry) -> Option<Rename> {
    entry.is_on_trial().then_some(Rename { from: entry, to: entry.proven() })
}

/// The entry's trial is over: it failed, and is not to be tried again. systemd-boot comes to this by counting; under BIOS the system that
/// the machine fell back to says it. `None` when it is proven or was used up before.
#[must_use]
pub fn give_up(entry: Entry) -> Option<Rename> {
    let tries = entry.tries.filter(|tries| tries.left > 0)?;
    Some(Rename { from: entry, to: entry.on_trial(Tries { left: 0, done: tries.done.max(1) }) })
}

/// The slot beside the running one boots from now on, without a trial: it was proven before.
///
/// # Errors
/// When the other slot holds nothing that ever worked.
pub fn rollback(entries: &[Entry], running: Slot) -> Result<Rename, RollbackError> {
    let slot = running.other();
    let from = of(entries, slot).ok_or(RollbackError::Empty(slot))?;
    if from.is_on_trial() {
        return Err(RollbackError::Unproven(slot));
    }
    if from.is_lost() {
        return Err(RollbackError::Lost(slot));
    }
    Ok(Rename { from, to: Entry::new(newest(entries), slot) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::entry::tests::entries, *};

    fn names(list: &[&str]) -> Vec<Entry> {
        list.iter().map(|name| Entry::parse(name).unwrap()).collect()
    }

    #[test]
    fn the_newest_boots_and_the_used_up_one_does_not() {
        let mut list = names(&["steppe-0000000001-a.efi", "steppe-0000000002-b+3.efi"]);
        assert_eq!(next(&list).unwrap().slot, Slot::B);
        list[1] = Entry::parse("steppe-0000000002-b+0-3.efi").unwrap();
        assert_eq!(next(&list).unwrap().slot, Slot::A);
        // When nothing else is left, even that is tried.
        assert_eq!(next(&list[1..]).unwrap().slot, Slot::B);
        assert_eq!(next(&[]), None);
    }

    #[test]
    fn an_update_is_tried_then_blessed_then_rolled_back() {
        let mut list = names(&["steppe-0000000001-a.efi"]);
        list.push(update(&list, Slot::B));
        assert_eq!(list[1].to_string(), "steppe-0000000002-b+3.efi");
        assert_eq!(rollback(&list, Slot::A), Err(RollbackError::Unproven(Slot::B)));
        list[1] = bless(list[1]).unwrap().to;
        assert_eq!(list[1].to_string(), "steppe-0000000002-b.efi");
        assert_eq!(bless(list[1]), None);
        let back = rollback(&list, Slot::B).unwrap();
        assert_eq!(back.to.to_string(), "steppe-0000000003-a.efi");
        list[0] = back.to;
        assert_eq!(next(&list).unwrap().slot, Slot::A);
        assert_eq!(rollback(&list[..1], Slot::A), Err(RollbackError::Empty(Slot::B)));
        list[1] = Entry::new(0, Slot::B);
        assert_eq!(rollback(&list, Slot::A), Err(RollbackError::Lost(Slot::B)));
    }

    proptest! {
        #[test]
        fn what_is_changed_boots_next(list in proptest::collection::vec(entries(), 0..4)) {
            for slot in Slot::ALL {
                // At the end of all generations, a million years away, nothing is newer.
                prop_assume!(list.iter().all(|entry| entry.generation() < Entry::MAX));
                let mut changed = list.clone();
                changed.push(update(&list, slot));
                prop_assert_eq!(next(&changed), changed.last().copied());
                if let Ok(rename) = rollback(&list, slot) {
                    let mut changed = list.clone();
                    for entry in &mut changed {
                        if *entry == rename.from {
                            *entry = rename.to;
                        }
                    }
                    prop_assert_eq!(next(&changed), Some(rename.to));
                    prop_assert_eq!(rename.to.slot, slot.other());
                }
            }
        }

        #[test]
        fn a_failed_entry_gives_way_to_a_proven_one(generation in 1..Entry::MAX) {
            let old = Entry::new(generation - 1, Slot::A);
            let trial = Entry::new(generation, Slot::B).on_trial(Tries::NEW);
            let failed = give_up(trial).unwrap().to;
            prop_assert_eq!(next(&[old, trial]), Some(trial));
            prop_assert_eq!(next(&[old, failed]), Some(old));
            prop_assert_eq!(give_up(failed), None);
            prop_assert_eq!(give_up(old), None);
        }
    }
}
