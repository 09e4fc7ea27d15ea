//! Captures in the classic libpcap format, readable by tcpdump and Wireshark (draft-ietf-opsawg-pcap).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::SystemTime;

/// How much of each frame the ring keeps: the headers, and the whole of a DHCP or DNS message in most cases.
const SNAP_LENGTH: usize = 400;

/// How many bytes the ring keeps in all.
const RING_BYTES: usize = 8 << 20;

/// One frame as it came in.
#[derive(Debug)]
struct Record {
    at: SystemTime,
    length: usize,
    bytes: Box<[u8]>,
}

/// The last frames that passed.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Ring {
    pub(crate) fn push(&mut self, at: SystemTime, frame: &[u8]) {
        let bytes: Box<[u8]> = frame[..frame.len().min(SNAP_LENGTH)].into();
        self.bytes += bytes.len();
        self.records.push_back(Record { at, length: frame.len(), bytes });
        while self.bytes > RING_BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    pub(crate) fn write_to(&self, mut file: impl Write) -> io::Result<()> {
        file.write_all(&header())?;
        self.records.iter().try_for_each(|record| file.write_all(&encode(record.at, record.length, &record.bytes)))
    }
}

/// A capture into a file, from now on and with whole frames.
#[derive(Debug)]
pub(crate) struct Capture<W: Write> {
    file: W,
}

impl<W: Write> Capture<W> {
    pub(crate) fn new(mut file: W) -> io::Result<Self> {
        file.write_all(&header())?;
        Ok(Self { file })
    }

    pub(crate) fn push(&mut self, at: SystemTime, frame: &[u8]) -> io::Result<()> {
        self.file.write_all(&encode(at, frame.len(), frame))
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Magic number for microseconds, version 2.4, no time zone, and Ethernet (1).
fn header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&0x0004_0000_u32.to_le_bytes());
    header[20..24].copy_from_slice(&1_u32.to_le_bytes());
    header
}

fn encode(at: SystemTime, length: usize, bytes: &[u8]) -> Vec<u8> {
    let time = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut record = Vec::with_capacity(16 + bytes.len());
    for number in [time.as_secs(), time.subsec_micros().into(), bytes.len() as u64, length as u64] {
        // The format has 32 bits for each; seconds fit until 2106.
        record.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    record.extend(bytes);
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_ring_keeps_the_heads_of_the_last_frames() {
        let mut ring = Ring::default();
        let at = SystemTime::UNIX_EPOCH + Duration::new(0x01020304, 5_000);
        let count = RING_BYTES / SNAP_LENGTH + 10;
        (0..count).for_each(|number| ring.push(at, &[u8::try_from(number % 251).unwrap(); 1500]));
        let mut file = Vec::new();
        ring.write_to(&mut file).unwrap();
        assert_eq!(file.len(), 24 + (RING_BYTES / SNAP_LENGTH) * (16 + SNAP_LENGTH));
        assert_eq!(&file[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(&file[24..40], [4, 3, 2, 1, 5, 0, 0, 0, 0x90, 1, 0, 0, 0xdc, 5, 0, 0]);
    }

    #[test]
    fn a_capture_has_whole_frames() {
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file).unwrap();
        capture.push(SystemTime::UNIX_EPOCH, &[7; 1500]).unwrap();
        capture.finish().unwrap();
        assert_eq!(file.len(), 24 + 16 + 1500);
    }
}
