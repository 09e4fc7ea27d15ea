//! The protocol against a hypervisor that insists on every step of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Where an open channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Sending { size: usize, question: Vec<u8> },
    Answering { answer: Vec<u8>, sent: usize },
    Acknowledging,
}

/// A hypervisor with values, strict about magic, port, channel and cookie.
pub(in crate::node::datasource::vmware) struct Hypervisor {
    pub(in crate::node::datasource::vmware) values: BTreeMap<String, Vec<u8>>,
    channel: Option<State>,
    opened: u32,
    /// Interrupts this many of the next steps behind the opening.
    checkpoints: usize,
    /// Breaks off at this call, counted from one.
    fail_at: Option<usize>,
    calls: usize,
}

const COOKIE: (u32, u32) = (0xdead_0001, 0xbeef_0002);

impl Hypervisor {
    pub(in crate::node::datasource::vmware) fn new(values: &[(&str, &[u8])]) -> Self {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
        Self { values, channel: None, opened: 0, checkpoints: 0, fail_at: None, calls: 0 }
    }

    fn answer(&mut self, question: &[u8]) -> Vec<u8> {
        let question = String::from_utf8(question.to_vec()).unwrap();
        if let Some(key) = question.strip_prefix("info-get ") {
            return match self.values.get(key) {
                Some(value) => [b"1 ", value.as_slice()].concat(),
                None => b"0 No value found".to_vec(),
            };
        }
        if let Some((key, value)) = question.strip_prefix("info-set ").and_then(|rest| rest.split_once(' ')) {
            self.values.insert(key.into(), value.into());
            return b"1 ".to_vec();
        }
        b"0 Unknown command".to_vec()
    }

    /// The status and, where there is one, the value in ebx and the step in the upper half of edx.
    fn handle(&mut self, what: u32, value: u32) -> Option<(u32, u32, u32)> {
        if what == OPEN {
            assert_eq!(value, PROTOCOL);
            assert_eq!(self.channel, None, "the channel before was left open");
            self.opened += 1;
            self.channel = Some(State::Idle);
            return Some((SUCCESS, 0, 3));
        }
        if what == CLOSE {
            return self.channel.take().map(|_| (SUCCESS, 0, 0));
        }
        if self.checkpoints > 0 {
            self.checkpoints -= 1;
            return Some((CHECKPOINT, 0, 0));
        }
        match (self.channel.take()?, what) {
            (State::Idle, SEND_SIZE) => {
                self.channel = Some(State::Sending { size: value as usize, question: Vec::new() });
                Some((SUCCESS | 0x80, 0, 0))
            }
            (State::Sending { size, mut question }, SEND_PAYLOAD) => {
                question.extend(value.to_le_bytes());
                self.channel = Some(if question.len() >= size {
                    question.truncate(size);
                    State::Answering { answer: self.answer(&question), sent: usize::MAX }
                } else {
                    State::Sending { size, question }
                });
                Some((SUCCESS, 0, 0))
            }
            (State::Answering { answer, sent: usize::MAX }, RECEIVE_SIZE) => {
                let size = u32::try_from(answer.len()).unwrap();
                self.channel = Some(State::Answering { answer, sent: 0 });
                Some((SUCCESS | HAS_ANSWER, size, SEND_SIZE))
            }
            (State::Answering { answer, sent }, RECEIVE_PAYLOAD) if sent < answer.len() => {
                assert_eq!(value, SUCCESS);
                let mut word = [0xff; 4];
                let chunk = answer[sent..].chunks(4).next().unwrap();
                word[..chunk.len()].copy_from_slice(chunk);
                let sent = sent + chunk.len();
                self.channel =
                    Some(if sent < answer.len() { State::Answering { answer, sent } } else { State::Acknowledging });
                Some((SUCCESS, u32::from_le_bytes(word), SEND_PAYLOAD))
            }
            (State::Acknowledging, RECEIVE_STATUS) => {
                assert_eq!(value, SUCCESS);
                self.channel = Some(State::Idle);
                Some((SUCCESS, 0, 0))
            }
            _ => None,
        }
    }
}

impl Port for Hypervisor {
    fn call(&mut self, registers: &mut Registers) {
        self.calls += 1;
        assert_eq!((registers.eax, registers.edx & 0xffff), (MAGIC, u32::from(PORT)));
        assert_eq!(registers.ecx & 0xffff, MESSAGE);
        let what = registers.ecx >> 16;
        if what != OPEN {
            assert_eq!((registers.edx >> 16, (registers.esi, registers.edi)), (3, COOKIE), "channel and cookie");
        }
        let result = if self.fail_at == Some(self.calls) { None } else { self.handle(what, registers.ebx) };
        let (status, value, step) = result.unwrap_or((0, 0, 0));
        registers.ecx = status << 16;
        registers.ebx = value;
        registers.edx = step << 16 | u32::from(PORT);
        if what == OPEN {
            (registers.esi, registers.edi) = COOKIE;
        }
    }
}

#[test]
fn values_come_and_go_whole() {
    let mut rpc = Rpc(Hypervisor::new(&[("guestinfo.a", b"hello"), ("guestinfo.empty", b"")]));
    assert_eq!(rpc.ask("info-get guestinfo.a").unwrap(), b"hello");
    assert_eq!(rpc.ask("info-get guestinfo.empty").unwrap(), b"");
    assert_eq!(rpc.ask("info-get guestinfo.none"), Err(RpcError::Refused("No value found".into())));
    rpc.ask("info-set guestinfo.a ---").unwrap();
    assert_eq!(rpc.ask("info-get guestinfo.a").unwrap(), b"---");
    assert_eq!((rpc.0.opened, rpc.0.channel.clone()), (5, None), "each question has its channel, and closes it");
}

#[test]
fn a_machine_that_moves_asks_again() {
    let mut rpc = Rpc(Hypervisor::new(&[("k", b"v")]));
    rpc.0.checkpoints = ATTEMPTS - 1;
    assert_eq!(rpc.ask("info-get k").unwrap(), b"v");
    rpc.0.checkpoints = ATTEMPTS;
    assert_eq!(rpc.ask("info-get k"), Err(RpcError::Checkpoint));
}

#[test]
fn a_hypervisor_that_breaks_off_is_an_error_at_every_step() {
    // The steps of a question of ten bytes and an answer of six: open, size, 3 words, size, 2 words, status. A close that
    // fails harms nobody.
    for call in 1..=9 {
        let mut rpc = Rpc(Hypervisor::new(&[("k", b"1234")]));
        rpc.0.fail_at = Some(call);
        let result = rpc.ask("info-get k");
        assert!(matches!(result, Err(RpcError::Step(_))), "call {call}: {result:?}");
        assert_eq!(rpc.0.channel, None, "call {call}: left open");
    }
}

#[test]
fn a_port_that_does_not_know_messages_is_an_error() {
    /// QEMU's port answers what it does not know with ones.
    struct Deaf;
    impl Port for Deaf {
        fn call(&mut self, registers: &mut Registers) {
            registers.eax = u32::MAX;
        }
    }
    assert_eq!(Rpc(Deaf).ask("info-get k"), Err(RpcError::Step("opened a channel")));
}

#[test]
fn an_answer_without_end_is_refused() {
    /// Says yes to everything, with the largest numbers.
    struct Huge;
    impl Port for Huge {
        fn call(&mut self, registers: &mut Registers) {
            *registers = Registers { ebx: u32::MAX, ecx: u32::MAX, edx: SEND_SIZE << 16, ..*registers };
        }
    }
    assert_eq!(Rpc(Huge).ask("info-get k"), Err(RpcError::TooLong(u32::MAX as usize)));
}

#[test]
fn answers_have_a_form() {
    assert_eq!(judge(b"1 value\0").unwrap(), b"value");
    assert_eq!(judge(b"1").unwrap(), b"");
    for wrong in [&b""[..], b"2 x", b"10", b"x"] {
        assert_eq!(judge(wrong), Err(RpcError::Form));
    }
}

proptest! {
    #[test]
    fn any_value_comes_whole(value: Vec<u8>) {
        let mut rpc = Rpc(Hypervisor::new(&[("k", &value)]));
        // A NUL at the end is the tools' terminator.
        let expected = value.strip_suffix(b"\0").unwrap_or(&value);
        prop_assert_eq!(rpc.ask("info-get k").unwrap(), expected);
    }

    #[test]
    fn any_registers_are_survived(numbers in proptest::collection::vec(any::<[u16; 3]>(), 1..64)) {
        struct Wild(Vec<[u16; 3]>, usize);
        impl Port for Wild {
            fn call(&mut self, registers: &mut Registers) {
                self.1 += 1;
                let [b, c, d] = self.0[self.1 % self.0.len()].map(u32::from);
                *registers = Registers { ebx: b, ecx: c << 16, edx: d << 16, ..*registers };
            }
        }
        let _ = Rpc(Wild(numbers, 0)).ask("info-get k");
    }
}
