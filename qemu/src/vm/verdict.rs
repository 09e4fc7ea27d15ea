//! Which console lines no healthy machine writes.

/// Parts of lines that mean that the machine, not the test, is broken. A test that provokes one allows it first.
pub const FATAL: [&str; 10] = [
    "Kernel panic - not syncing",
    "Oops:",
    "BUG:",
    "general protection fault",
    "WARNING: CPU:",
    "rejecting I/O",
    "invoked oom-killer",
    "panicked at",
    "segfault at",
    "goroutine 1 [",
];

/// [`FATAL`] with exceptions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdicts {
    allowed: Vec<String>,
}

impl Verdicts {
    pub(crate) fn allow(&mut self, part: &str) {
        self.allowed.push(part.to_owned());
    }

    pub(crate) fn is_fatal(&self, line: &str) -> bool {
        FATAL.iter().any(|part| line.contains(part)) && !self.allowed.iter().any(|part| line.contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_by_part_of_the_line() {
        let mut verdicts = Verdicts::default();
        let line = "[   12.3] nomad invoked oom-killer: gfp_mask=0x100cca";
        assert!(verdicts.is_fatal(line));
        verdicts.allow("nomad invoked oom-killer");
        assert!(!verdicts.is_fatal(line));
        assert!(verdicts.is_fatal("[   12.3] init invoked oom-killer: gfp_mask=0x100cca"));
        assert!(!verdicts.is_fatal("[    3.1] Run /init as init process"));
    }
}
