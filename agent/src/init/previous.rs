//! The logs of this boot, kept on the state partition for the next one: `/state/steppe/log/current`, which the next boot
//! calls `previous`.
//!
//! A thread of its own follows them, however the boot ends, and waits for the disk: one that does not answer must not keep
//! init from its work.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::Shutdown,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{notice, paths, warning};

use super::{crash, kmsg::Kmsg, output::UnitLog};

/// Time between two looks. A machine that loses its power loses what was said since the last one.
const EVERY: Duration = Duration::from_secs(5);
/// How long the last look may take.
const LAST: Duration = Duration::from_secs(5);
/// The thread's stack, in bytes.
const STACK: usize = 128 * 1024;
/// Bytes that are written at a time.
const PIECE: usize = 32 * 1024;

/// The thread that keeps the logs: a connection to it, of which it closes its end last.
#[derive(Debug)]
pub(super) struct Keeper(UnixStream);

/// The state is there: what the last boot left becomes the previous boot's, with what the kernel said when it died, and
/// this boot leaves something from now on.
pub(super) fn begin() -> Option<Keeper> {
    let log = Path::new(paths::STATE_DIR).join("log");
    if let Err(why) = rotate(&log) {
        warning!("failed to keep the log of the previous boot: {why}");
    }
    crash::keep(Path::new(crash::PSTORE), &log);
    let mut logs = Logs::new(Path::new(paths::LOG_DIR), &log.join("current"));
    let keeper = Keeper::start(EVERY, move || logs.look());
    keeper.map_err(|why| warning!("the logs are not kept: {why}")).ok()
}

impl Keeper {
    /// Looks now, then every `pause`, and once more at the end.
    fn start(pause: Duration, mut look: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(LAST))?;
        theirs.set_read_timeout(Some(pause))?;
        let work = move || {
            look();
            // Nobody writes: this ends with the time, or with the connection.
            while (&theirs).read(&mut [0]).is_err() {
                look();
            }
            look();
            // Who waits for the end wants the files closed.
            drop(look);
            drop(theirs);
        };
        thread::Builder::new().name("logs".into()).stack_size(STACK).spawn(work)?;
        Ok(Self(ours))
    }

    /// Keeps what was said until now, and ends.
    pub(super) fn finish(self) {
        notice!("shutdown: saving the logs");
        let asked = self.0.shutdown(Shutdown::Write);
        if asked.and((&self.0).read(&mut [0])).is_err() {
            warning!("shutdown: the disk does not take the logs; going on without them");
        }
    }
}

/// What was current is previous; without it, there is no previous.
fn rotate(log: &Path) -> io::Result<()> {
    let (current, previous) = (log.join("current"), log.join("previous"));
    if current.exists() {
        if previous.exists() {
            fs::remove_dir_all(&previous)?;
        }
        fs::rename(&current, previous)?;
    }
    fs::create_dir_all(current)
}

/// The logs and where each is kept, as a log of the same bounds: its last 512 KiB at least, and 1 MiB at most.
struct Logs {
    from: PathBuf,
    to: PathBuf,
    kernel: Option<Kmsg>,
    kernel_log: UnitLog,
    units: Vec<Followed>,
    /// Whether the last look failed, which is said once.
    failed: bool,
}

/// A unit's log.
struct Followed {
    name: String,
    /// What is read, from where the last look came to.
    file: Option<File>,
    kept: UnitLog,
}

impl Logs {
    fn new(from: &Path, to: &Path) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self { kernel: None, kernel_log: UnitLog::new(&to, "kernel"), units: Vec::new(), failed: false, from, to }
    }

    fn look(&mut self) {
        let kernel = self.kernel();
        let failed = kernel.and(self.units());
        if let Err(why) = &failed
            && !self.failed
        {
            warning!("failed to keep the logs in {}: {why}", self.to.display());
        }
        self.failed = failed.is_err();
    }

    fn kernel(&mut self) -> io::Result<()> {
        let from = match &mut self.kernel {
            Some(kernel) => kernel,
            empty => empty.insert(Kmsg::open()?),
        };
        let mut text = String::new();
        while let Some(line) = from.next_line()? {
            text.push_str(&line);
            text.push('\n');
            if text.len() >= PIECE {
                self.kernel_log.append(text.as_bytes())?;
                text.clear();
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        self.kernel_log.append(text.as_bytes())?;
        self.kernel_log.sync()
    }

    fn units(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.from).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".log")) else { continue };
            if !self.units.iter().any(|unit| unit.name == name) {
                self.units.push(Followed { name: name.into(), file: None, kept: UnitLog::new(&self.to, name) });
            }
        }
        for unit in &mut self.units {
            unit.follow(&self.from.join(format!("{}.log", unit.name)))?;
        }
        Ok(())
    }
}

impl Followed {
    /// Keeps what is new at `path`. A file that is open stays the same when it becomes the older generation, so that its end
    /// is not lost.
    fn follow(&mut self, path: &Path) -> io::Result<()> {
        let mut buffer = [0; PIECE];
        let mut wrote = false;
        // Bounded: a unit that prints without end.
        for _ in 0..3 {
            let file = match &mut self.file {
                Some(file) => file,
                empty => match File::open(path) {
                    Ok(file) => empty.insert(file),
                    Err(why) if why.kind() == io::ErrorKind::NotFound => break,
                    Err(why) => return Err(why),
                },
            };
            loop {
                let size = file.read(&mut buffer)?;
                if size == 0 {
                    break;
                }
                self.kept.append(&buffer[..size])?;
                wrote = true;
            }
            if fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|then| now.ino() == then.ino())) {
                break;
            }
            self.file = None;
        }
        if wrote { self.kept.sync() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::output::tail;

    #[test]
    fn a_log_is_followed_through_its_generations() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("run"), dir.path().join("current"));
        for dir in [&from, &to] {
            fs::create_dir(dir).unwrap();
        }
        let mut logs = Logs::new(&from, &to);
        logs.units().unwrap();
        let (mut unit, mut total) = (UnitLog::new(&from, "nomad"), String::new());
        // Each step is more than a generation.
        for step in 0..4 {
            for line in 0..30_000 {
                let line = format!("step {step} line {line:05}\n");
                unit.append(line.as_bytes()).unwrap();
                total += &line;
                // Between the looks a generation ends at most once.
                if total.len() % (300 * 1024) < line.len() {
                    logs.units().unwrap();
                }
            }
        }
        logs.units().unwrap();
        let kept =
            fs::read_to_string(to.join("nomad.log.1")).unwrap() + &fs::read_to_string(to.join("nomad.log")).unwrap();
        assert!(kept.len() > 512 * 1024 && kept.len() <= 1024 * 1024 + 2 * PIECE, "{}", kept.len());
        assert!(total.ends_with(&kept), "a gap, or a line twice");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    }

    #[test]
    fn what_the_disk_does_not_take_is_said_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("run"), dir.path().join("current"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("nomad.log"), "one\n").unwrap();
        let mut logs = Logs::new(&from, &to);
        assert!(logs.units().is_err());
        fs::create_dir(&to).unwrap();
        fs::write(from.join("node.log"), "other\n").unwrap();
        File::options()
            .append(true)
            .open(from.join("nomad.log"))
            .and_then(|mut f| io::Write::write_all(&mut f, b"two\n"))
            .unwrap();
        logs.units().unwrap();
        assert_eq!(tail(&to.join("node.log"), 9), ["other"]);
        assert!(tail(&to.join("nomad.log"), 9).ends_with(&["two".to_owned()]));
    }

    #[test]
    fn each_boot_has_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        rotate(dir.path()).unwrap();
        assert!(!dir.path().join("previous").exists());
        for boot in ["first", "second"] {
            fs::write(dir.path().join("current/kernel.log"), boot).unwrap();
            rotate(dir.path()).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("previous/kernel.log")).unwrap(), boot);
            assert_eq!(fs::read_dir(dir.path().join("current")).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_keeper_looks_again_and_again_and_once_more_at_the_end() {
        let (looks, seen) = std::sync::mpsc::channel();
        let keeper = Keeper::start(Duration::from_millis(1), move || looks.send(()).unwrap()).unwrap();
        seen.recv().unwrap();
        seen.recv().unwrap();
        keeper.finish();
        // It is gone, and what it looked with.
        assert!(seen.iter().count() >= 1);

        let (looks, seen) = std::sync::mpsc::channel();
        Keeper::start(Duration::from_secs(3600), move || looks.send(()).unwrap()).unwrap().finish();
        assert_eq!(seen.iter().count(), 2);
    }
}
