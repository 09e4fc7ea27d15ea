//! What differs between two images, from the innermost layer out: the first one that differs is where to look.
//!
//! | layer | what is compared |
//! |---|---|
//! | `packages`, `nomad`, `agent`, `recipe` | what the images were made from, as their manifests say |
//! | `kernel`, `initramfs`, `root` | contents, file by file, each with the reason where a manifest tells it |
//! | `verity`, `boot`, `partitions` | what is built around them |
//! | `bytes` | only when nothing else differs: the place of the first other byte of the disk |
//! | `file` | only when the disks are the same: the files that hold them |

mod contents;
mod reason;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _},
    path::Path,
};

use serde::Serialize;

use self::{contents::Contents, reason::Reasons};
use crate::{
    inspect::{InspectError, against::why, files::Found, shown::shown, table, volume::Volume},
    lock,
    manifest::Manifest,
};

/// A layer that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// What differs in it.
    pub differences: Vec<Difference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The thing and what became of it, `a` before `b`.
    pub what: String,
    /// Why, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.what))?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " ({})", shown(why)))
    }
}

/// The layers that differ between the images `a` and `b`, the innermost first; none when the files hold the same. They may
/// be disks of different formats, manifests, unified kernel images, initramfs, squashfs, or any other two files.
///
/// # Errors
/// When a file cannot be read.
pub fn diff(a: &Path, b: &Path) -> Result<Vec<Layer>, InspectError> {
    let (one, other) = (Contents::read(a)?, Contents::read(b)?);
    let mut layers = Vec::new();
    let mut add = |name: &'static str, differences: Vec<Difference>| {
        if !differences.is_empty() {
            layers.push(Layer { name, differences });
        }
    };
    if let (Some(old), Some(new)) = (&one.manifest, &other.manifest) {
        inputs(old, new, [one.version(), other.version()], &mut add);
    }
    let reasons = Reasons::new(one.manifest.as_ref(), other.manifest.as_ref());
    let section = |name| map(&one.sections(name), &other.sections(name));
    add("kernel", section(".linux"));
    add("initramfs", files(&one.initramfs, &other.initramfs, &reasons));
    add("root", files(&one.files, &other.files, &reasons));
    add("verity", map(&one.verity(), &other.verity()));
    let mut boot = section(".cmdline");
    boot.extend(section(".osrel"));
    boot.extend(section(".uname"));
    if boot.is_empty() {
        boot = map(&one.boot_files(), &other.boot_files());
    }
    add("boot", boot);
    add("partitions", map(&one.table(), &other.table()));
    if layers.is_empty() {
        layers.extend(bytes(a, b)?);
    }
    Ok(layers)
}

/// What the images were made from.
fn inputs(
    old: &Manifest,
    new: &Manifest,
    versions: [Option<String>; 2],
    add: &mut dyn FnMut(&'static str, Vec<Difference>),
) {
    let packages = lock::packages(&old.packages, &new.packages);
    add("packages", packages.iter().map(|change| plain(change.to_string())).collect());
    let nomad = |manifest: &Manifest| {
        let facts = &manifest.nomad;
        BTreeMap::from([("nomad".to_owned(), format!("{} {:?} {}", facts.version, facts.source, facts.sha256))])
    };
    add("nomad", map(&nomad(old), &nomad(new)));
    let agent = |manifest: &Manifest| {
        let init = manifest.initramfs.iter().find(|file| file.origin == crate::tree::Origin::Agent);
        let digest = init.and_then(|file| file.sha256).map(|digest| digest.hex());
        BTreeMap::from([("agent".to_owned(), digest.unwrap_or_default())])
    };
    add("agent", map(&agent(old), &agent(new)));
    let [own, others] = versions.map(Option::unwrap_or_default);
    let recipe = |manifest: &Manifest, version: String| {
        BTreeMap::from([
            ("name".to_owned(), manifest.name.clone()),
            ("version".to_owned(), version),
            ("role".to_owned(), manifest.role.to_string()),
            ("Steppe".to_owned(), manifest.version.clone()),
            ("architecture".to_owned(), manifest.architecture.to_string()),
            ("epoch".to_owned(), manifest.epoch.to_string()),
        ])
    };
    add("recipe", map(&recipe(old, own), &recipe(new, others)));
}

fn plain(what: String) -> Difference {
    Difference { what, why: None }
}

/// Entries of two maps that are not the same.
fn map(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut found = Vec::new();
    for (key, before) in old {
        match new.get(key) {
            Some(now) if now == before => {}
            Some(now) => found.push(plain(format!("{key}: {before} -> {now}"))),
            None => found.push(plain(format!("{key}: only in the first"))),
        }
    }
    let added = new.keys().filter(|key| !old.contains_key(*key));
    found.extend(added.map(|key| plain(format!("{key}: only in the second"))));
    found
}

fn files(old: &[Found], new: &[Found], reasons: &Reasons<'_>) -> Vec<Difference> {
    let by_path = |list: Vec<Found>| -> BTreeMap<String, Found> {
        list.into_iter().map(|file| (file.path.clone(), file)).collect()
    };
    let placed = |file: &Found| Found { path: reasons.place(&file.path), ..file.clone() };
    let (old, new) = (by_path(old.to_vec()), by_path(new.iter().map(placed).collect()));
    let mut found = Vec::new();
    for (path, before) in &old {
        let what = match new.get(path) {
            Some(now) if now == before => continue,
            Some(now) => format!("{path}: {}", why(before, now)),
            None => format!("{path}: only in the first"),
        };
        found.push(Difference { what, why: reasons.of(path) });
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        found.push(Difference { what: format!("{path}: only in the second"), why: reasons.of(path) });
    }
    found
}

/// The first byte that differs: of the disks, and when these are the same, of the files.
fn bytes(a: &Path, b: &Path) -> Result<Option<Layer>, InspectError> {
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InspectError::Read { path, source }
    };
    if let (Some(mut one), Some(mut other)) = (disk(a), disk(b)) {
        if one.size != other.size {
            let what = format!("the first has {} bytes, the second {}", one.size, other.size);
            return Ok(Some(Layer { name: "bytes", differences: vec![plain(what)] }));
        }
        if let Some(at) = first_other(&mut one, &mut other).map_err(fail(a))? {
            let what = format!("the first other byte is at {at} ({at:#x})");
            return Ok(Some(Layer { name: "bytes", differences: vec![plain(what)] }));
        }
        if (one.format, one.packing) != (other.format, other.packing) {
            // The same disk, on purpose in another format.
            return Ok(None);
        }
    }
    let (mut one, mut other) = (File::open(a).map_err(fail(a))?, File::open(b).map_err(fail(b))?);
    let at = first_other(&mut one, &mut other).map_err(fail(a))?;
    Ok(at.map(|at| Layer {
        name: "file",
        differences: vec![plain(format!("the first other byte is at {at} ({at:#x})"))],
    }))
}

/// The disk in a file, at its start.
fn disk(path: &Path) -> Option<Volume> {
    let mut volume = Volume::open(path).ok()?;
    table::read(&mut volume).ok()?;
    volume.rewind().ok()?;
    Some(volume)
}

/// Where two streams differ; the end of the shorter one when that is a part of the other.
fn first_other(a: &mut dyn io::Read, b: &mut dyn io::Read) -> io::Result<Option<u64>> {
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(a, &mut one)?, fill(b, &mut other)?);
        // As memory first: most of two disks is the same.
        if one[..n] != other[..m] {
            let place = one[..n].iter().zip(&other[..m]).position(|(a, b)| a != b).unwrap_or(n.min(m));
            return Ok(Some(at + place as u64));
        }
        if n == 0 {
            return Ok(None);
        }
        at += n as u64;
    }
}

fn fill(reader: &mut dyn io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let length = buffer.len() as u64;
    let mut rest = &mut *buffer;
    let copied = io::copy(&mut reader.take(length), &mut rest)?;
    Ok(usize::try_from(copied).unwrap_or(0))
}
