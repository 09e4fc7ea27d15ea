//! Messages between a guest and VMware's hypervisor ("RPCI"), four bytes a call.
//!
//! No specification is published; this is what VMware's open `open-vm-tools` (`lib/message`) and the Linux kernel
//! (`vmwgfx_msg.c`) speak: a channel is opened, the size of a question and then its bytes go out, the size of an answer and
//! then its bytes come in, the answer is acknowledged, the channel is closed. Only the low-bandwidth port is used: the
//! other one reads and writes memory by address.

use super::sys::{PORT, Registers};

/// In eax, to be heard at all (`VMXh`).
const MAGIC: u32 = 0x564d_5868;
/// In the lower half of ecx: this is about messages.
const MESSAGE: u32 = 30;
/// The protocol (`RPCI`), with the wish for a cookie that keeps others out of the channel.
const PROTOCOL: u32 = 0x4943_5052 | 0x8000_0000;

/// In the upper half of ecx before a call: what is to be done.
const OPEN: u32 = 0;
const SEND_SIZE: u32 = 1;
const SEND_PAYLOAD: u32 = 2;
const RECEIVE_SIZE: u32 = 3;
const RECEIVE_PAYLOAD: u32 = 4;
const RECEIVE_STATUS: u32 = 5;
const CLOSE: u32 = 6;

/// In the upper half of ecx after a call.
const SUCCESS: u32 = 1;
/// There is something to receive.
const HAS_ANSWER: u32 = 2;
/// The machine was suspended or moved in the middle of it: begin again.
const CHECKPOINT: u32 = 0x10;

/// How often a question is asked again for that reason.
const ATTEMPTS: usize = 5;
/// Longer answers, in bytes, are refused.
const MAX_ANSWER: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RpcError {
    /// The hypervisor does not go on; at which step.
    #[error("the hypervisor broke off while the agent {0}")]
    Step(&'static str),
    /// It was interrupted each time.
    #[error("the machine was suspended or moved {ATTEMPTS} times in the middle of a question")]
    Checkpoint,
    /// The answer is too long.
    #[error("the answer has {0} bytes, more than {MAX_ANSWER}")]
    TooLong(usize),
    /// The answer is no answer.
    #[error("the answer has not the form `1 VALUE` or `0 REASON`")]
    Form,
    /// The hypervisor says no.
    #[error("the hypervisor refused: {0}")]
    Refused(String),
}

/// The I/O port, or what a test has in its place.
pub(super) trait Port {
    /// One call: the registers go in, and come back changed.
    fn call(&mut self, registers: &mut Registers);
}

/// Somebody who answers questions.
pub(super) trait Channel {
    /// Asks; the answer is what stands behind `1 `.
    ///
    /// # Errors
    /// When the protocol breaks, or with the reason behind `0 `.
    fn ask(&mut self, question: &str) -> Result<Vec<u8>, RpcError>;
}

/// Asks through a port, with a new channel for each question.
#[derive(Debug)]
pub(super) struct Rpc<P>(pub(super) P);

/// An open channel.
struct Open {
    id: u32,
    cookie: (u32, u32),
}

/// Why a question was not answered: for good, or to be asked again.
enum Broken {
    Again,
    Error(RpcError),
}

impl<P: Port> Channel for Rpc<P> {
    fn ask(&mut self, question: &str) -> Result<Vec<u8>, RpcError> {
        for _ in 0..ATTEMPTS {
            let open = self.open()?;
            let answer = self.send(&open, question.as_bytes()).and_then(|()| self.receive(&open));
            // Whatever came of it; there are only eight channels.
            self.step(&open, CLOSE, 0);
            match answer {
                Ok(answer) => return judge(&answer),
                Err(Broken::Error(error)) => return Err(error),
                Err(Broken::Again) => {}
            }
        }
        Err(RpcError::Checkpoint)
    }
}

impl<P: Port> Rpc<P> {
    fn open(&mut self) -> Result<Open, RpcError> {
        let nobody = Open { id: 0, cookie: (0, 0) };
        let after = self.step(&nobody, OPEN, PROTOCOL);
        if status(&after) & SUCCESS == 0 {
            return Err(RpcError::Step("opened a channel"));
        }
        Ok(Open { id: after.edx & 0xffff_0000, cookie: (after.esi, after.edi) })
    }

    fn step(&mut self, open: &Open, what: u32, value: u32) -> Registers {
        let mut registers = Registers {
            eax: MAGIC,
            ebx: value,
            ecx: what << 16 | MESSAGE,
            edx: open.id | u32::from(PORT),
            esi: open.cookie.0,
            edi: open.cookie.1,
        };
        self.0.call(&mut registers);
        registers
    }

    /// A step that has to succeed.
    fn need(&mut self, open: &Open, what: u32, value: u32, doing: &'static str) -> Result<Registers, Broken> {
        let after = self.step(open, what, value);
        match status(&after) {
            status if status & SUCCESS != 0 => Ok(after),
            status if status & CHECKPOINT != 0 => Err(Broken::Again),
            _ => Err(Broken::Error(RpcError::Step(doing))),
        }
    }

    fn send(&mut self, open: &Open, question: &[u8]) -> Result<(), Broken> {
        let size = u32::try_from(question.len()).unwrap_or(u32::MAX);
        self.need(open, SEND_SIZE, size, "sent the size of a question")?;
        for chunk in question.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.need(open, SEND_PAYLOAD, u32::from_le_bytes(word), "sent a question")?;
        }
        Ok(())
    }

    fn receive(&mut self, open: &Open) -> Result<Vec<u8>, Broken> {
        let after = self.need(open, RECEIVE_SIZE, 0, "received the size of an answer")?;
        // The hypervisor says in the upper half of edx which of its own steps this is.
        if status(&after) & HAS_ANSWER == 0 || after.edx >> 16 != SEND_SIZE {
            return Err(Broken::Error(RpcError::Step("waited for an answer")));
        }
        let size = usize::try_from(after.ebx).unwrap_or(usize::MAX);
        if size > MAX_ANSWER {
            return Err(Broken::Error(RpcError::TooLong(size)));
        }
        let mut answer = Vec::with_capacity(size);
        while answer.len() < size {
            let after = self.need(open, RECEIVE_PAYLOAD, SUCCESS, "received an answer")?;
            if after.edx >> 16 != SEND_PAYLOAD {
                return Err(Broken::Error(RpcError::Step("received an answer")));
            }
            let left = size - answer.len();
            answer.extend(after.ebx.to_le_bytes().into_iter().take(left));
        }
        self.need(open, RECEIVE_STATUS, SUCCESS, "acknowledged an answer")?;
        Ok(answer)
    }
}

const fn status(registers: &Registers) -> u32 {
    registers.ecx >> 16
}

/// Reads `1 VALUE` and `0 REASON`. A NUL at the end does not count.
pub(super) fn judge(answer: &[u8]) -> Result<Vec<u8>, RpcError> {
    let answer = answer.strip_suffix(b"\0").unwrap_or(answer);
    match answer.split_first_chunk::<2>() {
        Some((b"1 ", value)) => Ok(value.to_vec()),
        None if answer == b"1" => Ok(Vec::new()),
        Some((b"0 ", reason)) => Err(RpcError::Refused(String::from_utf8_lossy(reason).chars().take(80).collect())),
        _ => Err(RpcError::Form),
    }
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
pub(super) mod tests;
