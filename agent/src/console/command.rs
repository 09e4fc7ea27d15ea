//! What a person may type.

/// Lines of a log that are shown when no number is given.
pub const DEFAULT_LINES: usize = 30;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An empty line.
    Nothing,
    /// What there is.
    Help,
    /// How the node is.
    Status,
    /// The last lines of a log.
    Log {
        /// The unit, or `kernel`.
        unit: String,
        /// How many.
        lines: usize,
        /// Of the boot before this one.
        previous: bool,
    },
    /// What the node was told to be.
    Plan,
    /// What runs.
    Ps,
    /// What listens.
    Ports,
    /// What is mounted.
    Mounts,
    /// What the kernel was told, and obeys.
    Kernel,
    /// Nomad's own command line.
    Nomad(Vec<String>),
    /// A job of [`crate::update`]: its name and its arguments.
    Update(String),
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    Poweroff,
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A quotation mark without its second one.
    #[error("the quotation mark {0} is not closed")]
    Quote(char),
    /// No such command.
    #[error("there is no command {0:?}: type help")]
    Unknown(String),
    /// The command needs something else.
    #[error("usage: {0}")]
    Usage(&'static str),
}

/// What `help` prints.
pub const HELP: &str = "\
status             role, name, addresses, Nomad, what is awaited, findings, boot phases
log UNIT [N]       the last N lines of a unit's output: nomad, node, ...
log kernel [N]     the last N lines of the kernel's log, where init and node write
log --previous ... the same of the boot before this one; with the kernel's last words when it died
plan               what this node was told to be
ps                 what runs, besides the kernel's threads
ports              what listens
mounts             what is mounted, and how
kernel             the kernel's command line, and its settings beside those of the image
nomad ARGUMENTS    Nomad's own command line; Ctrl-C ends it
update SOURCE      write the signed update from a file or an http:// address into the idle slot;
                   --older before it: also when its version is older
rollback           restart into the system of the other slot
bless              end the trial of this system: it boots from now on
reboot             stop everything and restart
poweroff           stop everything and switch off
";

/// Reads a line.
///
/// # Errors
/// When it is no command.
pub fn parse(line: &str) -> Result<Command, CommandError> {
    const LOG: &str = "log [--previous] UNIT [N]";
    let log = |words: &[String], previous| {
        let (unit, lines) = match words {
            [unit] => (unit.clone(), DEFAULT_LINES),
            [unit, lines] => (unit.clone(), lines.parse().map_err(|_| CommandError::Usage(LOG))?),
            [] if previous => ("kernel".to_owned(), DEFAULT_LINES),
            _ => return Err(CommandError::Usage(LOG)),
        };
        Ok(Command::Log { unit, lines, previous })
    };
    let words = split(line)?;
    let Some((name, rest)) = words.split_first() else { return Ok(Command::Nothing) };
    match (name.as_str(), rest) {
        ("nomad", arguments) => Ok(Command::Nomad(arguments.to_vec())),
        ("log", [flag, rest @ ..]) if flag == "--previous" => log(rest, true),
        ("log", rest) => log(rest, false),
        ("update", [source]) if !source.starts_with('-') => Ok(Command::Update(format!("update {source}"))),
        ("update", [flag, source]) if flag == "--older" => Ok(Command::Update(format!("update {flag} {source}"))),
        ("update", _) => Err(CommandError::Usage("update [--older] FILE|URL")),
        ("rollback" | "bless", []) => Ok(Command::Update(name.clone())),
        ("rollback", _) => Err(CommandError::Usage("rollback")),
        ("bless", _) => Err(CommandError::Usage("bless")),
        ("help" | "?", []) => Ok(Command::Help),
        ("status", []) => Ok(Command::Status),
        ("plan", []) => Ok(Command::Plan),
        ("ps", []) => Ok(Command::Ps),
        ("ports", []) => Ok(Command::Ports),
        ("mounts", []) => Ok(Command::Mounts),
        ("kernel", []) => Ok(Command::Kernel),
        ("reboot", []) => Ok(Command::Reboot),
        ("poweroff", []) => Ok(Command::Poweroff),
        ("help", _) => Err(CommandError::Usage("help")),
        ("status", _) => Err(CommandError::Usage("status")),
        ("plan", _) => Err(CommandError::Usage("plan")),
        ("ps", _) => Err(CommandError::Usage("ps")),
        ("ports", _) => Err(CommandError::Usage("ports")),
        ("mounts", _) => Err(CommandError::Usage("mounts")),
        ("kernel", _) => Err(CommandError::Usage("kernel")),
        ("reboot", _) => Err(CommandError::Usage("reboot")),
        ("poweroff", _) => Err(CommandError::Usage("poweroff")),
        (other, _) => Err(CommandError::Unknown(other.to_owned())),
    }
}

/// Splits into words as a shell does with single quotes, double quotes and backslashes, and nothing else: no variables,
/// no wildcards, no pipes.
///
/// # Errors
/// When a quotation mark is not closed.
pub fn split(line: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                // An empty pair of quotation marks is a word.
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.map_or(Ok(words), |mark| Err(CommandError::Quote(mark)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands() {
        assert_eq!(parse("  "), Ok(Command::Nothing));
        assert_eq!(parse("status\n"), Ok(Command::Status));
        assert_eq!(parse("rollback"), Ok(Command::Update("rollback".into())));
        assert_eq!(parse("update --older /opt/x"), Ok(Command::Update("update --older /opt/x".into())));
        assert_eq!(parse("update --force x").unwrap_err().to_string(), "usage: update [--older] FILE|URL");
        assert_eq!(parse("log nomad 5"), Ok(Command::Log { unit: "nomad".into(), lines: 5, previous: false }));
        let kernel = |lines, previous| Ok(Command::Log { unit: "kernel".into(), lines, previous });
        assert_eq!(parse("log kernel"), kernel(DEFAULT_LINES, false));
        assert_eq!(parse("log --previous"), kernel(DEFAULT_LINES, true));
        assert_eq!(parse("log --previous kernel 9"), kernel(9, true));
        let words = ["job", "status", "-verbose", "example"].map(str::to_owned).to_vec();
        assert_eq!(parse("nomad job status -verbose example"), Ok(Command::Nomad(words)));
    }

    #[test]
    fn mistakes_are_explained() {
        assert_eq!(parse("shutdown now").unwrap_err().to_string(), "there is no command \"shutdown\": type help");
        for wrong in ["log", "log nomad many", "log --previous a 1 b"] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), "usage: log [--previous] UNIT [N]");
        }
        assert_eq!(parse("reboot now").unwrap_err().to_string(), "usage: reboot");
        assert_eq!(parse("nomad 'x").unwrap_err().to_string(), "the quotation mark ' is not closed");
    }

    #[test]
    fn words_may_be_quoted() {
        let words = split(r#"a 'b c' "d \"e\" f" g\ h '' "#).unwrap();
        assert_eq!(words, ["a", "b c", "d \"e\" f", "g h", ""]);
        assert_eq!(split(r"'a\b'").unwrap(), ["a\\b"]);
    }

    proptest! {
        #[test]
        fn any_line_is_split_or_refused(line: String) {
            let _ = parse(&line);
        }

        #[test]
        fn quoted_words_survive(words in proptest::collection::vec("[a-z \"\\\\$*]{0,6}", 0..6)) {
            let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&line).unwrap(), words);
        }
    }
}
