//! What becomes of a trial: `bless` proves the slot that runs, and `settle` finds out how the last update ended when nobody did.
//!
//! Decisions by the EFI system partition, the record, and the slot that runs: nothing else is looked at, and each step may be the last one
//! before the power fails.

use super::{
    esp::{Esp, EspError},
    record::{self, Outcome, Record},
};
use crate::slots::{
    Slot, choice, config,
    entry::{Entry, Tries},
};

/// How the last update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was cut off at its end. It is complete now, and boots next, on trial.
    Completed,
    /// It was cut off before it could boot.
    CutOff,
    /// It runs, and is proven.
    Good,
    /// It runs, and nobody has proven it.
    Unproven,
    /// The machine fell back from it.
    Failed,
}

/// The slot that runs has proven itself. `false` when it had before: nothing is changed then, for what waits in the other slot to be tried
/// is not the business of `bless`.
///
/// # Errors
/// When the ESP does not take it.
pub(super) fn bless(esp: &Esp, running: Slot) -> Result<bool, EspError> {
    bless_up_to(esp, running, usize::MAX)
}

/// The same with so many of its steps, for tests of power cuts.
fn bless_up_to(esp: &Esp, running: Slot, steps: usize) -> Result<bool, EspError> {
    let rename = choice::of(&esp.entries()?, running).and_then(choice::bless);
    if rename.is_none() && (!esp.has_syslinux() || esp.default_slot() == Some(running)) {
        return Ok(false);
    }
    // Under BIOS the default makes it count, under UEFI the name.
    let all: [&dyn Fn() -> Result<(), EspError>; 3] =
        [&|| esp.set_default(running), &|| esp.boot_once(""), &|| rename.map_or(Ok(()), |rename| esp.apply(&rename))];
    all.into_iter().take(steps).try_for_each(|step| step())?;
    Ok(true)
}

/// Finds out how the update of `record` ended, in a boot that is not its trial, and leaves the boot entries and the record so.
///
/// # Errors
/// When the ESP does not take it.
pub(super) fn settle(esp: &Esp, record: &mut Record, running: Slot) -> Result<Ending, EspError> {
    let entries = esp.entries()?;
    let entry = choice::of(&entries, running.other());
    if record.slot == running {
        return settle_running(esp, record, choice::of(&entries, running), entry);
    }
    // Under BIOS the power failed between the last two steps: the entry is there, and nothing has tried it.
    if record.outcome == Outcome::Written && entry.is_some_and(|entry| entry.tries == Some(Tries::NEW)) {
        esp.boot_once(&config::trial(record.slot))?;
        record.outcome = Outcome::Installed;
        return Ok(Ending::Completed);
    }
    let entry = give_up(esp, record.slot)?;
    if entry.is_none() && matches!(record.outcome, Outcome::Written | Outcome::Installed) {
        return Ok(Ending::CutOff);
    }
    if entry.is_some_and(|entry| entry.is_lost()) {
        if record.outcome == Outcome::Good {
            (record.tries, record.why) = (0, String::new());
        }
        if record.why.is_empty() {
            record::LOST.clone_into(&mut record.why);
        }
    }
    record.outcome = Outcome::Failed;
    record.tries = entry.and_then(|entry| entry.tries).map_or(0, |tries| tries.done).max(record.tries);
    Ok(Ending::Failed)
}

/// The same where what was installed last is what runs; `own` is its entry, `other` that of the other slot.
fn settle_running(
    esp: &Esp,
    record: &mut Record,
    own: Option<Entry>,
    other: Option<Entry>,
) -> Result<Ending, EspError> {
    if let Some(rename) = own.and_then(choice::bless) {
        // syslinux boots by itself what was blessed alone: the power failed before the name said it as well.
        if esp.default_slot() != Some(record.slot) {
            record.outcome = Outcome::Trial;
            return Ok(Ending::Unproven);
        }
        esp.apply(&rename)?;
    }
    record.outcome = Outcome::Good;
    record.why = match other {
        Some(other) if other.is_lost() => {
            format!("the machine fell back to it from slot {}: {}", other.slot, record::LOST)
        }
        _ => String::new(),
    };
    Ok(Ending::Good)
}

/// The entry of a slot is not to be tried again; gives it, as it is then.
///
/// # Errors
/// When the ESP does not take it.
pub(super) fn give_up(esp: &Esp, slot: Slot) -> Result<Option<Entry>, EspError> {
    let entry = choice::of(&esp.entries()?, slot);
    let rename = entry.and_then(choice::give_up);
    esp.boot_once("")?;
    rename.map(|rename| esp.apply(&rename)).transpose()?;
    Ok(rename.map(|rename| rename.to).or(entry))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        slots,
        update::esp::{fixture, once},
    };

    /// A disk whose slot `tried` holds an update, beside a proven system.
    struct Machine {
        dir: tempfile::TempDir,
        esp: Esp,
        bios: bool,
        record: Record,
    }

    impl Machine {
        fn new(tried: Slot, bios: bool, outcome: Outcome) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let esp = fixture(dir.path());
            if tried == Slot::A {
                let entries = dir.path().join(slots::ENTRIES);
                fs::rename(entries.join("steppe-0000000001-a.efi"), entries.join("steppe-0000000001-b.efi")).unwrap();
                esp.set_default(Slot::B).unwrap();
            }
            let entry = choice::update(&esp.entries().unwrap(), tried);
            fs::write(dir.path().join(slots::ENTRIES).join(entry.to_string()), "new").unwrap();
            esp.boot_once(&config::trial(tried)).unwrap();
            let record = Record { outcome, ..Record::new("2.0".parse().unwrap(), tried) };
            Self { dir, esp, bios, record }
        }

        fn own(&self, slot: Slot) -> Option<Entry> {
            choice::of(&self.esp.entries().unwrap(), slot)
        }

        /// What the boot loaders do; gives the slot that runs then, and whether it is on trial.
        fn boot(&self) -> (Slot, bool) {
            if self.bios {
                let command = once(self.dir.path());
                self.esp.boot_once("").unwrap();
                let slot = command.as_deref().and_then(|command| Slot::parse(command.split(' ').next()?));
                return (slot.or(self.esp.default_slot()).unwrap(), slot.is_some());
            }
            let entry = choice::next(&self.esp.entries().unwrap()).unwrap();
            if let Some(Tries { left, done }) = entry.tries {
                let to = entry.on_trial(Tries { left: left.saturating_sub(1), done: done + 1 });
                self.esp.apply(&choice::Rename { from: entry, to }).unwrap();
            }
            (entry.slot, entry.is_on_trial())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Wherever `bless` is cut, the machine ends with a proven entry for what runs: one that takes the next update.
        #[test]
        fn a_cut_bless_leaves_a_slot_to_update_from(a: bool, bios: bool, steps in 0..4_usize) {
            let tried = if a { Slot::A } else { Slot::B };
            let mut machine = Machine::new(tried, bios, Outcome::Trial);
            prop_assert_eq!(machine.boot(), (tried, true));
            bless_up_to(&machine.esp, tried, steps).unwrap();
            let (running, on_trial) = machine.boot();
            if on_trial {
                bless(&machine.esp, running).unwrap();
            } else {
                let ending = settle(&machine.esp, &mut machine.record, running).unwrap();
                prop_assert_eq!(ending, if running == tried { Ending::Good } else { Ending::Failed });
                prop_assert_eq!(machine.record.outcome == Outcome::Good, running == tried);
            }
            prop_assert!(!machine.own(running).unwrap().is_on_trial());
            prop_assert_eq!(machine.boot(), (running, false));
            prop_assert!(running == tried || (bios && steps == 0), "a system that was healthy is kept");
        }
    }

    #[test]
    fn a_proven_slot_is_not_blessed_again() {
        for bios in [false, true] {
            let machine = Machine::new(Slot::B, bios, Outcome::Installed);
            let before = machine.esp.entries().unwrap();
            assert!(!bless(&machine.esp, Slot::A).unwrap());
            assert_eq!(machine.esp.entries().unwrap(), before);
            assert_eq!(machine.boot(), (Slot::B, true), "the update is still the next to boot");
            assert!(bless(&machine.esp, Slot::B).unwrap());
            assert!(!bless(&machine.esp, Slot::B).unwrap());
        }
        // By its name it is proven, and syslinux boots the other one: a rollback was cut off, and UEFI did not see it.
        let machine = Machine::new(Slot::B, false, Outcome::Good);
        machine.esp.set_default(Slot::B).unwrap();
        assert!(bless(&machine.esp, Slot::A).unwrap());
        assert_eq!(machine.esp.default_slot(), Some(Slot::A));
        // A disk that only UEFI boots.
        for path in [slots::SYSLINUX_CFG, slots::LDLINUX_SYS] {
            fs::remove_file(machine.dir.path().join(path)).unwrap();
        }
        assert!(!bless(&machine.esp, Slot::A).unwrap());
        assert!(bless(&machine.esp, Slot::B).unwrap());
    }

    #[test]
    fn who_was_not_blessed_is_not_good() {
        // As when the boot loader could not count: nobody knew that it was a trial.
        let mut machine = Machine::new(Slot::B, false, Outcome::Installed);
        let before = machine.own(Slot::B);
        assert_eq!(settle(&machine.esp, &mut machine.record, Slot::B).unwrap(), Ending::Unproven);
        assert_eq!((machine.own(Slot::B), machine.record.outcome), (before, Outcome::Trial));
        // Nor on a disk that only UEFI boots.
        fs::remove_file(machine.dir.path().join(slots::SYSLINUX_CFG)).unwrap();
        assert_eq!(settle(&machine.esp, &mut machine.record, Slot::B).unwrap(), Ending::Unproven);
    }

    #[test]
    fn an_update_that_was_cut_off_is_completed_or_forgotten() {
        let mut machine = Machine::new(Slot::B, true, Outcome::Written);
        machine.esp.boot_once("").unwrap();
        assert_eq!(settle(&machine.esp, &mut machine.record, Slot::A).unwrap(), Ending::Completed);
        assert_eq!(machine.record.outcome, Outcome::Installed);
        assert_eq!(machine.boot(), (Slot::B, true));
        for outcome in [Outcome::Written, Outcome::Installed] {
            let mut machine = Machine::new(Slot::B, true, outcome);
            fs::remove_file(machine.dir.path().join("EFI/Linux/steppe-0000000002-b+3.efi")).unwrap();
            assert_eq!(settle(&machine.esp, &mut machine.record, Slot::A).unwrap(), Ending::CutOff);
            assert_eq!(once(machine.dir.path()), None);
        }
    }

    #[test]
    fn a_fall_back_is_told_with_its_reason() {
        let mut machine = Machine::new(Slot::B, false, Outcome::Trial);
        (0..3).for_each(|_| assert_eq!(machine.boot(), (Slot::B, true)));
        assert_eq!(machine.boot(), (Slot::A, false));
        machine.record.why = "no leader".into();
        assert_eq!(settle(&machine.esp, &mut machine.record, Slot::A).unwrap(), Ending::Failed);
        assert_eq!(machine.record.summary(), "2.0 in slot b: failed after 3 tries: no leader");

        // A proven slot whose root could not be read, from both sides.
        let mut machine = Machine::new(Slot::B, false, Outcome::Good);
        let lost = choice::Rename { from: machine.own(Slot::B).unwrap(), to: Entry::new(0, Slot::B) };
        machine.esp.apply(&lost).unwrap();
        machine.record.why = "slot a is not".into();
        let mut own = Record { slot: Slot::A, ..machine.record.clone() };
        assert_eq!(settle(&machine.esp, &mut machine.record, Slot::A).unwrap(), Ending::Failed);
        assert_eq!(machine.record.summary(), format!("2.0 in slot b: failed: {}", record::LOST));
        assert_eq!(settle(&machine.esp, &mut own, Slot::A).unwrap(), Ending::Good);
        assert!(own.why.contains("fell back to it from slot b"));
    }
}
