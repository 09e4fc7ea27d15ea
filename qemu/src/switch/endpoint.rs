//! The socket side of a port.

use crate::switch::core::{Core, Delivery, PortId};
use crate::switch::frame::FrameDecoder;
use crate::switch::queue::SendQueue;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

/// One port's sockets and what is on its way through them.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: PortId,
    pub(crate) listener: Option<UnixListener>,
    pub(crate) stream: Option<UnixStream>,
    decoder: FrameDecoder,
    pub(crate) queue: SendQueue,
}

impl Endpoint {
    pub(crate) fn new(id: PortId, listener: Option<UnixListener>, stream: Option<UnixStream>) -> Self {
        Self { id, listener, stream, decoder: FrameDecoder::default(), queue: SendQueue::default() }
    }

    /// Takes what the machine sent, or its connection.
    pub(crate) fn serve(&mut self, core: &mut Core, buffer: &mut [u8], out: &mut Vec<Delivery>) {
        let Some(stream) = &mut self.stream else { return self.accept(core) };
        let count = match stream.read(buffer) {
            Ok(0) => return self.disconnect(core),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.disconnect(core),
        };
        self.decoder.push(&buffer[..count]);
        let now = Instant::now();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => core.receive(self.id, frame, now, out),
                Ok(None) => return,
                Err(_) => return self.disconnect(core),
            }
        }
    }

    fn accept(&mut self, core: &mut Core) {
        let accepted = self.listener.as_ref().map(UnixListener::accept);
        if let Some(Ok((stream, _))) = accepted
            && stream.set_nonblocking(true).is_ok()
        {
            self.stream = Some(stream);
            core.set_connected(self.id, true);
        }
    }

    /// The machine is gone; the next one on this port starts afresh.
    fn disconnect(&mut self, core: &mut Core) {
        self.stream = None;
        self.decoder = FrameDecoder::default();
        self.queue = SendQueue::default();
        core.set_connected(self.id, false);
    }

    /// Writes what waits and can be written.
    pub(crate) fn write(&mut self, core: &mut Core) {
        if let Some(stream) = &self.stream
            && !self.queue.is_empty()
            && self.queue.write_to(stream).is_err()
        {
            self.disconnect(core);
        }
    }
}
