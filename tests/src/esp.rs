//! The EFI system partition of a disk, read and changed from outside by other people's programs (mtools, gdisk, dosfstools).

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use agent::slots::{Slot, boot_once, config};
use anyhow::{Context as _, ensure};
use qemu::vm::clock_arguments;

use crate::images;

/// The partition of a raw disk.
#[derive(Debug)]
pub struct Esp {
    disk: PathBuf,
    start: u64,
    length: u64,
}

impl Esp {
    /// Of a copy of `image` at `to`, for changes.
    ///
    /// # Errors
    /// When it cannot be copied, or has no such partition.
    pub fn of_copy(image: &Path, to: &Path) -> anyhow::Result<Self> {
        // Most of a disk is holes, which the library's copy would fill.
        run(Command::new("cp").arg("--sparse=always").arg(image).arg(to))?;
        Self::of(to)
    }

    /// Of a copy of `image` at `to` whose slot a, under BIOS, has the words on its command line that the other ways to boot get from
    /// QEMU; and that command line.
    ///
    /// # Errors
    /// Those of [`Self::of_copy`]; and when the slot has no command line.
    pub fn told_of_the_clock(image: &Path, to: &Path) -> anyhow::Result<(Self, String)> {
        let esp = Self::of_copy(image, to)?;
        let of_image = String::from_utf8(esp.read(Slot::A.syslinux_cfg())?)?;
        let cmdline = of_image.lines().find_map(|line| line.strip_prefix("APPEND "));
        let cmdline = cmdline.context("slot a has no command line")?;
        let cmdline = format!("{cmdline} {} {}", images::CMDLINE, clock_arguments());
        esp.write(Slot::A.syslinux_cfg(), config::slot(Slot::A, &cmdline).as_bytes())?;
        Ok((esp, cmdline))
    }

    /// Of a machine's disk as it is now, which is flattened into `to`. The machine is off.
    ///
    /// # Errors
    /// When `qemu-img` fails, or there is no such partition.
    pub fn of_machine(overlay: &Path, to: &Path) -> anyhow::Result<Self> {
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(overlay).arg(to))?;
        Self::of(to)
    }

    fn of(disk: &Path) -> anyhow::Result<Self> {
        let mut file = fs::File::open(disk).with_context(|| format!("failed to open {}", disk.display()))?;
        let table = gptman::GPT::find_from(&mut file).context("failed to read the partition table")?;
        let found = table.iter().find(|(_, entry)| entry.partition_name.as_str() == agent::slots::ESP_LABEL);
        let (_, entry) = found.with_context(|| format!("{} has no {}", disk.display(), agent::slots::ESP_LABEL))?;
        let sector = table.sector_size;
        let length = (entry.ending_lba + 1 - entry.starting_lba) * sector;
        Ok(Self { disk: disk.to_path_buf(), start: entry.starting_lba * sector, length })
    }

    /// The disk that it is on.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    fn mtools(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!("{}@@{}", self.disk.display(), self.start));
        command
    }

    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// When there is none.
    pub fn list(&self, directory: &str) -> anyhow::Result<Vec<String>> {
        let text = run(self.mtools("mdir").args(["-b", &format!("::{directory}")]))?;
        let text = String::from_utf8(text)?;
        let mut names: Vec<_> = text.lines().filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        run(self.mtools("mtype").arg(format!("::{path}")))
    }

    /// Writes a file, or writes it anew.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn write(&self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), bytes)?;
        run(self.mtools("mcopy").args(["-o", "-n"]).arg(file.path()).arg(format!("::{path}")))?;
        Ok(())
    }

    /// Gives a file another name in its directory.
    ///
    /// # Errors
    /// When there is none.
    pub fn rename(&self, path: &str, name: &str) -> anyhow::Result<()> {
        run(self.mtools("mren").arg(format!("::{path}")).arg(name))?;
        Ok(())
    }

    /// Says in the boot-once record what syslinux boots next, as an update does: in place.
    ///
    /// # Errors
    /// When the record is not the empty one of a new disk.
    pub fn boot_once(&self, command: &str) -> anyhow::Result<()> {
        let empty = boot_once::vector("").context("the empty record")?;
        let record = boot_once::vector(command).context("the command is too long")?;
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&self.disk)?;
        let mut bytes = vec![0; usize::try_from(self.length)?];
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(&mut bytes)?;
        let sectors = bytes.chunks(512).enumerate();
        let places: Vec<_> = sectors.filter(|(_, sector)| **sector == empty[..512]).map(|(at, _)| at as u64).collect();
        ensure!(places.len() == 2 && places[1] == places[0] + 1, "empty records at {places:?}");
        file.seek(SeekFrom::Start(self.start + places[0] * 512))?;
        file.write_all(&record)?;
        Ok(())
    }

    /// Has the partition table and the file system judged.
    ///
    /// # Errors
    /// With what the programs say.
    pub fn check(&self) -> anyhow::Result<()> {
        let said = String::from_utf8(run(Command::new("sgdisk").arg("-v").arg(&self.disk))?)?;
        ensure!(said.contains("No problems found"), "sgdisk: {said}");
        self.check_file_system()
    }

    /// Has the file system alone judged: the partition table of a disk that has just grown is not whole.
    ///
    /// # Errors
    /// With what the program says.
    pub fn check_file_system(&self) -> anyhow::Result<()> {
        let mut file = fs::File::open(&self.disk)?;
        file.seek(SeekFrom::Start(self.start))?;
        let partition = tempfile::NamedTempFile::new()?;
        std::io::copy(&mut file.take(self.length), &mut partition.as_file())?;
        run(Command::new("fsck.vfat").args(["-n", "-v"]).arg(partition.path()))?;
        Ok(())
    }
}

/// What a program prints; its complaint when it fails.
fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().with_context(|| format!("failed to run {command:?}"))?;
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}", said());
    Ok(output.stdout)
}
