//! What the node says: to init, in its status file, and on the console while it waits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{clock, files::write_atomically};
use crate::{notice, notify::Message, paths, status::NodeStatus, warning};

/// A wait that takes longer than this is said, and said again after as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node's voice.
#[derive(Debug)]
pub struct Report {
    status: NodeStatus,
    written: Option<NodeStatus>,
    root: PathBuf,
    socket: PathBuf,
}

impl Report {
    /// A report below `root`.
    #[must_use]
    pub fn new(root: &Path, status: NodeStatus) -> Self {
        let socket = root.join(paths::NOTIFY_SOCKET.trim_start_matches('/'));
        Self { status, written: None, root: root.to_owned(), socket }
    }

    /// Changes the status; the file is written when something did change.
    pub fn update(&mut self, change: impl FnOnce(&mut NodeStatus)) {
        change(&mut self.status);
        if self.written.as_ref() == Some(&self.status) {
            return;
        }
        let path = self.root.join(paths::NODE_STATUS.trim_start_matches('/'));
        let json = serde_json::to_vec_pretty(&self.status).unwrap_or_default();
        match write_atomically(&path, &json, 0o600) {
            Ok(()) => self.written = Some(self.status.clone()),
            Err(error) => warning!("{error}"),
        }
    }

    /// The status as it is.
    #[must_use]
    pub fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// Tells init; a missing init (a test, a desk) is no error.
    pub fn tell(&self, messages: &[Message]) {
        if let Err(error) = crate::notify::send(&self.socket, messages) {
            crate::info!("failed to reach init: {error}");
        }
    }

    /// A point of the boot's timeline was reached.
    pub fn phase(&self, name: &str) {
        self.tell(&[Message::Phase(name.to_owned()), Message::Status(name.to_owned())]);
    }

    /// Notes what the node waits for, or that it waits no longer.
    pub fn awaits(&mut self, what: Option<&str>) {
        if self.status.awaits.as_deref() != what {
            if let Some(what) = what {
                self.tell(&[Message::Status(format!("waiting for {what}"))]);
            }
            self.update(|status| status.awaits = what.map(str::to_owned));
        }
    }
}

/// When the node was healthy first, if this process is not the first of this boot: `READY` is said once.
#[must_use]
pub fn ready_before(root: &Path) -> Option<u64> {
    let text = std::fs::read(root.join(paths::NODE_STATUS.trim_start_matches('/'))).ok()?;
    serde_json::from_slice::<NodeStatus>(&text).ok()?.ready_at_ms
}

/// Says every ten seconds what is waited for.
#[derive(Debug, Clone)]
pub struct Waiting {
    since: Duration,
    next: Duration,
}

impl Default for Waiting {
    fn default() -> Self {
        let now = clock::now();
        Self { since: now, next: now + PATIENCE }
    }
}

impl Waiting {
    /// Says it when it is time.
    pub fn tick(&mut self, what: &str) {
        if let Some(line) = self.line(what, clock::now()) {
            notice!("{line}");
        }
    }

    /// The line to say at `now`, when one is due.
    fn line(&mut self, what: &str, now: Duration) -> Option<String> {
        (now >= self.next).then(|| {
            self.next += PATIENCE;
            format!("waiting for {what} ({} s)", now.saturating_sub(self.since).as_secs())
        })
    }

    /// Whether something that is repeated at the same pace is due.
    pub fn due(&mut self, now: Duration) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + PATIENCE;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_every_ten_seconds() {
        let s = Duration::from_secs;
        let mut waiting = Waiting { since: s(5), next: s(15) };
        assert_eq!(waiting.line("x", s(14)), None);
        assert_eq!(waiting.line("x", s(15)).as_deref(), Some("waiting for x (10 s)"));
        assert_eq!(waiting.line("x", s(16)), None);
        assert_eq!(waiting.line("y", s(25)).as_deref(), Some("waiting for y (20 s)"));
    }

    #[test]
    fn the_status_file_follows() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/steppe")).unwrap();
        let mut report = Report::new(root.path(), NodeStatus::default());
        report.awaits(Some("a lease"));
        let read = || -> NodeStatus {
            serde_json::from_slice(&std::fs::read(root.path().join("run/steppe/node.json")).unwrap()).unwrap()
        };
        assert_eq!(read().awaits.as_deref(), Some("a lease"));
        report.awaits(None);
        assert_eq!(read().awaits, None);
        assert_eq!(ready_before(root.path()), None);
        report.update(|status| status.ready_at_ms = Some(7920));
        assert_eq!(ready_before(root.path()), Some(7920));
    }
}
