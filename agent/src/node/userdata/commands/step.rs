//! What recognised commands ask of the machine, as data.

use serde::Serialize;

use super::{edit::Edit, text::Text};

/// One thing to do, in the order of the commands. All are made to be repeated: every boot does them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `mkdir`.
    MakeDirectory {
        /// Where.
        path: String,
        /// Whether those above are made and it may exist.
        parents: bool,
        /// `-m`.
        mode: Option<u32>,
    },
    /// `touch`.
    Touch {
        /// Which file.
        path: String,
    },
    /// `chown`, `chgrp`.
    Own {
        /// What.
        path: Places,
        /// Name or number.
        user: Option<String>,
        /// Name or number.
        group: Option<String>,
    },
    /// `chmod`.
    Mode {
        /// What.
        path: Places,
        /// How.
        change: Mode,
    },
    /// `ln -s`.
    Link {
        /// What the link says.
        target: String,
        /// The link.
        path: String,
    },
    /// `cp`.
    Copy {
        /// What.
        from: String,
        /// Where to; into it when it is a directory.
        to: String,
        /// Directories as well.
        recursive: bool,
    },
    /// `mv`.
    Move {
        /// What.
        from: String,
        /// Where to; into it when it is a directory.
        to: String,
    },
    /// `rm`.
    Remove {
        /// What.
        path: Places,
    },
    /// `echo ... > FILE` and its relatives.
    Write {
        /// The file.
        path: String,
        /// What goes in.
        content: Text,
        /// `>>`.
        append: bool,
    },
    /// `sed -i`.
    Edit {
        /// The file.
        path: String,
        /// What is replaced.
        edits: Vec<Edit>,
    },
    /// `sysctl -w`.
    Sysctl {
        /// `vm.max_map_count`.
        key: String,
        /// Its value.
        value: String,
    },
    /// `sysctl --system`, `sysctl -p FILE`.
    SysctlFiles {
        /// The file; without, `/etc/sysctl.d/*.conf` and `/etc/sysctl.conf`.
        path: Option<String>,
    },
    /// `modprobe`.
    Module {
        /// Its name.
        name: String,
    },
}

/// A path, and what below it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Places {
    /// The path.
    pub path: String,
    /// It was written `PATH/*`: what is in the directory, not the directory.
    pub children: bool,
    /// Everything below as well (`-R`).
    pub recursive: bool,
}

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In octal.
    Set(u32),
    /// Symbolic clauses, in order.
    Change(Vec<Clause>),
}

/// `u+x`, `go=r`, `+X`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The bits of the classes that are meant, `0o700`, `0o070` and `0o007` together.
    classes: u32,
    /// `+`, `-` or `=`.
    action: char,
    /// `rwx` as 4, 2 and 1.
    bits: u32,
    /// `X`: execution for directories and for what somebody may execute already.
    conditional: bool,
}

impl Mode {
    /// Reads the first argument of `chmod(1)`; set-id and sticky bits in octal only.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Set);
        }
        text.split(',').map(clause).collect::<Option<Vec<_>>>().map(Self::Change)
    }

    /// The new permissions of a file that had `old`.
    #[must_use]
    pub fn apply(&self, old: u32, directory: bool) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Change(clauses) => clauses.iter().fold(old, |mode, clause| {
                let mut bits = clause.bits;
                if clause.conditional && (directory || mode & 0o111 != 0) {
                    bits |= 1;
                }
                let mask = (bits | bits << 3 | bits << 6) & clause.classes;
                match clause.action {
                    '+' => mode | mask,
                    '-' => mode & !mask,
                    _ => mode & !clause.classes | mask,
                }
            }),
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let class = |c: char| match c {
        'u' => Some(0o700),
        'g' => Some(0o070),
        'o' => Some(0o007),
        'a' => Some(0o777),
        _ => None,
    };
    let classes = text[..at].chars().try_fold(0, |all, c| Some(all | class(c)?))?;
    let mut clause = Clause {
        classes: if classes == 0 { 0o777 } else { classes },
        action: text[at..].chars().next()?,
        bits: 0,
        conditional: false,
    };
    for c in text[at + 1..].chars() {
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.conditional = true,
            _ => return None,
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn modes_in_both_notations() {
        let apply = |text: &str, old| Mode::parse(text).map(|mode| mode.apply(old, false));
        assert_eq!(apply("0640", 0o777), Some(0o640));
        assert_eq!(apply("+x", 0o640), Some(0o751));
        assert_eq!(apply("u+rwx,go-rwx", 0o644), Some(0o700));
        assert_eq!(apply("a=r", 0o777), Some(0o444));
        assert_eq!((apply("u+X", 0o644), apply("u+X", 0o654)), (Some(0o644), Some(0o754)));
        assert_eq!(Mode::parse("u+X").unwrap().apply(0o600, true), 0o700);
        for text in ["", "9", "17777", "u", "u+s", "z+x", "+", "u+x,"] {
            assert!(Mode::parse(text).is_none() || text == "+", "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_mode_or_none(text: String, old in 0_u32..0o10000) {
            if let Some(mode) = Mode::parse(&text) {
                prop_assert!(mode.apply(old, true) <= 0o7777);
            }
        }
    }
}
