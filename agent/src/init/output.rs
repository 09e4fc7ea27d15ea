//! What the units print: read from pipes, kept in files of bounded size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::info;

/// Size at which a log becomes the older generation. The two together bound what a unit may use of `/run`.
const CAP: u64 = 512 * 1024;
/// A line longer than this reaches the kernel's log in pieces.
const MAX_LINE: usize = 4096;
/// How much of the end of a log is looked at for its last lines.
const TAIL_WINDOW: u64 = 64 * 1024;

/// The log of one unit: `<name>.log`, and `<name>.log.1` before it.
#[derive(Debug)]
pub(super) struct UnitLog {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    lines: usize,
    shown: Vec<String>,
}

impl UnitLog {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(format!("{name}.log")), file: None, size: 0, lines: 0, shown: Vec::new() }
    }

    /// A new process begins to print.
    pub(super) fn begin(&mut self) {
        self.lines = 0;
    }

    /// The last lines that the present process printed, `count` at most; `None` when they are the same that were asked for
    /// last time: a unit that fails again and again for the same reason says it once, unless they are wanted `again`.
    pub(super) fn last_words(&mut self, count: usize, again: bool) -> Option<&[String]> {
        let lines = tail(&self.path, count.min(self.lines));
        if lines == self.shown && !again {
            return None;
        }
        self.shown = lines;
        Some(&self.shown)
    }

    /// Appends; the file is opened when the unit says something for the first time.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= CAP {
            self.file = None;
            fs::rename(&self.path, older(&self.path))?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
                self.size = file.metadata()?.len();
                empty.insert(file)
            }
        };
        file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        Ok(())
    }

    /// Waits until the disk has what was appended.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The last `count` lines of the log at `path`, older generation included.
#[must_use]
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    let mut text = end_of(&older(path));
    text.extend(end_of(path));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

fn end_of(path: &Path) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_WINDOW);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_WINDOW).read_to_end(&mut bytes)?;
        // A cut line at the start would be shown as if it were whole.
        let cut = if start == 0 { 0 } else { bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1) };
        Ok(bytes.split_off(cut))
    };
    read().unwrap_or_default()
}

/// The reading end of what one process of a unit, and whoever inherited it, prints.
#[derive(Debug)]
pub(super) struct Pipe {
    /// The unit.
    pub(super) unit: String,
    fd: OwnedFd,
    /// The begin of a line for the kernel's log, when output is copied there.
    line: Option<Vec<u8>>,
}

impl Pipe {
    /// `fd` does not block. `copied` also sends every line to the kernel's log.
    pub(super) fn new(unit: &str, fd: OwnedFd, copied: bool) -> Self {
        Self { unit: unit.to_owned(), fd, line: copied.then(Vec::new) }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Moves what is there into the log; false when the last writer has closed its end. Reads a bounded amount, so that a
    /// unit that prints without end cannot keep init from its other work.
    pub(super) fn pump(&mut self, log: &mut UnitLog) -> bool {
        let mut buffer = [0_u8; 4096];
        for _ in 0..16 {
            match nix::unistd::read(&self.fd, &mut buffer) {
                Ok(0) => return false,
                Ok(size) => {
                    // A full /run loses output, not the unit.
                    let _ = log.append(&buffer[..size]);
                    self.copy(&buffer[..size]);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn copy(&mut self, bytes: &[u8]) {
        let Some(line) = &mut self.line else { return };
        for byte in bytes {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= MAX_LINE {
                crate::notice!("{}: {}", self.unit, String::from_utf8_lossy(line));
                line.clear();
            }
        }
    }
}

/// Makes the directory of the logs.
pub(super) fn prepare(dir: &Path) {
    if let Err(why) = fs::create_dir_all(dir) {
        info!("failed to make {}: {why}", dir.display());
    }
}

#[cfg(test)]
mod tests {
    use nix::{fcntl::OFlag, unistd::pipe2};

    use super::*;

    #[test]
    fn a_log_is_bounded_and_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = UnitLog::new(dir.path(), "nomad");
        for number in 0..60_000 {
            log.append(format!("this is line {number:06}\n").as_bytes()).unwrap();
        }
        let path = dir.path().join("nomad.log");
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(size(&path) <= CAP + 64 && size(&older(&path)) <= CAP + 64);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(tail(&path, 2), ["this is line 059998", "this is line 059999"]);
    }

    #[test]
    fn the_tail_reaches_into_the_older_generation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nomad.log");
        fs::write(older(&path), "a\nb\n").unwrap();
        fs::write(&path, "c\n").unwrap();
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert_eq!(tail(&path, 9), ["a", "b", "c"]);
        assert!(tail(&dir.path().join("none.log"), 9).is_empty());
    }

    #[test]
    fn last_words_are_those_of_the_present_process_and_are_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = UnitLog::new(dir.path(), "nomad");
        log.append(b"fine\nbad line 3\n").unwrap();
        log.begin();
        log.append(b"bad line 4\n").unwrap();
        assert_eq!(log.last_words(5, false).unwrap(), ["bad line 4"]);
        log.begin();
        log.append(b"bad line 4\n").unwrap();
        assert_eq!(log.last_words(5, false), None);
        assert_eq!(log.last_words(5, true).unwrap(), ["bad line 4"]);
        log.append(b"worse\n").unwrap();
        assert_eq!(log.last_words(5, false).unwrap(), ["bad line 4", "worse"]);
    }

    #[test]
    fn a_pipe_is_pumped_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let mut log = UnitLog::new(dir.path(), "x");
        let mut pipe = Pipe::new("x", read, false);
        assert!(pipe.pump(&mut log));
        nix::unistd::write(&write, b"hello\n").unwrap();
        assert!(pipe.pump(&mut log));
        drop(write);
        assert!(!pipe.pump(&mut log));
        assert_eq!(tail(&dir.path().join("x.log"), 5), ["hello"]);
    }
}
