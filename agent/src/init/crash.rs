//! Crash evidence: what the kernel said when it died, in a place that outlives it (`pstore`: variables of the UEFI firmware,
//! or what else the machine has), moved to the state partition at the next boot.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{output, trial};
use crate::{error, warning};

/// Where the kernel shows its records.
pub(super) const PSTORE: &str = "/sys/fs/pstore";
/// Between what was kept of the kernel's log and what it said after that.
const HEADING: &str = "--- and when it died:\n";
/// Crashes that are kept, the latest.
const KEPT: usize = 4;
/// Bytes that are kept of one: its end.
const CAP: usize = 128 * 1024;

/// A record, as the kernel shows it: a part of its log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was written, in seconds since 1970.
    pub time: i64,
    /// `Panic#1 Part2`, a newline, and lines of the log.
    pub bytes: Vec<u8>,
}

/// The number of a part, and what follows its heading. Part 1 has the last lines of the log, part 2 those before it.
fn part(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (_, number) = std::str::from_utf8(&bytes[..end]).ok()?.rsplit_once(" Part")?;
    Some((number.parse().ok()?, &bytes[end + 1..]))
}

/// The text of all records in the order in which it was written. The kernel writes the parts of a crash from its end to its
/// beginning, so every part 1 begins another one. What has no heading stands for itself.
#[must_use]
pub fn assemble(mut records: Vec<Record>) -> String {
    records.sort_by_key(|record| (record.time, part(&record.bytes).map_or(1, |(number, _)| number)));
    let mut crashes: Vec<Vec<&[u8]>> = Vec::new();
    for record in &records {
        let (number, text) = part(&record.bytes).unwrap_or((1, &record.bytes));
        match crashes.last_mut() {
            Some(crash) if number > 1 => crash.push(text),
            _ => crashes.push(vec![text]),
        }
    }
    let mut out = Vec::new();
    let lines = crashes.iter().flat_map(|crash| crash.iter().rev()).flat_map(|text| text.split(|byte| *byte == b'\n'));
    for line in lines.filter(|line| !line.is_empty()) {
        out.extend_from_slice(without_level(line));
        out.push(b'\n');
    }
    String::from_utf8_lossy(&out[out.len().saturating_sub(CAP)..]).into_owned()
}

/// `<4>[    1.000000] text` as other logs have it.
fn without_level(line: &[u8]) -> &[u8] {
    let end = line.iter().take(4).position(|byte| *byte == b'>').filter(|_| line[0] == b'<');
    end.map_or(line, |end| &line[end + 1..])
}

/// What of a crash's text stands behind the last line that was kept of the kernel's log; all, when that is not in it.
#[must_use]
pub fn rest<'a>(text: &'a str, last: &str) -> &'a str {
    let at = if last.is_empty() { None } else { text.rfind(last) };
    at.map_or(text, |at| text[at..].split_once('\n').map_or("", |(_, rest)| rest))
}

/// What a kernel that cannot go on says.
const PANIC: &str = "Kernel panic - not syncing: ";

/// The line that says why: the panic's own, else the last one that is not empty.
#[must_use]
pub fn reason(text: &str) -> &str {
    let panic = text.lines().rev().find_map(|line| line.find(PANIC).map(|at| &line[at..]));
    panic.or_else(|| text.lines().rfind(|line| !line.trim().is_empty())).unwrap_or_default()
}

/// Moves the records to `log`, adds them to the log of the previous boot, and says so. Without a record nothing is done;
/// what cannot be kept stays where it is.
pub(super) fn keep(pstore: &Path, log: &Path) {
    let found = records(pstore);
    if found.is_empty() {
        return;
    }
    let time = found.iter().map(|(_, record)| record.time).max().unwrap_or_default();
    let (paths, records): (Vec<PathBuf>, Vec<Record>) = found.into_iter().unzip();
    let text = assemble(records);
    let reason = reason(&text);
    // It may have gone on after a lesser fault ("oops").
    let what = if reason.starts_with(PANIC) { "died" } else { "had a fault" };
    error!("the kernel {what} before this boot: {reason}; `log --previous` has its last lines");
    if reason.starts_with(PANIC) {
        trial::died(reason);
    }
    if let Err(why) = write(log, time, &text) {
        return warning!("failed to keep what it said: {why}");
    }
    for path in paths {
        // The firmware has little room, and the next crash needs it.
        if let Err(why) = fs::remove_file(&path) {
            warning!("failed to remove {}: {why}", path.display());
        }
    }
}

fn records(pstore: &Path) -> Vec<(PathBuf, Record)> {
    let entries = fs::read_dir(pstore).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name();
        // What another kernel packed in its own way stays with it.
        name.to_str().filter(|name| name.starts_with("dmesg-") && !name.ends_with(".enc.z"))?;
        let time = entry.metadata().ok()?.mtime();
        Some((entry.path(), Record { time, bytes: fs::read(entry.path()).ok()? }))
    };
    entries.filter_map(read).collect()
}

fn write(log: &Path, time: i64, text: &str) -> io::Result<()> {
    let mut file = File::create(log.join(format!("crash-{time:012}.log")))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let previous = log.join("previous");
    fs::create_dir_all(&previous)?;
    let path = previous.join("kernel.log");
    let last = output::tail(&path, 1).pop().unwrap_or_default();
    let mut kernel = File::options().append(true).create(true).open(path)?;
    kernel.write_all(HEADING.as_bytes())?;
    kernel.write_all(rest(text, &last).as_bytes())?;
    let mut old: Vec<PathBuf> = fs::read_dir(log)?.flatten().map(|entry| entry.path()).collect();
    old.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crash-")));
    old.sort();
    old.iter().rev().skip(KEPT).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(time: i64, text: &str) -> Record {
        Record { time, bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn parts_are_put_in_the_order_of_the_log() {
        let records = vec![
            record(11, "Panic#2 Part2\n<4>[ 1.0] b\n"),
            record(10, "Oops#1 Part1\n<4>[ 0.5] a"),
            record(10, "Panic#2 Part1\n<0>[ 2.0] Kernel panic - not syncing: NMI: Not continuing\n<0>[ 2.1] end\n"),
        ];
        let text = assemble(records);
        let expected = "[ 0.5] a\n[ 1.0] b\n[ 2.0] Kernel panic - not syncing: NMI: Not continuing\n[ 2.1] end\n";
        assert_eq!(text, expected);
        assert_eq!(reason(&text), "Kernel panic - not syncing: NMI: Not continuing");
        assert_eq!((reason("a\nb\n\n"), reason("")), ("b", ""));
        assert_eq!(rest(&text, "[ 0.5] a"), text.split_once('\n').unwrap().1);
        assert_eq!((rest(&text, "[ 2.1] end"), rest(&text, "elsewhere"), rest(&text, "")), ("", &*text, &*text));
        for (line, bare) in
            [("<", "<"), ("<>", ""), ("<12>a", "a"), ("a>", "a>"), ("<14", "<14"), ("<12345>", "<12345>")]
        {
            assert_eq!(without_level(line.as_bytes()), bare.as_bytes());
        }
    }

    #[test]
    fn records_move_to_the_state_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let (pstore, log) = (dir.path().join("pstore"), dir.path().join("log"));
        fs::create_dir_all(&pstore).unwrap();
        fs::create_dir_all(&log).unwrap();
        keep(&pstore, &log);
        assert_eq!(fs::read_dir(&log).unwrap().count(), 0);
        for time in 0..6 {
            write(&log, time, "old\n").unwrap();
        }
        fs::remove_dir_all(log.join("previous")).unwrap();
        fs::write(pstore.join("dmesg-efi_pstore-1"), "Panic#1 Part1\n<0>[ 2.0] boom\n").unwrap();
        fs::write(pstore.join("console-ramoops-0"), "not a crash\n").unwrap();
        keep(&pstore, &log);
        assert_eq!(fs::read_dir(&pstore).unwrap().count(), 1);
        let kernel = fs::read_to_string(log.join("previous/kernel.log")).unwrap();
        assert_eq!(kernel, "--- and when it died:\n[ 2.0] boom\n");
        let kept = fs::read_dir(&log).unwrap().flatten().filter(|e| e.file_name() != "previous").count();
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn what_cannot_be_kept_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dmesg-efi_pstore-1"), "Panic#1 Part1\nboom\n").unwrap();
        keep(dir.path(), Path::new("/nonexistent"));
        assert!(dir.path().join("dmesg-efi_pstore-1").exists());
    }

    proptest! {
        #[test]
        fn any_records_are_assembled_and_bounded(
            parts in proptest::collection::vec((0_i64..3, "(Panic#1 Part[0-9]{0,3}\n)?[a-z\n]{0,20}"), 0..8),
            bytes: Vec<u8>,
        ) {
            let mut records: Vec<Record> = parts.iter().map(|(time, text)| record(*time, text)).collect();
            records.push(Record { time: 1, bytes });
            let text = assemble(records);
            let _ = rest(&text, reason(&text));
            prop_assert!(text.len() <= 3 * CAP);
        }
    }
}
