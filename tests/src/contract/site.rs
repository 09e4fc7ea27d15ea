//! The place of one test: a directory, loopback addresses, and every process that was started in its name.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::command::{self, Ran};
use super::{Setup, nomad};

/// How long a command may take before it counts as hanging. The longest that ends by itself waits twice for a leader.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// Sweeps when a site is dropped, and, waiting on a pipe, when the test binary is gone.
const SWEEP: &str = include_str!("sweep.sh");

/// Directory of this test binary, and the process that removes it afterwards: statics are never dropped, and a binary that is
/// killed drops nothing at all.
static BASE: LazyLock<(PathBuf, Child)> = LazyLock::new(|| {
    // The facts about modes are facts under the usual mask, and agents of other users read what is written here.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let dir = tempfile::Builder::new().prefix("steppe-contract-").tempdir().expect("temporary directory").keep();
    // Agents of other users pass through.
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711)).expect("own directory");
    let keeper = sweeper(&dir)
        .arg("wait")
        .stdin(Stdio::piped())
        // Not in the terminal's group: it has work to do after Ctrl-C.
        .process_group(0)
        .spawn()
        .expect("/bin/sh to sweep up");
    (dir, keeper)
});

static SITES: AtomicUsize = AtomicUsize::new(1);
static ADDRESSES: AtomicU8 = AtomicU8::new(1);

fn sweeper(dir: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SWEEP, "sweep"]).arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A directory and the processes started in its name. Clones share it; with the last one everything goes.
#[derive(Debug, Clone)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    runs: AtomicUsize,
}

impl Site {
    /// A fresh place.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        // Short names: sockets below have to fit into 108 bytes.
        let dir = BASE.0.join(format!("{}", SITES.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&dir).expect("directory of the test");
        Self(Arc::new(Inner { dir, runs: AtomicUsize::new(0) }))
    }

    /// Its directory, an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Writes a file, with its parents, and returns its path.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.dir.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(&path, text).expect("file");
        path
    }

    /// A loopback address that nobody else uses, in this binary or in one that runs beside it.
    ///
    /// # Panics
    /// When one binary asks for more than 254.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        assert!(host != 255, "no loopback address left");
        // Never 127.0.x.y: that is where the rest of the machine lives.
        Ipv4Addr::new(127, high % 254 + 1, low, host)
    }

    /// Nomad, in the site's directory, with an environment that holds nothing of the caller's.
    #[must_use]
    pub fn nomad(&self) -> Command {
        self.command(nomad())
    }

    /// A program that runs in the site's name: with it, it ends.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir())
            .env("TMPDIR", self.dir())
            .env("STEPPE_CONTRACT", format!("{}/", self.dir().display()))
            .current_dir(self.dir())
            .stdin(Stdio::null());
        command
    }

    /// Runs Nomad to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.nomad();
        command.args(args);
        self.finish(command)
    }

    /// Runs a command (made by [`Self::nomad`], usually) to its end.
    ///
    /// # Panics
    /// When it does not end by itself.
    pub fn finish(&self, command: Command) -> Ran {
        let number = self.0.runs.fetch_add(1, Ordering::Relaxed);
        let output = self.dir().join(format!("run{number}"));
        command::finish(command, &output, COMMAND_LIMIT)
    }

    /// A server that expects `expect` servers; not started yet.
    #[must_use]
    pub fn server(&self, name: &str, expect: u32) -> Setup {
        Setup::server(self, name, expect)
    }

    /// A client of the servers at the given addresses (default RPC port); not started yet.
    #[must_use]
    pub fn client(&self, name: &str, servers: &[Ipv4Addr]) -> Setup {
        Setup::client(self, name, servers)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nothing to say if it fails: the keeper tries again at the end.
        drop(sweeper(&self.dir).status());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an executor and its task outlive their agent: the child of a child that is gone, in a session of its own.
    #[test]
    fn nothing_outlives_its_site_and_others_are_left_alone() {
        let (site, other) = (Site::new(), Site::new());
        let sleeper = |site: &Site| {
            let mut shell = site.command(Path::new("/bin/sh"));
            shell.args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]);
            let pid = site.finish(shell).out();
            PathBuf::from(format!("/proc/{}", pid.trim_end()))
        };
        let (gone, kept) = (sleeper(&site), sleeper(&other));
        let dir = site.dir().to_owned();
        assert!(gone.exists() && kept.exists() && dir.exists());
        drop(site);
        // Its new parent collects it in its own time; until then its command line is empty.
        assert!(std::fs::read(gone.join("cmdline")).unwrap_or_default().is_empty());
        assert!(!dir.exists() && kept.exists());
    }
}
