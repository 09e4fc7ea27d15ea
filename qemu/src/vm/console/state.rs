//! What a console has shown so far.

use crate::vm::console::Line;
use crate::vm::lines::LineAssembler;
use crate::vm::verdict::Verdicts;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Everything that a console remembers.
#[derive(Debug)]
pub(super) struct State {
    pub(super) lines: Vec<Line>,
    pub(super) assembler: LineAssembler,
    pub(super) verdicts: Verdicts,
    /// The first line that no healthy machine writes.
    pub(super) fatal: Option<String>,
    pub(super) log: Option<File>,
    pub(super) powered_on: Instant,
    /// Counts power-ons; the reader of an earlier one must not close a later one.
    pub(super) boot: u64,
    pub(super) input: Option<UnixStream>,
}

impl State {
    pub(super) fn add(&mut self, text: String) {
        let line = Line { index: self.lines.len(), at: self.powered_on.elapsed(), text };
        self.write_log(&format!("[{:9.3}] {}\n", line.at.as_secs_f64(), line.text));
        if self.fatal.is_none() && self.verdicts.is_fatal(&line.text) {
            self.fatal = Some(line.text.clone());
        }
        self.lines.push(line);
    }

    /// The line that has begun, with the place it will have.
    pub(super) fn partial(&self) -> Option<Line> {
        let text = self.assembler.partial();
        (!text.is_empty()).then(|| Line { index: self.lines.len(), at: self.powered_on.elapsed(), text })
    }

    /// Makes a line of what a machine wrote before it went off in the middle of one.
    pub(super) fn finish_partial(&mut self) {
        if let Some(line) = self.partial() {
            self.assembler = LineAssembler::default();
            self.add(line.text);
        }
    }

    pub(super) fn write_log(&mut self, text: &str) {
        // A log that cannot be written (disk full) must not stop a test; the lines are in memory too.
        if let Some(Err(_)) = self.log.as_mut().map(|log| log.write_all(text.as_bytes())) {
            self.log = None;
        }
    }

    pub(super) fn tail(&self, count: usize) -> String {
        let start = self.lines.len().saturating_sub(count);
        let lines = self.lines[start..].iter().cloned().chain(self.partial());
        lines.map(|line| format!("[{:9.3}] {}\n", line.at.as_secs_f64(), line.text)).collect()
    }
}
