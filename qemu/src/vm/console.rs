//! A machine's serial console: everything it wrote, with times, and a way to type.

mod error;
mod state;

pub use error::ConsoleError;

use crate::Deadline;
use crate::vm::lines::LineAssembler;
use crate::vm::pattern::Pattern;
use crate::vm::verdict::Verdicts;
use state::State;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One line of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place among all lines since the machine's first power-on.
    pub index: usize,
    /// When it was complete, since power-on.
    pub at: Duration,
    /// The text, without line end and escape sequences.
    pub text: String,
}

/// A place in a console's output: what comes after it is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

impl Line {
    /// The place right behind this line.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark(self.index + 1)
    }
}

/// The console of one machine. It stays the same over power cycles; clones are handles to the same console.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    machine: String,
    state: Mutex<State>,
    changed: Condvar,
}

impl Console {
    /// A console without a machine yet. Lines go to `log` as well, each with its time.
    #[must_use]
    pub fn new(machine: &str, log: Option<File>) -> Self {
        let state = State {
            lines: Vec::new(),
            assembler: LineAssembler::default(),
            verdicts: Verdicts::default(),
            fatal: None,
            log,
            powered_on: Instant::now(),
            boot: 0,
            input: None,
        };
        let shared = Shared { machine: machine.to_owned(), state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Connects a machine that has just been powered on, and reads what it writes on a thread of its own until it closes.
    ///
    /// # Errors
    /// What duplicating a descriptor can give.
    pub fn attach(&self, stream: UnixStream) -> io::Result<()> {
        let mut reader = stream.try_clone()?;
        let boot = {
            let mut state = self.state();
            state.finish_partial();
            state.boot += 1;
            state.powered_on = Instant::now();
            state.assembler = LineAssembler::default();
            state.input = Some(stream);
            let note = format!("--- {} powered on, time {}\n", self.shared.machine, state.boot);
            state.write_log(&note);
            state.boot
        };
        let console = self.clone();
        std::thread::Builder::new().name(format!("console {}", self.shared.machine)).spawn(move || {
            let mut buffer = [0; 4096];
            // An error is a connection that is gone, as the end is.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                console.feed(&buffer[..count]);
            }
            console.close(boot);
        })?;
        Ok(())
    }

    /// Takes what the machine wrote.
    fn feed(&self, bytes: &[u8]) {
        let mut state = self.state();
        let mut complete = Vec::new();
        state.assembler.push(bytes, |line| complete.push(line));
        for text in complete {
            state.add(text);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn close(&self, boot: u64) {
        let mut state = self.state();
        if state.boot == boot {
            state.finish_partial();
            state.input = None;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The place behind all lines that were written so far. A line that has only begun still counts as new.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.state().lines.len())
    }

    /// Waits for a line anywhere since the first power-on; see [`Console::wait_after`].
    ///
    /// # Errors
    /// [`ConsoleError`], but for `Input`.
    pub fn wait_for(&self, pattern: impl Pattern, deadline: &Deadline) -> Result<Line, ConsoleError> {
        self.wait_after(Mark(0), pattern, deadline)
    }

    /// Waits for a line after `mark`. Lines that are there already count; one without an end yet does not, since more of it may come
    /// (see [`Console::wait_prompt`]).
    ///
    /// # Errors
    /// When the deadline passes, the machine ends, or it writes a line that is fatal (see [`Console::allow`]).
    pub fn wait_after(&self, mark: Mark, pattern: impl Pattern, deadline: &Deadline) -> Result<Line, ConsoleError> {
        let describe = || pattern.describe();
        self.wait_map(mark, describe, deadline, |line| pattern.matches(&line.text).then(|| line.clone()))
    }

    /// Waits for a line that has begun but not ended: something that asks for input.
    ///
    /// # Errors
    /// As [`Console::wait_after`].
    pub fn wait_prompt(&self, pattern: impl Pattern, deadline: &Deadline) -> Result<Line, ConsoleError> {
        let describe = || format!("{} as a prompt", pattern.describe());
        self.wait(describe, deadline, |state| state.partial().filter(|line| pattern.matches(&line.text)))
    }

    /// Waits until `select` makes something of a line after `mark`; `what` names it in messages.
    ///
    /// # Errors
    /// As [`Console::wait_after`].
    pub fn wait_map<T>(
        &self,
        mark: Mark,
        what: impl Fn() -> String,
        deadline: &Deadline,
        mut select: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T, ConsoleError> {
        let mut next = mark.0;
        self.wait(what, deadline, |state| {
            while let Some(line) = state.lines.get(next) {
                next += 1;
                if let Some(found) = select(line) {
                    return Some(found);
                }
            }
            None
        })
    }

    fn wait<T>(
        &self,
        what: impl Fn() -> String,
        deadline: &Deadline,
        mut select: impl FnMut(&State) -> Option<T>,
    ) -> Result<T, ConsoleError> {
        let mut state = self.state();
        loop {
            if let Some(found) = select(&state) {
                return Ok(found);
            }
            let (machine, pattern, tail) = (self.shared.machine.clone(), what(), state.tail(20));
            if let Some(line) = state.fatal.clone() {
                return Err(ConsoleError::Fatal { machine, pattern, line, tail });
            }
            if state.input.is_none() && state.boot > 0 {
                return Err(ConsoleError::Closed { machine, pattern, tail });
            }
            let remaining = deadline.remaining();
            if remaining.is_zero() {
                return Err(ConsoleError::Timeout { machine, pattern, allowed: deadline.allowed(), tail });
            }
            state = self.shared.changed.wait_timeout(state, remaining).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first line after `mark` that is there now.
    #[must_use]
    pub fn find_after(&self, mark: Mark, pattern: impl Pattern) -> Option<Line> {
        self.state().lines.iter().skip(mark.0).find(|line| pattern.matches(&line.text)).cloned()
    }

    /// The first line that is there now.
    #[must_use]
    pub fn find(&self, pattern: impl Pattern) -> Option<Line> {
        self.find_after(Mark(0), pattern)
    }

    /// All lines after `mark`.
    #[must_use]
    pub fn lines_after(&self, mark: Mark) -> Vec<Line> {
        self.state().lines.iter().skip(mark.0).cloned().collect()
    }

    /// The last `count` lines as text.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        self.state().tail(count)
    }

    /// Types `text` as it is.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn type_text(&self, text: &str) -> Result<(), ConsoleError> {
        let input = self.state().input.as_ref().map(UnixStream::try_clone);
        // Written without the lock: a guest that does not read its console must not stop the reader.
        let result = input.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()));
        let result = result.and_then(|mut stream| stream.write_all(text.as_bytes()));
        result.map_err(|source| ConsoleError::Input { machine: self.shared.machine.clone(), source })
    }

    /// Types a line and the return key.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn type_line(&self, line: &str) -> Result<(), ConsoleError> {
        self.type_text(&format!("{line}\r"))
    }

    /// Types a command at a prompt, and gives the lines that it wrote up to the next prompt, the echo of the command not among them.
    ///
    /// A message of the kernel may have pushed the prompt away: an empty line asks for a new one first.
    ///
    /// # Errors
    /// When the machine is off, or a prompt does not come in time.
    pub fn command(&self, prompt: &str, command: &str, deadline: &Deadline) -> Result<Vec<String>, ConsoleError> {
        let Mark(current) = self.mark();
        self.type_line("")?;
        let ready = self.prompt_after(Mark(current + 1), prompt, deadline)?;
        self.type_line(command)?;
        let echo = self.wait_after(Mark(ready.index), command, deadline)?;
        let next = self.prompt_after(echo.end(), prompt, deadline)?;
        let lines = self.lines_after(echo.end()).into_iter().take_while(|line| line.index < next.index);
        Ok(lines.map(|line| line.text).collect())
    }

    /// A line after `mark` that begins with a prompt, whether something came behind it or not.
    fn prompt_after(&self, mark: Mark, prompt: &str, deadline: &Deadline) -> Result<Line, ConsoleError> {
        let describe = || format!("{prompt:?} as a prompt");
        self.wait(describe, deadline, |state| {
            let partial = state.partial().filter(|line| line.index >= mark.0);
            let mut lines = state.lines.iter().skip(mark.0).cloned().chain(partial);
            lines.find(|line| line.text.starts_with(prompt))
        })
    }

    /// Takes lines with `part` in them as harmless from now on, although [`crate::vm::FATAL`] lists them. Forgives one that was seen.
    pub fn allow(&self, part: &str) {
        let mut state = self.state();
        state.verdicts.allow(part);
        if state.fatal.as_ref().is_some_and(|line| line.contains(part)) {
            state.fatal = None;
        }
    }

    /// The first line, of whichever boot, that a healthy machine does not write.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.state().fatal.clone()
    }

    /// Lets what is written next end up in `log` instead of where it went before.
    pub fn log_to(&self, log: File) {
        self.state().log = Some(log);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
