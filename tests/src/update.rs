//! Images that take updates, and updates for them, good and bad.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use agent::{
    facts::Role,
    update::{
        channel::Channel,
        manifest::{MANIFEST, Manifest as UpdateManifest},
        ustar::{Archive, UstarError},
    },
};
use anyhow::{Context as _, ensure};
use builder::{
    build::{self, Format, NomadSources, Request},
    cache::Cache,
    channel,
    compress::Compression,
    lock::Lock,
    manifest::{Kind, Manifest},
    packages::Policy,
    progress::Progress,
    recipe::{ExtraFile, Profile, Recipe},
    update,
};
use qemu::{BootFiles, MachineSpec, vm::DiskFormat, vm::clock_arguments};

use crate::images;

/// A word that every command line here has, for more words in its place: under UEFI the command line is within the UKI.
const ROOM: &str = "steppe.room=________________________________________________";
/// A program for x86-64 that waits for ever: the header of the file, one segment, and the system call `pause` over and over.
const PAUSE: [u8; 129] = pause();
/// Where it lies in the system that hangs. As long as the name of what the agent starts in its root, which it takes the place of.
const HANGS: &str = "/bin/pause";
const INIT: &str = "/sbin/init";

/// The version of the disks.
pub const OLD: &str = "1.0";
/// The version of the update.
pub const NEW: &str = "2.0";

/// A disk with the old version, and what updates to the new one are made of.
#[derive(Debug)]
pub struct Updates {
    folder: tempfile::TempDir,
    key: PathBuf,
    disk: PathBuf,
    unsigned: Vec<u8>,
    manifest: Manifest,
    role: Role,
    public: String,
    /// The update whose agent hangs, before it is signed: made when it is asked for first, and once, since two builds must not see
    /// each other's agent half written.
    hanging: Mutex<Option<Vec<u8>>>,
}

impl Updates {
    /// Builds both versions of the image of `role`, quickly rather than small, with the programs that the suites use.
    ///
    /// # Errors
    /// When a build fails.
    pub fn make(role: Role) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("update.key");
        let public = update::generate(&key)?;
        let old = request(role, &public, OLD, Format::Raw, folder.path())?;
        let old = Manifest::read(&build::build(&old, &Progress::silent())?.manifest)?;
        let unsigned = unsigned(&request(role, &public, NEW, Format::Update, folder.path())?)?;
        let disk = old.path(Kind::Raw).context("the build made no disk")?;
        Ok(Self { folder, key, disk, unsigned, manifest: old, role, public, hanging: Mutex::default() })
    }

    /// A machine that BIOS boots from the old version's disk.
    #[must_use]
    pub fn bios(&self, name: &str) -> MachineSpec {
        let disk = BootFiles::bios(&self.disk, DiskFormat::Raw).with_disk_size(images::DISK_SIZE);
        MachineSpec::new(name, disk)
    }

    /// A machine that UEFI boots from it.
    #[must_use]
    pub fn uefi(&self, name: &str) -> MachineSpec {
        let disk = BootFiles::uefi(&self.disk, DiskFormat::Raw).with_disk_size(images::DISK_SIZE);
        MachineSpec::new(name, disk)
    }

    /// What the builder says about the old version's disk.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A signed update whose description was changed before. Words at the end of its command line get into the UKI as well.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, change: impl FnOnce(&mut UpdateManifest)) -> anyhow::Result<PathBuf> {
        self.signed(name, &self.unsigned, change)
    }

    /// A signed update whose agent hangs: what its first stage starts in the root is a program that does nothing, ever.
    ///
    /// # Errors
    /// When it cannot be built.
    ///
    /// # Panics
    /// When another thread did in here.
    pub fn hanging(&self, name: &str) -> anyhow::Result<PathBuf> {
        let mut made = self.hanging.lock().expect("no panic of another thread");
        let unsigned = match &mut *made {
            Some(unsigned) => unsigned,
            none => none.insert(self.build_hanging()?),
        };
        self.signed(name, unsigned, |_| {})
    }

    fn build_hanging(&self) -> anyhow::Result<Vec<u8>> {
        let folder = self.folder.path();
        let mut request = request(self.role, &self.public, NEW, Format::Update, folder)?;
        let mut agent = fs::read(request.agent.as_ref().context("STEPPE_AGENT is not set")?)?;
        let name_of_init = format!("{INIT}\0");
        let places = positions(&agent, name_of_init.as_bytes());
        ensure!(!places.is_empty(), "the agent does not name {INIT}");
        for place in places {
            agent[place..place + HANGS.len()].copy_from_slice(HANGS.as_bytes());
        }
        let (program, pause) = (folder.join("agent-that-hangs"), folder.join("pause"));
        fs::write(&program, agent)?;
        fs::write(&pause, PAUSE)?;
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        request.agent = Some(program);
        request.recipe.files.push(ExtraFile { source: pause, path: HANGS.to_owned(), mode: "0755".to_owned() });
        unsigned(&request)
    }

    /// A channel file that offers the update in `file`, which is beside it under the name `beside`; and its signature.
    ///
    /// # Errors
    /// When the file cannot be read or nobody signs.
    pub fn channel(
        &self,
        file: &Path,
        beside: &str,
        change: impl FnOnce(&mut Channel),
    ) -> anyhow::Result<(String, String)> {
        let mut offer = channel::of(&fs::read(file)?, beside)?;
        change(&mut offer);
        Ok((offer.to_json(), channel::sign(&offer, &update::read_key(&self.key)?)?))
    }

    fn signed(&self, name: &str, file: &[u8], change: impl FnOnce(&mut UpdateManifest)) -> anyhow::Result<PathBuf> {
        let mut members = members(file)?;
        let (first, text) = members.remove(0);
        ensure!(first == MANIFEST, "the update does not begin with {MANIFEST}");
        let mut manifest = UpdateManifest::parse(&text)?;
        let cmdline = manifest.cmdline.clone();
        change(&mut manifest);
        if let Some(more) = manifest.cmdline.strip_prefix(&cmdline).filter(|more| !more.is_empty()) {
            let uki = &mut members[0].1;
            let place = *positions(uki, ROOM.as_bytes()).first().context("the UKI has no room for more words")?;
            let text = format!("{more:<width$}", width = ROOM.len());
            ensure!(text.len() == ROOM.len(), "there is no room for {more:?}");
            uki[place..place + ROOM.len()].copy_from_slice(text.as_bytes());
        }
        let parts: Vec<&[u8]> = members.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let parts = parts.try_into().map_err(|_| anyhow::anyhow!("the update has other parts"))?;
        manifest.parts = update::describe(&parts);
        let signed = update::sign(&update::build(&manifest, &parts)?, &update::read_key(&self.key)?)?;
        let path = self.folder.path().join(name);
        fs::write(&path, signed)?;
        Ok(path)
    }
}

/// Where the bytes occur.
fn positions(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}

const fn pause() -> [u8; 129] {
    // The fields of an ELF file for x86-64 and of its one program header (System V ABI), which maps all of it at 4 MiB.
    const HEADER: [u8; 20] = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
    // mov eax, 34 (pause); syscall; jmp back
    const CODE: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    let mut file = [0; 129];
    let mut at = 0;
    while at < HEADER.len() {
        file[at] = HEADER[at];
        at += 1;
    }
    at = 0;
    while at < CODE.len() {
        file[120 + at] = CODE[at];
        at += 1;
    }
    // Version; entry at 0x400078; program headers at 64; sizes of the headers, and one of them.
    (file[20], file[24], file[26], file[32], file[52], file[54], file[56]) = (1, 0x78, 0x40, 64, 64, 56, 1);
    // Loaded, to be read and executed, from 0 to 0x400000, 129 bytes, in pages.
    (file[64], file[68], file[82], file[90], file[96], file[104], file[113]) = (1, 5, 0x40, 0x40, 129, 129, 0x10);
    file
}

fn members(file: &[u8]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut archive = Archive::new(file);
    let mut members = Vec::new();
    while let Some(header) = archive.next_header()? {
        let mut bytes = Vec::new();
        archive.member(header.size, |piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), UstarError>(())
        })?;
        members.push((header.name, bytes));
    }
    Ok(members)
}

fn unsigned(request: &Request) -> anyhow::Result<Vec<u8>> {
    let manifest = Manifest::read(&build::build(request, &Progress::silent())?.manifest)?;
    Ok(fs::read(manifest.path(Kind::Update).context("the build made no update")?)?)
}

fn request(role: Role, key: &str, version: &str, format: Format, folder: &Path) -> anyhow::Result<Request> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut recipe = Recipe::embedded(role, None)?;
    recipe.version = Some(version.to_owned());
    recipe.update_key = Some(key.to_owned());
    recipe.root.level = 1;
    recipe.initramfs_level = 1;
    recipe.kernel.cmdline.extend(images::CMDLINE.split(' ').map(str::to_owned));
    recipe.kernel.cmdline.extend(clock_arguments().split(' ').map(str::to_owned));
    recipe.kernel.cmdline.push(ROOM.to_owned());
    Ok(Request {
        recipe,
        lock: Some(Lock::embedded(Profile::Cloud)?),
        policy: Policy::Prefer,
        output: folder.to_owned(),
        formats: vec![format],
        compressions: vec![Compression::None],
        mirror: None,
        security_mirror: None,
        cache: Cache::default_folder().context("there is no folder for the builder's cache")?,
        agent: named("STEPPE_AGENT"),
        nomad: NomadSources { path: named("NOMAD"), standin: named("STEPPE_STANDIN"), ..NomadSources::default() },
    })
}
