//! The log on disk: one append-only file of JSON lines behind a header, read once at the start and kept in memory.
//!
//! A line is an entry, a vote, or a cut. A last line without its end is the trace of a crash during a write that nobody was told had
//! succeeded, and is dropped. The file is written anew when a purge has made most of it useless.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::RangeBounds;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, ErrorSubject, ErrorVerb, LogId, LogState, OptionalSend, RaftLogReader, StorageError, Vote};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{Types, storage_error};

/// Why there is no log to start with.
#[derive(Debug, Error)]
pub(crate) enum BadLog {
    /// The file could not be read or written.
    #[error("failed to open {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The file is not a log.
    #[error("invalid database")]
    Invalid,
}

/// First bytes of the file, filled with spaces to a page.
const MAGIC: &str = "stand-in raft log 1";
const HEADER: usize = 4096;
/// Lines that no longer count, before the file is written anew.
const GARBAGE: usize = 4096;

#[derive(Serialize, Deserialize)]
enum Line {
    Entry(Entry<Types>),
    Vote(Vote<Uuid>),
    Committed(Option<LogId<Uuid>>),
    Truncate(u64),
    Purge(LogId<Uuid>),
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    entries: BTreeMap<u64, Entry<Types>>,
    vote: Option<Vote<Uuid>>,
    committed: Option<LogId<Uuid>>,
    purged: Option<LogId<Uuid>>,
    garbage: usize,
}

/// The log of one server.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    inner: Arc<Mutex<Inner>>,
}

impl LogStore {
    /// Opens or makes the log.
    ///
    /// # Errors
    /// If the file cannot be opened, or is no log.
    pub(crate) fn open(path: &Path) -> Result<Self, BadLog> {
        let io = |source| BadLog::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let bytes = std::fs::read(path).map_err(io)?;
        let mut inner = Inner {
            path: path.to_owned(),
            file: file.try_clone().map_err(io)?,
            entries: BTreeMap::new(),
            vote: None,
            committed: None,
            purged: None,
            garbage: 0,
        };
        if bytes.is_empty() {
            file.write_all(header().as_bytes()).map_err(io)?;
            file.sync_data().map_err(io)?;
        } else {
            let body = bytes.get(HEADER..).filter(|_| bytes.starts_with(MAGIC.as_bytes())).ok_or(BadLog::Invalid)?;
            let end = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in body[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                inner.replay(serde_json::from_slice(line).map_err(|_| BadLog::Invalid)?);
            }
            let size = u64::try_from(HEADER + end).unwrap_or(u64::MAX);
            inner.file.set_len(size).map_err(io)?;
            inner.file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header() -> String {
    format!("{MAGIC:<width$}\n", width = HEADER - 1)
}

impl Inner {
    fn replay(&mut self, line: Line) {
        match line {
            Line::Entry(entry) => drop(self.entries.insert(entry.log_id.index, entry)),
            Line::Vote(vote) => self.vote = Some(vote),
            Line::Committed(id) => self.committed = id,
            Line::Truncate(from) => {
                self.garbage += self.entries.split_off(&from).len();
            }
            Line::Purge(upto) => {
                let kept = self.entries.split_off(&(upto.index + 1));
                self.garbage += self.entries.len();
                self.entries = kept;
                self.purged = Some(upto);
            }
        }
    }

    fn write(&mut self, lines: &[Line], sync: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Writes the file anew, without what no longer counts.
    fn compact(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut bytes = header().into_bytes();
        let mut put = |line: &Line| serde_json::to_writer(&mut bytes, line).map(|()| bytes.push(b'\n'));
        if let Some(purged) = self.purged {
            put(&Line::Purge(purged))?;
        }
        if let Some(vote) = self.vote {
            put(&Line::Vote(vote))?;
        }
        put(&Line::Committed(self.committed))?;
        for entry in self.entries.values() {
            put(&Line::Entry(entry.clone()))?;
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&path, &self.path)?;
        self.file = file;
        self.garbage = 0;
        Ok(())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, StorageError<Uuid>> {
        Ok(self.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<Uuid>> {
        let inner = self.lock();
        let last = inner.entries.last_key_value().map(|(_, entry)| entry.log_id).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<Uuid>) -> Result<(), StorageError<Uuid>> {
        let mut inner = self.lock();
        inner.vote = Some(*vote);
        inner
            .write(&[Line::Vote(*vote)], true)
            .map_err(|error| storage_error(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<Uuid>>, StorageError<Uuid>> {
        Ok(self.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<Uuid>>) -> Result<(), StorageError<Uuid>> {
        let mut inner = self.lock();
        inner.committed = committed;
        // No sync: an older value is correct as well, it only makes the start apply less.
        inner
            .write(&[Line::Committed(committed)], false)
            .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Write, &error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<Uuid>>, StorageError<Uuid>> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError<Uuid>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        let lines: Vec<Line> = entries.into_iter().map(Line::Entry).collect();
        let result = inner.write(&lines, true);
        for line in lines {
            inner.replay(line);
        }
        drop(inner);
        callback.log_io_completed(result);
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<Uuid>) -> Result<(), StorageError<Uuid>> {
        let mut inner = self.lock();
        inner.replay(Line::Truncate(log_id.index));
        inner
            .write(&[Line::Truncate(log_id.index)], true)
            .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))
    }

    async fn purge(&mut self, log_id: LogId<Uuid>) -> Result<(), StorageError<Uuid>> {
        let mut inner = self.lock();
        inner.replay(Line::Purge(log_id));
        let result = if inner.garbage > GARBAGE { inner.compact() } else { inner.write(&[Line::Purge(log_id)], false) };
        result.map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::{CommittedLeaderId, EntryPayload};

    fn entry(index: u64) -> Entry<Types> {
        Entry { log_id: LogId::new(CommittedLeaderId::new(1, Uuid::nil()), index), payload: EntryPayload::Blank }
    }

    #[test]
    fn a_line_cut_by_a_crash_is_dropped_and_a_cut_header_is_no_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft.db");
        let store = LogStore::open(&path).unwrap();
        store.lock().write(&[Line::Entry(entry(0)), Line::Entry(entry(1))], true).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(LogStore::open(&path).unwrap().lock().entries.len(), 1);
        std::fs::write(&path, &bytes[..100]).unwrap();
        assert!(matches!(LogStore::open(&path), Err(BadLog::Invalid)));
    }

    #[test]
    fn compaction_keeps_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft.db");
        let store = LogStore::open(&path).unwrap();
        {
            let mut inner = store.lock();
            for index in 0..10 {
                inner.write(&[Line::Entry(entry(index))], false).unwrap();
                inner.replay(Line::Entry(entry(index)));
            }
            inner.replay(Line::Purge(entry(7).log_id));
            inner.compact().unwrap();
            inner.write(&[Line::Entry(entry(10))], true).unwrap();
        }
        let again = LogStore::open(&path).unwrap();
        let inner = again.lock();
        assert_eq!(inner.entries.keys().copied().collect::<Vec<_>>(), [8, 9, 10]);
        assert_eq!(inner.purged, Some(entry(7).log_id));
    }
}
