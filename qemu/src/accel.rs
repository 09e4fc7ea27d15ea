//! What executes the guest's instructions, and how one finds out what works here.

use crate::vm::{Boot, Console, Vm, VmConfig, VmError};
use crate::{Deadline, RunDir, TimeScale};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Variable that decides in place of the probe: `kvm` or `tcg`.
pub const ACCELERATOR_VARIABLE: &str = "STEPPE_ACCEL";

/// A kernel that works under KVM prints its first line within a fraction of a second.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// "KVM does not work here" is asked again after this long: it may have been a bad day of the host.
const NO_STAYS_VALID: Duration = Duration::from_secs(24 * 3600);

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU, by translation.
    Tcg,
}

/// Why it could not be found out what works.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ProbeError {
    #[error("failed to read {ACCELERATOR_VARIABLE}: {0:?} is neither `kvm` nor `tcg`")]
    Variable(String),
    #[error("failed to find the version of QEMU: {0} (it is in the package `qemu-system-x86`)")]
    Version(io::Error),
    #[error("failed to make a directory for the probe: {0}")]
    Directory(io::Error),
    #[error("failed to probe KVM: {0}")]
    Vm(VmError),
}

impl Accelerator {
    /// Finds out what works: KVM only when `kernel`, a bzImage, really prints its banner under it within 5 s. `/dev/kvm` that opens
    /// proves nothing, there are hosts where guests hang.
    ///
    /// `STEPPE_ACCEL` decides first, then the verdict of an earlier probe with the same host, kernel and QEMU
    /// (in `$XDG_CACHE_HOME/steppe/accelerator`, or below `~/.cache`).
    ///
    /// # Errors
    /// When the variable is wrong or QEMU is not installed. KVM not working is no error.
    pub fn probe(kernel: &Path) -> Result<Self, ProbeError> {
        if let Ok(choice) = std::env::var(ACCELERATOR_VARIABLE)
            && !choice.is_empty()
        {
            return Self::from_name(&choice).ok_or(ProbeError::Variable(choice));
        }
        let key = host_key()?;
        let cache = cache_file();
        match cache.as_deref().and_then(|file| Self::remembered(file, &key)) {
            // Who runs this now may be another user, or in a container.
            Some(Self::Kvm) if !kvm_opens() => {}
            Some(verdict) => return Ok(verdict),
            None => {}
        }
        let verdict = if kvm_boots(kernel)? { Self::Kvm } else { Self::Tcg };
        if let Some(file) = cache {
            // Without a place to write, the next run probes again.
            let _ = verdict.remember(&file, &key);
        }
        Ok(verdict)
    }

    /// `kvm` or `tcg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg].into_iter().find(|accelerator| accelerator.name() == name)
    }

    /// How much longer things take than under KVM on a quiet host; measured for TCG with six machines on two cores.
    #[must_use]
    pub fn time_scale(self) -> TimeScale {
        TimeScale::new(match self {
            Self::Kvm => 1.0,
            Self::Tcg => 4.0,
        })
        .with_environment()
    }

    /// The processor that the guest sees: all that can be had, but for one thing.
    ///
    /// QEMU 7.2's TCG computes the flags of `cmpxchg16b` without its lock prefix from a stale state. An interrupt right after it
    /// then saves and restores a pointer's bits as EFLAGS, and the kernel dies of a debug exception or worse: with Linux 6.12, whose
    /// memory allocator uses the instruction, in about one boot of five. Without the feature bit nothing uses it.
    pub(crate) fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "max",
            Self::Tcg => "max,cx16=off",
        }
    }

    pub(crate) fn argument(self, translation_cache_mib: u32) -> String {
        match self {
            Self::Kvm => "kvm".to_owned(),
            Self::Tcg => format!("tcg,tb-size={translation_cache_mib}"),
        }
    }

    fn remembered(file: &Path, key: &str) -> Option<Self> {
        let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
        let content = std::fs::read_to_string(file).ok()?;
        let (name, remembered_key) = content.split_once('\n')?;
        let verdict = Self::from_name(name)?;
        (remembered_key == key && (verdict == Self::Kvm || age < NO_STAYS_VALID)).then_some(verdict)
    }

    fn remember(self, file: &Path, key: &str) -> io::Result<()> {
        let directory = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        io::Write::write_all(&mut new, format!("{}\n{key}", self.name()).as_bytes())?;
        new.persist(file)?;
        Ok(())
    }
}

fn kvm_opens() -> bool {
    std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Boots a real kernel under KVM.
fn kvm_boots(kernel: &Path) -> Result<bool, ProbeError> {
    if !kvm_opens() {
        return Ok(false);
    }
    let run = RunDir::new().map_err(ProbeError::Directory)?;
    let cmdline = "console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1".to_owned();
    let boot = Boot::Kernel { kernel: kernel.to_owned(), initrd: None, cmdline };
    let console = Console::new("kvm probe", None);
    // What the kernel does after its banner (it has no root) is not asked.
    console.allow("");
    match Vm::start(VmConfig::new("kvm-probe", Accelerator::Kvm, boot), run.path(), &console) {
        Ok(_vm) => Ok(console.wait_for("Linux version", &Deadline::after(PROBE_TIME)).is_ok()),
        Err(VmError::EndedAtOnce { .. } | VmError::NotConnected { .. } | VmError::Qmp { .. }) => Ok(false),
        Err(error) => Err(ProbeError::Vm(error)),
    }
}

/// What a verdict depends on: the host, its kernel and processor, and QEMU.
fn host_key() -> Result<String, ProbeError> {
    let output = Command::new(crate::vm::QEMU).arg("--version").output().map_err(ProbeError::Version)?;
    let qemu = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    let uname = rustix::system::uname();
    let [host, kernel] = [uname.nodename(), uname.release()].map(|text| text.to_string_lossy().into_owned());
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    Ok(format!("{host}\n{kernel}\n{processor}\n{qemu}\n"))
}

fn cache_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(base.join("steppe/accelerator"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_verdict_is_remembered_for_its_host_and_a_no_grows_old() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("steppe/accelerator");
        assert_eq!(Accelerator::remembered(&file, "host\n"), None);
        Accelerator::Tcg.remember(&file, "host\n").unwrap();
        assert_eq!(Accelerator::remembered(&file, "host\n"), Some(Accelerator::Tcg));
        assert_eq!(Accelerator::remembered(&file, "other\n"), None);

        let long_ago = SystemTime::now() - NO_STAYS_VALID * 2;
        let age =
            |file: &Path| std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
        age(&file);
        assert_eq!(Accelerator::remembered(&file, "host\n"), None);
        Accelerator::Kvm.remember(&file, "host\n").unwrap();
        age(&file);
        assert_eq!(Accelerator::remembered(&file, "host\n"), Some(Accelerator::Kvm));
        std::fs::write(&file, "maybe\nhost\n").unwrap();
        assert_eq!(Accelerator::remembered(&file, "host\n"), None);
    }

    #[test]
    fn tcg_gets_more_time() {
        assert!(Accelerator::Tcg.time_scale().factor() > Accelerator::Kvm.time_scale().factor());
    }
}
