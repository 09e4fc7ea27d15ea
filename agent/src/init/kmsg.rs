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

/// Everything that the kernel's log holds now, oldest first.
///
/// # Errors
/// When `/dev/kmsg` cannot be read.
pub fn read() -> io::Result<Vec<String>> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut lines = Vec::new();
    let mut buffer = [0_u8; 8192];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(lines),
            Ok(size) => lines.extend(line(&buffer[..size])),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(lines),
            // Records were overwritten while they were read: the next read goes on behind them.
            Err(why) if why.raw_os_error() == Some(libc::EPIPE) || why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
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
