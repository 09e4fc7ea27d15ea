//! `agent update`, `rollback`, `bless` and `settle`: each is a process of its own, which init starts.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use nix::{
    fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise},
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use super::{
    esp::{Esp, EspError},
    fat::{self, FatError},
    install::{Installer, Own, UpdateError},
    manifest::{Manifest, unhex},
    place::{self, Place, PlaceError},
    record::{self, Outcome, Record},
    verdict::{self, Ending},
    version::{NoVersion, Version},
    whole::Whole,
};
use crate::{
    cmdline::Cmdline,
    error,
    facts::{FactsError, ImageFacts},
    init::disks::Disk,
    log,
    node::datasource::http,
    notice,
    notify::{self, Message, ModuleRequestError, Power},
    paths,
    slots::{
        Slot,
        choice::{self, RollbackError},
    },
    warning,
};

/// Where the ESP is mounted, for this process alone.
const ESP: &str = "/run/steppe/esp";
/// Held by the job that works on it.
const LOCK: &str = "/run/steppe/esp.lock";

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("usage: update [--older] FILE|URL")]
    Usage,
    #[error("updates come from a file or by http: their signature protects them, and this program speaks no TLS")]
    Scheme,
    #[error("this image takes no updates: its recipe has no [update] key")]
    NoKey,
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Version(#[from] NoVersion),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error("failed to {what}: {source}")]
    System { what: String, source: io::Error },
    #[error(transparent)]
    Module(#[from] ModuleRequestError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(transparent)]
    Esp(#[from] EspError),
    #[error(transparent)]
    Rollback(#[from] RollbackError),
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    let what = what.into();
    move |source| RunError::System { what, source }
}

/// Does the job of that name with what the command line says behind it.
pub fn run(job: &str, arguments: &[String]) -> ExitCode {
    log::set_process("steppe update");
    let done = match job {
        "update" => update(arguments),
        "rollback" => rollback(),
        "bless" => bless(),
        _ => settle(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{job} failed: {why}");
            // For the status, and for node, which may have asked for it.
            say(why.to_string());
            ExitCode::FAILURE
        }
    }
}

fn update(arguments: &[String]) -> Result<(), RunError> {
    let (older, named, source) = match arguments {
        [flag] if flag == super::WITHDRAW => return withdraw(),
        [flag, source] if flag == "--older" => (true, None, source),
        [source] if !source.starts_with('-') => (false, None, source),
        // As node asks for what a channel names.
        [flag, version, size, sha256, source] if flag == super::NAMED => {
            let whole = size.parse::<u64>().ok().zip(unhex(sha256)).ok_or(RunError::Usage)?;
            (false, Some((version.parse::<Version>()?, whole)), source)
        }
        _ => return Err(RunError::Usage),
    };
    let key = fs::read_to_string(paths::UPDATE_KEY).map_err(|_| RunError::NoKey)?;
    let facts = ImageFacts::read(Path::new("/"))?;
    let version: Version = facts.image_version().parse()?;
    let cmdline = cmdline();
    let root = place::root_guid(&cmdline).ok_or(PlaceError::NoDisk)?;
    let (disk, place) = find(&cmdline)?;
    let mut input: Box<dyn Read> = if source.starts_with("http://") {
        Box::new(http::Get::download(source)?)
    } else if source.contains("://") {
        return Err(RunError::Scheme);
    } else {
        Box::new(File::open(source).map_err(system(format!("open {source}")))?)
    };
    notice!("{} is read", http::shown(source));
    say("is read".into());
    let named = named.map(|(version, (size, sha256))| {
        let name = version.to_string();
        let far = move |percent| {
            notice!("{name}: {percent}% of {} MB", size.div_ceil(1_000_000));
            say(format!("{percent}%"));
        };
        input = Box::new(Whole::new(std::mem::replace(&mut input, Box::new(io::empty())), size, sha256, far));
        version
    });
    let slot = place.running.other();
    let ImageFacts { role, profile, architecture, .. } = facts;
    let own = Own { key, role, profile, architecture, version, older, named, root };
    let medium = Medium::open(&disk)?;
    let manifest = with_esp(&disk, &place, |esp| {
        // Before the steps that make it boot: a trial has to know what it tries, whenever the power fails.
        let mut record = None;
        let written = |manifest: &Manifest| remember(record.insert(Record::new(manifest.version.clone(), slot)));
        let mut installer = Installer { disk: medium, esp, place: place.clone() };
        let done = installer.install(input, &own, || forget_pending(slot), written);
        if let Some(record) = record {
            let (outcome, why) = match &done {
                Ok(_) => (Outcome::Installed, String::new()),
                Err(why) => (Outcome::Failed, why.to_string()),
            };
            remember(&Record { outcome, why, ..record });
        }
        Ok(done?)
    })?;
    notice!("{} is in slot {slot} and boots next, on trial", manifest.version);
    say(format!("{} is installed", manifest.version));
    Ok(())
}

/// What waited in a slot to be tried is gone.
fn forget_pending(slot: Slot) {
    let state = Path::new(paths::STATE_DIR);
    let waits = |record: &Record| matches!(record.outcome, Outcome::Written | Outcome::Installed);
    if Record::read(state).is_some_and(|record| record.slot == slot && waits(&record))
        && let Err(why) = Record::forget(state)
    {
        warning!("failed to forget the update before: {why}");
    }
}

/// What is installed and has not run does not boot.
fn withdraw() -> Result<(), RunError> {
    let (disk, place) = find(&cmdline())?;
    let state = Path::new(paths::STATE_DIR);
    with_esp(&disk, &place, |esp| {
        let waits = |record: &Record| record.outcome == Outcome::Installed && record.slot != place.running;
        let Some(record) = Record::read(state).filter(waits) else { return Ok(()) };
        verdict::give_up(&esp, record.slot)?;
        notice!("{} does not boot", record.version);
        say(format!("{} does not boot", record.version));
        Record::forget(state).map_err(system("forget it"))
    })
}

/// The other slot boots from now on, and the machine is restarted.
fn rollback() -> Result<(), RunError> {
    let (disk, place) = find(&cmdline())?;
    let to = with_esp(&disk, &place, |esp| {
        let rename = choice::rollback(&esp.entries()?, place.running)?;
        // First, so that what was left is not installed again by itself, whenever the power fails.
        let record = Record::read(Path::new(paths::STATE_DIR)).filter(|record| record.slot == place.running);
        if let Some(record) = record.clone() {
            remember(&Record { outcome: Outcome::Failed, why: record::ROLLED_BACK.into(), ..record });
        }
        let to = rename.to.slot;
        let done = esp.boot_once("").and_then(|()| esp.set_default(to)).and_then(|()| esp.apply(&rename));
        if let (Err(_), Some(record)) = (&done, &record) {
            remember(record);
        }
        Ok(done.map(|()| to)?)
    })?;
    notice!("slot {to} boots from now on");
    tell(Message::Power(Power::Reboot))
}

/// Tells init how it goes, for the status; nobody depends on it.
fn say(text: String) {
    let _ = tell(Message::Status(text));
}

fn tell(message: Message) -> Result<(), RunError> {
    notify::send(Path::new(paths::NOTIFY_SOCKET), &[message]).map_err(system("tell init"))
}

/// The running system has proven itself.
fn bless() -> Result<(), RunError> {
    let (disk, place) = find(&cmdline())?;
    let running = place.running;
    let is_news = with_esp(&disk, &place, |esp| {
        let is_news = verdict::bless(&esp, running)?;
        let record = Record::read(Path::new(paths::STATE_DIR)).filter(|record| record.slot == running);
        if let Some(record) = record.filter(|record| is_news || record.outcome.is_open()) {
            remember(&Record { outcome: Outcome::Good, why: String::new(), ..record });
        }
        Ok(is_news)
    })?;
    if is_news {
        notice!("slot {running} is blessed: it boots from now on");
    } else {
        notice!("slot {running} is not on trial: nothing is changed");
    }
    tell(Message::Update(super::BLESSED.to_owned()))
}

/// Says how the last update went, when this boot is not its trial: the machine fell back from it.
fn settle() -> Result<(), RunError> {
    let (disk, place) = find(&cmdline())?;
    let running = place.running;
    let state = Path::new(paths::STATE_DIR);
    with_esp(&disk, &place, |esp| {
        let mut record = match Record::read(state) {
            Some(record) => record,
            None => Record::new(ImageFacts::read(Path::new("/"))?.image_version().parse()?, running),
        };
        let ending = verdict::settle(&esp, &mut record, running)?;
        let version = &record.version;
        if ending == Ending::CutOff {
            notice!("the update to {version} was cut off before it could boot");
            return Record::forget(state).map_err(system("forget it"));
        }
        remember(&record);
        match ending {
            Ending::Completed => {
                notice!("the update to {version} was cut off at its end: it is complete now, and boots next, on trial");
            }
            Ending::Unproven => {
                warning!("slot {running} is still on trial, which nobody ends: `bless` it when it is good");
            }
            Ending::Failed => {
                error!("the update failed, and the machine fell back to slot {running}: {}", record.summary());
            }
            Ending::Good if !record.why.is_empty() => error!("{}", record.why),
            Ending::Good | Ending::CutOff => {}
        }
        Ok(())
    })
}

fn cmdline() -> Cmdline {
    Cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

fn find(cmdline: &Cmdline) -> Result<(Disk, Place), PlaceError> {
    place::find(Path::new("/sys"), cmdline)
}

/// Keeps the record. A state that does not take it is no reason to fail: the boot entries say what counts.
fn remember(record: &Record) {
    if let Err(why) = record.write(Path::new(paths::STATE_DIR)) {
        warning!("failed to remember how the update went: {why}");
    }
}

/// Mounts the ESP where no other process sees it, so that it is gone with this one, whatever happens. Who works on it is alone with it
/// and with the record, which is read and written meanwhile.
fn with_esp<T>(disk: &Disk, place: &Place, work: impl FnOnce(Esp) -> Result<T, RunError>) -> Result<T, RunError> {
    // Once a node is healthy its kernel may take no more modules; this one is there by then.
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\tvfat\n")) {
        notify::load_module(Path::new(paths::NOTIFY_SOCKET), "vfat")?;
    }
    let failed = |what: &'static str| move |why: nix::Error| system(what)(why.into());
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("take the mounts apart"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(failed("take the mounts apart"))?;
    fs::create_dir_all(ESP).map_err(system("make a directory for the EFI system partition"))?;
    let node = disk.partition_node(place.esp.number);
    let _alone = alone()?;
    match check(&node, place) {
        Ok(report) if report == fat::Report::default() => {}
        Ok(report) => notice!("the boot partition is in order again after a power cut: {report}"),
        // The kernel may still be able to use it, and says so otherwise.
        Err(why) => warning!("{why}"),
    }
    // A renaming makes the new name before it takes the old one away, on the medium as well.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_DIRSYNC;
    // What is damaged and was left so must not keep the kernel from writing what is not.
    mount(Some(&node), ESP, Some("vfat"), flags, Some("umask=0077,errors=continue"))
        .map_err(failed("mount the EFI system partition"))?;
    let done = work(Esp::at(ESP.into()));
    // Waits until everything is on the medium.
    let unmounted = umount2(ESP, MntFlags::empty()).map_err(failed("unmount the EFI system partition"));
    done.and_then(|done| unmounted.map(|()| done))
}

/// Waits until no other job is at work on the partition; they are few, and only an update takes long.
fn alone() -> Result<Flock<File>, RunError> {
    let file = File::create(LOCK).map_err(system("make a lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, why)| system("get a lock")(why.into()))
}

/// Puts the partition in order. The kernel lends it to nobody else meanwhile.
fn check(node: &Path, place: &Place) -> Result<fat::Report, FatError> {
    let device = File::options().read(true).write(true).custom_flags(libc::O_EXCL).open(node)?;
    fat::check(&mut Medium(device), place::size(&place.esp, place.sector), place.running.other())
}

/// The disk. After `flush` the kernel's copies are gone, so that what is read is what the medium holds.
struct Medium(File);

impl Medium {
    fn open(disk: &Disk) -> Result<Self, RunError> {
        let node = disk.node();
        let file = File::options().read(true).write(true).open(&node);
        file.map(Self).map_err(system(format!("open {}", node.display())))
    }
}

impl Read for Medium {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Medium {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()?;
        posix_fadvise(&self.0, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
    }
}

impl Seek for Medium {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
