//! What waits to be written to a port.

use std::io::{self, ErrorKind, Write};

/// A port whose machine reads this much too slowly loses frames, as a real switch's port does.
const QUEUE_LIMIT: usize = 4 << 20;

/// Encoded frames on their way to one port.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    bytes: Vec<u8>,
    written: usize,
}

impl SendQueue {
    /// Appends a frame; false when there is no room for it.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        if self.len() + frame.len() > QUEUE_LIMIT {
            return false;
        }
        super::encode_frame(frame, &mut self.bytes);
        true
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes as much as goes without waiting.
    pub(crate) fn write_to(&mut self, mut stream: impl Write) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Not at every write: moving what is left costs.
        if self.written == self.bytes.len() || self.written > QUEUE_LIMIT / 4 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time and then none.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(3).min(self.1);
            self.1 -= count;
            self.0.extend(&bytes[..count]);
            if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_next_time() {
        let mut queue = SendQueue::default();
        assert!(queue.push(b"hello") && queue.push(b"world"));
        let mut stream = Slow(Vec::new(), 7);
        queue.write_to(&mut stream).unwrap();
        assert_eq!(queue.len(), 18 - 7);
        stream.1 = 100;
        queue.write_to(&mut stream).unwrap();
        assert!(queue.is_empty());
        assert_eq!(stream.0, b"\0\0\0\x05hello\0\0\0\x05world");
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut queue = SendQueue::default();
        let frame = [0; 60_000];
        let taken = (0..1000).take_while(|_| queue.push(&frame)).count();
        assert!((60..80).contains(&taken), "{taken}");
    }
}
