//! The services' own port on the switch, as smoltcp wants a network card.

use crate::switch::{FrameDecoder, FrameError, SendQueue};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;

/// Ethernet's 1500 and the header.
const LONGEST_FRAME: usize = 1514;

/// Beyond this the stack waits until the switch has read.
const QUEUE_MARK: usize = 1 << 20;

/// Frames from and to the switch.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) stream: UnixStream,
    decoder: FrameDecoder,
    pub(crate) incoming: VecDeque<Vec<u8>>,
    pub(crate) outgoing: SendQueue,
}

impl Port {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (decoder, incoming, outgoing) = Default::default();
        Ok(Self { stream, decoder, incoming, outgoing })
    }

    /// Reads what is there; each frame goes to `take`. False when the switch is gone.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> Result<bool, FrameError> {
        match self.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) => return Ok(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)),
        }
        while let Some(frame) = self.decoder.next_frame()? {
            take(frame);
        }
        Ok(true)
    }

    /// Writes what can be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.outgoing.write_to(&self.stream)
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        if self.outgoing.len() > QUEUE_MARK {
            return None;
        }
        let frame = self.incoming.pop_front()?;
        Some((Received(frame), Sending(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        (self.outgoing.len() <= QUEUE_MARK).then_some(Sending(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LONGEST_FRAME;
        capabilities
    }
}

/// A frame that came in.
#[derive(Debug)]
pub(crate) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for a frame that goes out.
#[derive(Debug)]
pub(crate) struct Sending<'a>(&'a mut SendQueue);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        // There is room: `transmit` looked.
        self.0.push(&frame);
        result
    }
}
