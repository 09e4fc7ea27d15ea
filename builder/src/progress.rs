//! What a build says while it runs: a spinner on a terminal, lines elsewhere, JSON for programs, or nothing.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

/// How a build reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A spinner on a terminal, plain lines otherwise.
    People,
    /// Warnings and errors only.
    Quiet,
    /// One JSON object a line, on standard output.
    Json,
}

/// Reports a build. People's lines go to standard error; standard output has only results.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// A reporter of the given style.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let spinner = (style == Style::People && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(look) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(look);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { style, spinner }
    }

    /// A reporter that says nothing, for tests and other programs.
    #[must_use]
    pub const fn silent() -> Self {
        Self { style: Style::Quiet, spinner: None }
    }

    /// Runs a step, and says what it is and how long it took. `work` returns what it has to say about its result.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn step<T, E>(&self, name: &str, work: impl FnOnce() -> Result<(T, String), E>) -> Result<T, E> {
        if let Some(bar) = &self.spinner {
            bar.set_message(name.to_owned());
        }
        let start = Instant::now();
        let (value, summary) = work()?;
        let seconds = start.elapsed().as_secs_f64();
        match self.style {
            Style::Json => self.json(&json!({ "event": "step", "name": name, "summary": summary, "seconds": seconds })),
            Style::People => self.line(&format!("{name:<10} {summary} ({seconds:.1} s)")),
            Style::Quiet => {}
        }
        Ok(value)
    }

    /// Something on the way.
    pub fn say(&self, text: &str) {
        match self.style {
            Style::Json => self.json(&json!({ "event": "note", "text": text })),
            Style::People => match &self.spinner {
                Some(bar) => bar.set_message(text.to_owned()),
                None => self.line(&format!("{:<10} {text}", "")),
            },
            Style::Quiet => {}
        }
    }

    /// Something that the user should know.
    pub fn warn(&self, text: &str) {
        match self.style {
            Style::Json => self.json(&json!({ "event": "warning", "text": text })),
            Style::People | Style::Quiet => self.line(&format!("warning: {text}")),
        }
    }

    /// The end of a build: what it made.
    pub fn result(&self, result: &serde_json::Value, paths: &[String]) {
        if let Some(bar) = &self.spinner {
            bar.finish_and_clear();
        }
        match self.style {
            Style::Json => self.json(result),
            Style::People => print(&paths.join("\n")),
            Style::Quiet => {}
        }
    }

    /// The end of a build that failed.
    pub fn failure(&self, text: &str) {
        if let Some(bar) = &self.spinner {
            bar.finish_and_clear();
        }
        match self.style {
            Style::Json => self.json(&json!({ "event": "error", "text": text })),
            Style::People | Style::Quiet => self.line(&format!("error: {text}")),
        }
    }

    fn json(&self, value: &serde_json::Value) {
        print(&value.to_string());
    }

    fn line(&self, text: &str) {
        let write = || {
            // A reader that went away must not end the build.
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.spinner {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Bytes as people read them.
#[must_use]
pub fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000.. => format!("{} MB", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_for_people() {
        assert_eq!(super::bytes(999), "999 B");
        assert_eq!(super::bytes(1_250), "1.2 kB");
        assert_eq!(super::bytes(35_960_000), "35.9 MB");
    }
}
