//! What is remembered of the last update, on the state partition: lines of `key value`.
//!
//! The update writes it, a trial adds what went wrong, and the system that runs after it says it.

use std::{fmt, fs, io, path::Path};

use super::version::Version;
use crate::slots::Slot;

/// The file below [`crate::paths::STATE_DIR`].
pub const FILE: &str = "update";

/// Why an update failed that was good, until somebody said `rollback`.
pub const ROLLED_BACK: &str = "rolled back by an operator";

/// What went wrong with a slot whose boot entry is lost ([`crate::slots::entry::Entry::is_lost`]), when nobody could say more.
pub const LOST: &str = "its root could not be read";

/// How the update went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is on the disk, and the boot loaders are told next.
    Written,
    /// It is in its slot, and has not run.
    Installed,
    /// It runs, or ran and did not get as far as being blessed.
    Trial,
    /// It was blessed.
    Good,
    /// The machine fell back from it.
    Failed,
}

impl Outcome {
    /// Whether nobody knows yet how it ends.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Written | Self::Installed | Self::Trial)
    }

    const ALL: [(Self, &'static str); 5] = [
        (Self::Written, "written"),
        (Self::Installed, "installed"),
        (Self::Trial, "trial"),
        (Self::Good, "good"),
        (Self::Failed, "failed"),
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, word)| word)
    }
}

/// The last update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The version that was installed.
    pub version: Version,
    /// Where.
    pub slot: Slot,
    /// How it went.
    pub outcome: Outcome,
    /// How often it was started.
    pub tries: u32,
    /// What went wrong at the last try, one line; empty when it ended without a word. Of a good one: with the other slot.
    pub why: String,
}

impl Record {
    /// A new update.
    #[must_use]
    pub const fn new(version: Version, slot: Slot) -> Self {
        Self { version, slot, outcome: Outcome::Written, tries: 0, why: String::new() }
    }

    /// Reads the text; `None` when it is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let outcome = value("outcome")?;
        Some(Self {
            version: value("version")?.parse().ok()?,
            slot: Slot::parse(value("slot")?)?,
            outcome: Outcome::ALL.into_iter().find(|(_, word)| *word == outcome)?.0,
            tries: value("tries")?.parse().ok()?,
            why: value("why").unwrap_or_default().to_owned(),
        })
    }

    /// Reads the record below `dir`; `None` when there is none.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(dir.join(FILE)).ok()?)
    }

    /// Writes it below `dir`, durably.
    ///
    /// # Errors
    /// When the state partition does not take it.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let part = dir.join("update.part");
        fs::write(&part, self.to_string())?;
        fs::File::open(&part)?.sync_all()?;
        fs::rename(part, dir.join(FILE))?;
        fs::File::open(dir)?.sync_all()
    }

    /// Deletes the record below `dir`, of an update that came to nothing and may be tried again.
    ///
    /// # Errors
    /// When the state partition does not take it.
    pub fn forget(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))
    }

    /// The last update for people: `1.2 in slot b: failed after 3 tries: nomad was not healthy`.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { version, slot, outcome, tries, why } = self;
        let text = match outcome {
            Outcome::Written => "not yet complete".to_owned(),
            Outcome::Installed => "boots next".to_owned(),
            Outcome::Trial => "on trial".to_owned(),
            Outcome::Good if why.is_empty() => "good".to_owned(),
            Outcome::Good => format!("good; {why}"),
            Outcome::Failed if why == ROLLED_BACK => why.clone(),
            Outcome::Failed => {
                let why = if why.is_empty() { "it ended without a word (panic, hang or power loss)" } else { why };
                let times = match tries {
                    0 => String::new(),
                    1 => " after 1 try".to_owned(),
                    many => format!(" after {many} tries"),
                };
                format!("failed{times}: {why}")
            }
        };
        format!("{version} in slot {slot}: {text}")
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, slot, outcome, tries, why } = self;
        let why = why.replace('\n', " ");
        writeln!(f, "version {version}\nslot {slot}\noutcome {}\ntries {tries}\nwhy {why}", outcome.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_survives_and_says_how_it_went() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()), None);
        let mut record = Record::new("1.2".parse().unwrap(), Slot::B);
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), record);
        assert_eq!(record.summary(), "1.2 in slot b: not yet complete");
        record.outcome = Outcome::Installed;
        assert_eq!(record.summary(), "1.2 in slot b: boots next");
        record = Record { outcome: Outcome::Failed, tries: 3, ..record };
        assert!(record.summary().starts_with("1.2 in slot b: failed after 3 tries: it ended without a word"));
        record.outcome = Outcome::Good;
        record.why = "slot a is not".into();
        assert_eq!(record.summary(), "1.2 in slot b: good; slot a is not");
        record.outcome = Outcome::Failed;
        record.why = ROLLED_BACK.into();
        assert_eq!(record.summary(), "1.2 in slot b: rolled back by an operator");
        record.why = "nomad is not healthy:\nno leader".into();
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap().why, "nomad is not healthy: no leader");
    }

    proptest! {
        #[test]
        fn any_text_is_a_record_or_not(text: String, why in "[ -~]{0,80}", tries: u32) {
            let _ = Record::parse(&text);
            let record = Record { why, tries, ..Record::new("1".parse().unwrap(), Slot::A) };
            prop_assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
    }
}
