//! The kernel's log, read (`Documentation/ABI/testing/dev-kmsg`).

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

use nix::libc;

/// The line of one record: time in seconds and text, as `dmesg` prints it. `None` when the record is malformed.
#[must_use]
pub fn line(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    // What follows the first line are properties of the device that the message is about.
    let text = text.lines().next().unwrap_or_default();
    Some(format!("[{:>5}.{:06}] {text}", micros / 1_000_000, micros % 1_000_000))
}

/// The kernel's log, read from its beginning on.
#[derive(Debug)]
pub struct Kmsg(File);

impl Kmsg {
    /// Begins with the oldest line that the log holds.
    ///
    /// # Errors
    /// When `/dev/kmsg` cannot be opened.
    pub fn open() -> io::Result<Self> {
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").map(Self)
    }

    /// The next line; none when there is no more for now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0_u8; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(size) => {
                    if let Some(line) = line(&buffer[..size]) {
                        return Ok(Some(line));
                    }
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // Records were overwritten before they were read: the next read goes on behind them.
                Err(why) if why.raw_os_error() == Some(libc::EPIPE) || why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }
}

/// Everything that the kernel's log holds now, oldest first.
///
/// # Errors
/// When `/dev/kmsg` cannot be read.
pub fn read() -> io::Result<Vec<String>> {
    let mut log = Kmsg::open()?;
    let mut lines = Vec::new();
    while let Some(line) = log.next_line()? {
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_becomes_a_line() {
        let record = b"5,339,5140900,-;steppe: phase root at 2.31 s; really\n SUBSYSTEM=x\n";
        assert_eq!(line(record).as_deref(), Some("[    5.140900] steppe: phase root at 2.31 s; really"));
        assert_eq!(line(b"5,339,x,-;text"), None);
        assert_eq!(line(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes: Vec<u8>) {
            let _ = line(&bytes);
        }
    }
}
