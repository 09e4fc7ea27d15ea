//! What a file is, and which Nomad a program is.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::NomadError;
use crate::architecture::Architecture;

/// What a file is, by its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A program for a machine that the vendor releases for.
    Program(Architecture),
    /// A program for another machine, described in words.
    Foreign(String),
    /// A zip archive.
    Zip,
    /// Neither.
    Other,
}

impl Kind {
    /// Reads the beginning of the file at `path`.
    pub(super) fn of(path: &Path) -> Result<Self, NomadError> {
        let mut head = Vec::with_capacity(HEAD);
        let file = File::open(path).map_err(NomadError::io("open", path))?;
        file.take(HEAD as u64).read_to_end(&mut head).map_err(NomadError::io("read", path))?;
        Ok(Self::parse(&head))
    }

    /// `head` is the beginning of a file: a zip's first entry, or an ELF header (elf(5): class, byte order, type and
    /// machine).
    pub(super) fn parse(head: &[u8]) -> Self {
        if head.starts_with(b"PK\x03\x04") {
            return Self::Zip;
        }
        let Some(elf) = head.strip_prefix(b"\x7fELF").filter(|rest| rest.len() >= HEAD - 4) else {
            return Self::Other;
        };
        let (class, order) = (elf[0], elf[1]);
        let half = |at: usize| {
            let bytes = [elf[at - 4], elf[at - 3]];
            if order == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        // ET_EXEC and ET_DYN; a core file or an object is no program.
        if !matches!(half(16), 2 | 3) {
            return Self::Other;
        }
        let machine = half(18);
        // Both are of 64 bits, and little-endian.
        match Architecture::of_elf_machine(machine).filter(|_| (class, order) == (2, 1)) {
            Some(architecture) => Self::Program(architecture),
            None => Self::Foreign(foreign(machine)),
        }
    }
}

/// Up to and including `e_machine`.
const HEAD: usize = 20;

fn foreign(machine: u16) -> String {
    match machine {
        3 => "i386".into(),
        22 => "s390x".into(),
        40 => "arm".into(),
        62 => "x32".into(),
        243 => "riscv".into(),
        other => format!("ELF machine {other}"),
    }
}

/// The version that the program at `path` says it is, without the leading `v`: runs `path version` on this machine, in
/// an empty environment.
pub(super) fn version(path: &Path) -> Result<String, NomadError> {
    let wrong = |source| NomadError::Run { path: path.display().to_string(), source };
    let mut child = spawn(path).map_err(wrong)?;
    let ended = wait(&child, PATIENCE);
    if !matches!(ended, Ok(true)) {
        // The process is gone already, or ends now; either way it is reaped below.
        let _ = child.kill();
    }
    child.wait().map_err(wrong)?;
    ended.map_err(wrong)?;
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER).read_to_end(&mut answer).map_err(wrong)?;
    }
    let answer = String::from_utf8_lossy(&answer);
    parse_version(&answer).map(str::to_owned).ok_or_else(|| NomadError::NotNomad {
        path: path.display().to_string(),
        seconds: PATIENCE.as_secs(),
        answer: answer.chars().take(80).collect(),
    })
}

/// A cold page cache and a busy machine make a program of 110 MB slow to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read: less than a pipe holds, so that nobody waits for anybody.
const ANSWER: u64 = 4096;

fn spawn(path: &Path) -> io::Result<Child> {
    let begun = Instant::now();
    loop {
        let child = Command::new(path)
            .arg("version")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match child {
            // A file that this process has just written is busy as long as a child that another thread is starting
            // still has it open: between its fork and its exec.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && begun.elapsed() < Duration::from_secs(5) => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

/// Whether the child ends within `patience`.
fn wait(child: &Child, patience: Duration) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready == 1),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// `2.0.5` of `Nomad v2.0.5`, which is the first line of `nomad version`.
pub(super) fn parse_version(answer: &str) -> Option<&str> {
    let version = answer.lines().next()?.strip_prefix("Nomad v")?.split_whitespace().next()?;
    is_version(version).then_some(version)
}

/// Whether `text` looks like `2.0.5`, `1.10.5+ent` or `2.1.0-beta.1`, and is harmless in file names and URLs.
pub(super) fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.') && text.len() <= 64 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(class: u8, order: u8, kind: u8, machine: u8) -> Vec<u8> {
        let mut head = b"\x7fELF".to_vec();
        head.extend([class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, machine, 0]);
        head
    }

    #[test]
    fn kinds_of_files() {
        assert_eq!(Kind::parse(&header(2, 1, 2, 62)), Kind::Program(Architecture::X86_64));
        assert_eq!(Kind::parse(&header(2, 1, 3, 183)), Kind::Program(Architecture::Aarch64));
        assert_eq!(Kind::parse(&header(1, 1, 2, 3)), Kind::Foreign("i386".into()));
        assert_eq!(Kind::parse(&header(2, 1, 4, 62)), Kind::Other, "a core file");
        assert_eq!(Kind::parse(b"PK\x03\x04"), Kind::Zip);
        assert_eq!(Kind::parse(b"#!/bin/sh\n"), Kind::Other);
        assert_eq!(Kind::parse(b"\x7fELF"), Kind::Other);
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("Nomad v2.0.5\nBuildDate 2026-08-13T00:00:00Z\n"), Some("2.0.5"));
        assert_eq!(parse_version("Nomad v1.10.5+ent\n"), Some("1.10.5+ent"));
        assert_eq!(parse_version("Nomad v2.1.0-dev (abc)\n"), Some("2.1.0-dev"));
        assert_eq!(parse_version("Consul v1.2.3\n"), None);
        assert_eq!(parse_version("Nomad v../../x\n"), None);
        assert!(!is_version("v2.0.5") && !is_version("2.0/5") && !is_version("2") && !is_version(""));
    }

    #[test]
    fn a_program_that_is_not_nomad_is_named_with_its_answer() {
        let error = version(Path::new("/bin/echo")).unwrap_err().to_string();
        assert!(error.contains("/bin/echo") && error.contains(r#""version\n""#), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_not_awaited_for_ever() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        assert!(!wait(&child, Duration::from_millis(20)).unwrap());
        child.kill().unwrap();
        assert!(wait(&child, Duration::from_secs(20)).unwrap());
        child.wait().unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_kind(bytes in prop::collection::vec(any::<u8>(), 0..64), elf in any::<bool>()) {
            let bytes = if elf { [b"\x7fELF", &bytes[..]].concat() } else { bytes };
            if let Kind::Program(_) = Kind::parse(&bytes) {
                prop_assert!(bytes.starts_with(b"\x7fELF\x02\x01"));
            }
        }
    }
}
