//! Frames on a stream: a 32-bit big-endian length, then the bytes, as QEMU's `-netdev stream` has it.

/// The longest frame: QEMU's own limit (`NET_BUFSIZE`: 64 KiB and two kinds of headers).
pub const MAX_FRAME: usize = 4096 + 65536;

/// A peer that does not speak the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced: more than {MAX_FRAME}")]
pub struct FrameError(usize);

/// Cuts what a stream delivers into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// What of the buffer was given out already.
    start: usize,
}

impl FrameDecoder {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// When the length is impossible. The stream cannot be used any further then.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some((length, rest)) = self.buffer[self.start..].split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.start + 4;
        self.start = begin + length;
        Ok(Some(&self.buffer[begin..self.start]))
    }
}

/// Appends a frame with its length to `stream`. Frames over [`MAX_FRAME`] do not exist on this network and are left out.
pub fn encode_frame(frame: &[u8], stream: &mut Vec<u8>) {
    if let Some(length) = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= MAX_FRAME) {
        stream.extend_from_slice(&length.to_be_bytes());
        stream.extend_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    #[test]
    fn an_impossible_length_is_an_error() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0, 1, 0x10, 1]);
        assert_eq!(decoder.next_frame(), Err(FrameError(MAX_FRAME + 1)));
    }

    proptest! {
        #[test]
        fn frames_survive_any_chunking(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8), chunk in 1usize..50) {
            let mut stream = Vec::new();
            frames.iter().for_each(|frame| encode_frame(frame, &mut stream));
            let (mut decoder, mut decoded) = (FrameDecoder::default(), Vec::new());
            for bytes in stream.chunks(chunk) {
                decoder.push(bytes);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push(frame.to_vec());
                }
            }
            prop_assert_eq!(decoded, frames);
        }
    }
}
