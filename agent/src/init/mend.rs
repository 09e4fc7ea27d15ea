//! A partition table that a power cut left torn.
//!
//! The first table is several sectors, and a cut in the middle of them leaves the backup alone sound. UEFI firmware writes the first one
//! from it; a PC BIOS does not, and the kernel looks for a backup only with the word `gpt` on its command line (`find_valid_gpt` in
//! `block/partitions/efi.c`): such a disk has no partitions. So whoever looks for one by the disk's own table comes here.

use std::{fs::File, io, path::PathBuf};

use crate::{error, notice, sys};

use super::{
    disks::Disk,
    gpt::Table,
    state::table::{self, Durable, TableError},
};

/// The node of a partition that `table`, the disk's own, has. When the kernel has not got it because the table is the backup, the first
/// one is written from that, and the kernel reads it.
pub(super) fn partition(disk: &Disk, table: &Table, number: u32) -> PathBuf {
    let node = disk.partition_node(number);
    if table.header.own_lba != 1 && !node.exists() {
        match restore(disk) {
            Ok(()) => notice!("the partition table of {} was torn: it is whole again, from its backup", disk.name),
            Err(why) => error!("the partition table of {} is torn, and stays so: {why}", disk.name),
        }
    }
    node
}

fn restore(disk: &Disk) -> Result<(), TableError> {
    let mut file = Durable(File::options().read(true).write(true).open(disk.node())?);
    table::restore(&mut file, disk.sector)?;
    Ok(sys::read_partitions(&file.0).map_err(io::Error::from)?)
}
