//! The log of this boot, kept on the state partition for the next one: `/state/steppe/log/previous`.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// What is kept of each log at most, in bytes: its end.
const CAP: u64 = 512 * 1024;

/// Saves the kernel's log and the files in `logs` to `dir`. What was there before is replaced as a whole.
///
/// # Errors
/// When the directory or a file in it cannot be written.
pub(super) fn save(kernel: &[String], logs: &Path, dir: &Path) -> io::Result<()> {
    let part = dir.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    let text = kernel.join("\n");
    let cut = text.floor_char_boundary(text.len().saturating_sub(usize::try_from(CAP).unwrap_or(usize::MAX)));
    let mut file = File::create(part.join("kernel.log"))?;
    file.write_all(&text.as_bytes()[cut..])?;
    file.write_all(b"\n")?;
    for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
        let mut from = File::open(entry.path())?;
        let start = from.metadata()?.len().saturating_sub(CAP);
        from.seek(SeekFrom::Start(start))?;
        io::copy(&mut from.take(CAP), &mut File::create(part.join(entry.file_name()))?)?;
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::rename(part, dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_replaced_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, previous) = (dir.path().join("logs"), dir.path().join("state/previous"));
        fs::create_dir_all(&logs).unwrap();
        fs::write(logs.join("nomad.log"), "x".repeat(600 * 1024) + "end").unwrap();
        save(&["one".into(), "two".into()], &logs, &previous).unwrap();
        fs::remove_file(logs.join("nomad.log")).unwrap();
        let kept = fs::read(previous.join("nomad.log")).unwrap();
        assert!(kept.len() == 512 * 1024 && kept.ends_with(b"end"));
        save(&["three".into()], &logs, &previous).unwrap();
        assert_eq!(fs::read_to_string(previous.join("kernel.log")).unwrap(), "three\n");
        assert!(!previous.join("nomad.log").exists());
    }
}
