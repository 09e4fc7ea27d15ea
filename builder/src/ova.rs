//! OVA packages: a virtual machine for VMware, after DMTF's "Open Virtualization Format" 1.1 (DSP0243). A plain `ustar`
//! archive of the envelope, which describes the machine, a manifest with the digests of the others, and the disk, in the
//! order that lets a reader check everything while it arrives.

mod envelope;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write},
};

use tar::{EntryType, Header};

use crate::{content::Digest, disk::Disk, vmdk};

/// Sizes of disks are multiples of this.
pub const GRANULE: u64 = vmdk::GRANULE;

/// What the package says about itself.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The machine's name, and what the names of the files begin with.
    pub name: &'a str,
    /// The version of the image.
    pub version: &'a str,
    /// The files' time in seconds since 1970.
    pub epoch: u64,
}

/// Writes a disk as a package. `scratch` is an empty file that takes the VMDK: its digest stands before it.
///
/// # Errors
/// When a file cannot be written.
pub fn write(disk: &Disk, about: &About<'_>, mut scratch: File, out: &mut impl Write) -> io::Result<()> {
    let populated = vmdk::write(disk, &mut io::BufWriter::new(&scratch))?;
    scratch.rewind()?;
    let (disk_digest, size) = Digest::of_reader(&scratch)?;
    scratch.rewind()?;
    let [ovf, mf, vmdk] = ["ovf", "mf", "vmdk"].map(|suffix| format!("{}.{suffix}", about.name));
    let envelope = envelope::text(about, &envelope::Disk { file: &vmdk, size, capacity: disk.size, populated });
    let manifest = format!("SHA256({ovf})= {}\nSHA256({vmdk})= {disk_digest}\n", Digest::of(envelope.as_bytes()));

    let mut append = |name: &str, size: u64, bytes: &mut dyn io::Read| -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(about.epoch);
        header.set_size(size);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        let rest = size.next_multiple_of(512) - size;
        io::copy(&mut bytes.chain(io::repeat(0).take(rest)), out)?;
        Ok(())
    };
    append(&ovf, envelope.len() as u64, &mut envelope.as_bytes())?;
    append(&mf, manifest.len() as u64, &mut manifest.as_bytes())?;
    append(&vmdk, size, &mut scratch)?;
    // Two blocks of zeros end an archive.
    out.write_all(&[0; 1024])?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_are_those_of_the_files() {
        let disk = Disk { size: 4 << 20, extents: vec![(1 << 20, vec![9; 300_000])] };
        let about = About { name: "steppe-test", version: "1", epoch: 1_700_000_000 };
        let mut bytes = Vec::new();
        write(&disk, &about, tempfile::tempfile().unwrap(), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let files: Vec<(String, Vec<u8>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                assert_eq!(entry.header().mtime().unwrap(), about.epoch);
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().to_string_lossy().into_owned(), content)
            })
            .collect();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["steppe-test.ovf", "steppe-test.mf", "steppe-test.vmdk"]);
        let digest = |index: usize| format!("SHA256({})= {}\n", names[index], Digest::of(&files[index].1));
        assert_eq!(String::from_utf8(files[1].1.clone()).unwrap(), digest(0) + &digest(2));
        let mut vmdk = Vec::new();
        vmdk::write(&disk, &mut vmdk).unwrap();
        assert!(files[2].1 == vmdk);
    }
}
