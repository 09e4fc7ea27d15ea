//! The machine monitor's JSON protocol (docs/interop/qmp-spec.txt in QEMU's source).

use crate::Deadline;
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long QEMU may take to answer a command; it answers at once unless the host is starved.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What can go wrong with the monitor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum QmpError {
    #[error("failed to talk to QEMU's monitor: {0}")]
    Io(#[from] io::Error),
    #[error("failed to understand QEMU's monitor: {reason} in {line:?}")]
    Malformed { line: String, reason: String },
    #[error("QEMU refused {command}: {class}: {description}")]
    Refused { command: String, class: String, description: String },
    #[error("QEMU ended before it answered {command}")]
    Closed { command: String },
    #[error("QEMU sent no {what} within {} s", allowed.as_secs())]
    Timeout { what: String, allowed: Duration },
}

/// Something that happened in the machine, `SHUTDOWN` or `RESET` for instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place among all events since power-on.
    pub index: usize,
    /// The name.
    pub name: String,
    /// What belongs to it, `null` when nothing does.
    pub data: Value,
}

/// One message of QEMU.
#[derive(Clone, Debug, PartialEq)]
enum Message {
    Greeting,
    Event { name: String, data: Value },
    Return { id: u64, value: Value },
    Error { id: u64, class: String, description: String },
}

fn parse(line: &str) -> Result<Message, QmpError> {
    let malformed = |reason: &str| QmpError::Malformed { line: line.to_owned(), reason: reason.to_owned() };
    let mut value: Value = serde_json::from_str(line).map_err(|error| malformed(&error.to_string()))?;
    let object = value.as_object_mut().ok_or_else(|| malformed("not an object"))?;
    if object.contains_key("QMP") {
        return Ok(Message::Greeting);
    }
    if let Some(name) = object.get("event").and_then(Value::as_str).map(str::to_owned) {
        return Ok(Message::Event { name, data: object.remove("data").unwrap_or(Value::Null) });
    }
    let id = object
        .get("id")
        .and_then(Value::as_u64)
        .ok_or_else(|| malformed("neither an event nor an answer to a command"))?;
    if let Some(value) = object.remove("return") {
        return Ok(Message::Return { id, value });
    }
    let error = object.get("error").ok_or_else(|| malformed("neither return nor error"))?;
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Message::Error { id, class: text("class"), description: text("desc") })
}

/// A connection to the monitor of one machine, usable from several threads.
#[derive(Debug)]
pub struct Qmp {
    sender: Mutex<Sender>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Sender {
    stream: UnixStream,
    next_id: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a command returned, or the class and the description of its error.
type Answer = Result<Value, (String, String)>;

#[derive(Debug, Default)]
struct State {
    greeted: bool,
    answers: Vec<(u64, Answer)>,
    events: Vec<Event>,
    /// Why nothing more will come.
    end: Option<Option<QmpError>>,
}

impl Qmp {
    /// Greets the monitor at the other end of `stream` and reads it on a thread of its own from then on.
    ///
    /// # Errors
    /// When it is not a monitor, or silent past its time.
    pub fn connect(stream: UnixStream) -> Result<Self, QmpError> {
        let reader = stream.try_clone()?;
        let shared = Arc::new(Shared::default());
        let qmp = Self { sender: Mutex::new(Sender { stream, next_id: 1 }), shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("qmp".to_owned()).spawn(move || shared.read(reader))?;
        let deadline = Deadline::after(ANSWER_TIME);
        qmp.wait("greeting", &deadline, |state| state.greeted.then_some(()))?;
        qmp.execute("qmp_capabilities", &Value::Null)?;
        Ok(qmp)
    }

    /// Sends a command and gives what it returns. `arguments` is an object, or `null` for none.
    ///
    /// # Errors
    /// [`QmpError::Refused`] with QEMU's reason, or that QEMU is gone.
    pub fn execute(&self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let id = {
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            let id = sender.next_id;
            sender.next_id += 1;
            let mut request = json!({ "execute": command, "id": id });
            if !arguments.is_null() {
                request["arguments"] = arguments.clone();
            }
            let line = format!("{request}\n");
            match sender.stream.write_all(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(QmpError::Closed { command: command.to_owned() });
                }
                result => result?,
            }
            id
        };
        let answer = self.wait(command, &Deadline::after(ANSWER_TIME), |state| {
            let position = state.answers.iter().position(|(answered, _)| *answered == id)?;
            Some(state.answers.swap_remove(position).1)
        })?;
        answer.map_err(|(class, description)| QmpError::Refused { command: command.to_owned(), class, description })
    }

    /// How many events there were since power-on: the place behind all of them.
    #[must_use]
    pub fn event_mark(&self) -> usize {
        self.shared.state().events.len()
    }

    /// All events since power-on.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.state().events.clone()
    }

    /// Waits for an event at or behind the place `mark`; one that came already counts.
    ///
    /// # Errors
    /// When the deadline passes or QEMU ends first.
    pub fn wait_event(&self, mark: usize, name: &str, deadline: &Deadline) -> Result<Event, QmpError> {
        self.wait(name, deadline, |state| state.events.iter().skip(mark).find(|event| event.name == name).cloned())
    }

    fn wait<T>(
        &self,
        what: &str,
        deadline: &Deadline,
        mut select: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, QmpError> {
        let mut state = self.shared.state();
        loop {
            if let Some(found) = select(&mut state) {
                return Ok(found);
            }
            if let Some(end) = &mut state.end {
                return Err(end.take().unwrap_or_else(|| QmpError::Closed { command: what.to_owned() }));
            }
            let remaining = deadline.remaining();
            if remaining.is_zero() {
                return Err(QmpError::Timeout { what: what.to_owned(), allowed: deadline.allowed() });
            }
            state = self.shared.changed.wait_timeout(state, remaining).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Ends the reader; the machine may have closed its side already.
        let sender = self.sender.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = sender.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, stream: UnixStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let end = loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => break None,
                Ok(_) => {}
            }
            match parse(line.trim_end()) {
                Ok(message) => self.state().take(message),
                Err(error) => break Some(error),
            }
            self.changed.notify_all();
        };
        self.state().end = Some(end);
        self.changed.notify_all();
    }
}

impl State {
    fn take(&mut self, message: Message) {
        match message {
            Message::Greeting => self.greeted = true,
            Message::Event { name, data } => self.events.push(Event { index: self.events.len(), name, data }),
            Message::Return { id, value } => self.answers.push((id, Ok(value))),
            Message::Error { id, class, description } => self.answers.push((id, Err((class, description)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    /// A monitor that answers each command with what `answers` makes of its name and id.
    fn monitor(answers: impl Fn(&str, u64) -> String + Send + 'static) -> Result<Qmp, QmpError> {
        let (ours, theirs) = UnixStream::pair()?;
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writer.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n").unwrap();
            for line in BufReader::new(theirs).lines() {
                let Ok(line) = line else { return };
                let request: Value = serde_json::from_str(&line).unwrap();
                let answer = answers(request["execute"].as_str().unwrap(), request["id"].as_u64().unwrap());
                writer.write_all(answer.as_bytes()).unwrap();
            }
        });
        Qmp::connect(ours)
    }

    #[test]
    fn answers_find_their_command_and_events_wait_for_their_reader() {
        let qmp = monitor(|command, id| match command {
            "qmp_capabilities" => format!("{{\"return\": {{}}, \"id\": {id}}}\r\n"),
            "system_powerdown" => format!(
                "{{\"event\": \"POWERDOWN\", \"timestamp\": {{}}}}\r\n{{\"return\": {{}}, \"id\": {id}}}\r\n\
                 {{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true}}}}\r\n"
            ),
            _ => format!("{{\"id\": {id}, \"error\": {{\"class\": \"CommandNotFound\", \"desc\": \"no such\"}}}}\r\n"),
        })
        .unwrap();
        qmp.execute("system_powerdown", &Value::Null).unwrap();
        let event = qmp.wait_event(0, "SHUTDOWN", &Deadline::seconds(10)).unwrap();
        assert_eq!((event.index, &event.data["guest"]), (1, &Value::Bool(true)));
        assert_eq!(qmp.event_mark(), 2);
        let error = qmp.execute("no-such", &json!({"a": 1})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused no-such: CommandNotFound: no such");
        let error = qmp.wait_event(2, "SHUTDOWN", &Deadline::after(Duration::from_millis(10))).unwrap_err();
        assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    }

    #[test]
    fn nonsense_and_a_closed_connection_are_errors() {
        let error = monitor(|_, _| "hello\n".to_owned()).unwrap_err();
        assert!(matches!(&error, QmpError::Malformed { line, .. } if line == "hello"), "{error}");
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(Qmp::connect(ours), Err(QmpError::Closed { .. })));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "\\PC*", key in "QMP|event|id|return|error", value in "[0-9]{1,3}|\"x\"|\\{\\}|null") {
            let _ = parse(&line);
            let _ = parse(&format!("{{\"{key}\":{value}}}"));
            let _ = parse(&format!("{{\"id\":1,\"{key}\":{value}}}"));
        }
    }
}
