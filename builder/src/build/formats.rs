//! The formats: which file each of them is, and who writes it.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
};

use crate::{
    compress::{self, Compression},
    disk::Disk,
    gce,
    manifest::Kind,
    ova, qcow2, raw, vhd, vmdk,
};

/// What an image is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Format {
    /// A raw disk.
    Raw,
    /// A compressed qcow2 disk: QEMU, OpenStack, Proxmox.
    Qcow2,
    /// A qcow2 disk whose clusters are compressed with Zstandard, which takes QEMU 5.1.
    Qcow2Zstd,
    /// A stream-optimized VMDK disk: VMware.
    Vmdk,
    /// A fixed VHD disk: Azure.
    Vhd,
    /// A virtual machine for VMware, its disk in it.
    Ova,
    /// A disk as Google Compute Engine imports it.
    Gce,
    /// A CD or USB stick that boots by UEFI and BIOS, with the root in memory.
    Iso,
    /// Kernel, initramfs with the root in it, and an iPXE script.
    Netboot,
    /// A whole system for the idle slot of a node. It counts when it is signed.
    Update,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Raw,
        Self::Qcow2,
        Self::Qcow2Zstd,
        Self::Vmdk,
        Self::Vhd,
        Self::Ova,
        Self::Gce,
        Self::Iso,
        Self::Netboot,
        Self::Update,
    ];
}

/// What the writers of formats know of an image besides its disk.
pub(super) struct About<'a> {
    /// What the names of its files begin with.
    pub(super) base: &'a str,
    /// The image's own version, else that of the builder.
    pub(super) version: &'a str,
    /// Seconds since 1970.
    pub(super) epoch: u64,
    /// Makes an empty file that vanishes when it is closed.
    pub(super) scratch: &'a dyn Fn() -> io::Result<File>,
}

/// A format of a disk.
pub(super) struct DiskFormat {
    format: Format,
    compression: Compression,
    pub(super) kind: Kind,
    /// What its name ends in.
    pub(super) suffix: &'static str,
    /// The disk is enlarged to a multiple of so many bytes.
    pub(super) granule: u64,
    pub(super) write: fn(&Disk, &About<'_>, &mut File) -> io::Result<()>,
}

const SECTOR: u64 = 512;

/// Every file that a disk can be.
const DISKS: [DiskFormat; 10] = [
    raw_disk(Compression::None, Kind::Raw, "raw", |disk, _, file| raw::write(disk, file)),
    raw_disk(Compression::Zstd, Kind::RawZstd, "raw.zst", |disk, _, file| {
        compress::write(disk, Compression::Zstd, &mut BufWriter::new(file))
    }),
    raw_disk(Compression::Gzip, Kind::RawGzip, "raw.gz", |disk, _, file| {
        compress::write(disk, Compression::Gzip, &mut BufWriter::new(file))
    }),
    raw_disk(Compression::Xz, Kind::RawXz, "raw.xz", |disk, _, file| {
        compress::write(disk, Compression::Xz, &mut BufWriter::new(file))
    }),
    of_its_own(Format::Qcow2, Kind::Qcow2, "qcow2", SECTOR, |disk, _, file| {
        qcow2_with(qcow2::Compression::Zlib, disk, file)
    }),
    of_its_own(Format::Qcow2Zstd, Kind::Qcow2Zstd, "zstd.qcow2", SECTOR, |disk, _, file| {
        qcow2_with(qcow2::Compression::Zstd, disk, file)
    }),
    of_its_own(Format::Vmdk, Kind::Vmdk, "vmdk", vmdk::GRANULE, |disk, _, file| {
        vmdk::write(disk, &mut BufWriter::new(file)).map(|_| ())
    }),
    of_its_own(Format::Vhd, Kind::Vhd, "vhd", vhd::GRANULE, |disk, about, file| vhd::write(disk, about.epoch, file)),
    of_its_own(Format::Ova, Kind::Ova, "ova", ova::GRANULE, |disk, about, file| {
        let about_package = ova::About { name: about.base, version: about.version, epoch: about.epoch };
        ova::write(disk, &about_package, (about.scratch)()?, &mut BufWriter::new(file))
    }),
    of_its_own(Format::Gce, Kind::Gce, "gce.tar.gz", gce::GRANULE, |disk, about, file| {
        gce::write(disk, about.epoch, &mut BufWriter::new(file))
    }),
];

type Write = fn(&Disk, &About<'_>, &mut File) -> io::Result<()>;

const fn raw_disk(compression: Compression, kind: Kind, suffix: &'static str, write: Write) -> DiskFormat {
    DiskFormat { format: Format::Raw, compression, kind, suffix, granule: SECTOR, write }
}

const fn of_its_own(format: Format, kind: Kind, suffix: &'static str, granule: u64, write: Write) -> DiskFormat {
    DiskFormat { format, compression: Compression::None, kind, suffix, granule, write }
}

/// The disks that are to be written for these formats, when raw ones are to be compressed so.
pub(super) fn disks(formats: &[Format], compressions: &[Compression]) -> impl Iterator<Item = &'static DiskFormat> {
    DISKS.iter().filter(|disk| {
        formats.contains(&disk.format) && (disk.format != Format::Raw || compressions.contains(&disk.compression))
    })
}

/// What else a build leaves, and what its name ends in.
const OTHERS: [(Kind, &str); 12] = [
    (Kind::Iso, "iso"),
    (Kind::Kernel, "vmlinuz"),
    (Kind::Initrd, "initrd"),
    (Kind::Cmdline, "cmdline"),
    (Kind::Uki, "efi"),
    (Kind::NetbootInitrd, "netboot.initrd"),
    (Kind::NetbootCmdline, "netboot.cmdline"),
    (Kind::Ipxe, "ipxe"),
    (Kind::Lock, "lock"),
    (Kind::Update, "update"),
    (Kind::Spdx, "spdx.json"),
    (Kind::CycloneDx, "cdx.json"),
];

/// What a file of that name is, whatever stands before the end of it. Some ends are the end of another one.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    let all = DISKS.iter().map(|disk| (disk.kind, disk.suffix)).chain(OTHERS);
    let fits = |suffix: &str| name.strip_suffix(suffix).is_some_and(|before| before.ends_with('.'));
    all.filter(|(_, suffix)| fits(suffix)).max_by_key(|(_, suffix)| suffix.len()).map(|(kind, _)| kind)
}

/// The formats and compressions that make files of these kinds, and no more than it takes: bills of materials name what every format
/// boots by.
pub(super) fn making(kinds: &[Kind]) -> (Vec<Format>, Vec<Compression>) {
    let disks = || DISKS.iter().filter(|disk| kinds.contains(&disk.kind));
    let mut formats: Vec<Format> = disks().map(|disk| disk.format).collect();
    let mut compressions: Vec<Compression> =
        disks().filter(|disk| disk.format == Format::Raw).map(|disk| disk.compression).collect();
    let any = |some: &[Kind]| some.iter().any(|kind| kinds.contains(kind));
    if any(&[Kind::Update]) {
        formats.push(Format::Update);
    }
    // Every disk and every update has these files beside it.
    if formats.is_empty() && any(&[Kind::Initrd, Kind::Cmdline, Kind::Uki]) {
        formats.push(Format::Raw);
        compressions.push(Compression::None);
    }
    if any(&[Kind::Iso]) {
        formats.push(Format::Iso);
    }
    if any(&[Kind::NetbootInitrd, Kind::NetbootCmdline, Kind::Ipxe]) {
        formats.push(Format::Netboot);
    }
    formats.sort_unstable();
    formats.dedup();
    (formats, compressions)
}

fn qcow2_with(compression: qcow2::Compression, mut disk: &Disk, file: &File) -> io::Result<()> {
    let options = qcow2::Options { compression, ..Default::default() };
    qcow2::write_from(&mut disk, file, Path::new("qcow2"), options).map_err(io_error)
}

/// The I/O error in an error of the qcow2 writer, so that it is reported with the file's true name.
fn io_error(error: qcow2::Qcow2Error) -> io::Error {
    match error {
        qcow2::Qcow2Error::Read { source, .. } | qcow2::Qcow2Error::Write { source, .. } => source,
        other => io::Error::other(other),
    }
}
