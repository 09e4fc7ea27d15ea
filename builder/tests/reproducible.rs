//! The same inputs give the same bytes in every format: in another folder, under another user, host name, time zone, locale,
//! umask, date and number of threads.

mod common;
#[path = "common/referee.rs"]
mod referee;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use builder::content::Digest;
use common::{ALL, World, said};
use referee::referee;

/// A user who is nobody in particular.
const NOBODY: u32 = 65_534;

/// The layers of an image from the innermost out: the first that differs is where to look.
const LAYERS: [&str; 23] = [
    "lock",
    "vmlinuz",
    "initrd",
    "netboot.initrd",
    "netboot.cmdline",
    "ipxe",
    "cmdline",
    "efi",
    "update",
    "raw",
    "raw.zst",
    "raw.gz",
    "raw.xz",
    "qcow2",
    "zstd.qcow2",
    "vmdk",
    "vhd",
    "ova",
    "gce.tar.gz",
    "iso",
    "spdx.json",
    "cdx.json",
    "manifest.json",
];

/// The digest of every file that a build left, by what its name ends in.
fn digests(output: &Path) -> BTreeMap<String, Digest> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let (_, suffix) = path.to_str().unwrap().rsplit_once("x86_64.").unwrap();
        (suffix.to_owned(), Digest::of_reader(fs::File::open(&path).unwrap()).unwrap().0)
    };
    fs::read_dir(output).unwrap().map(entry).collect()
}

/// The words before a command that change what is around it, and what each of them changes. What this machine does not
/// have is left out.
fn surroundings() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found = vec![("umask", vec!["sh", "-c", "umask 077; exec \"$0\" \"$@\""])];
    let root = rustix::process::getuid().is_root();
    if root && referee("unshare", &["--uts", "true"]).is_some_and(|output| output.status.success()) {
        let script = "echo elsewhere > /proc/sys/kernel/hostname; exec \"$0\" \"$@\"";
        found.push(("host name", vec!["unshare", "--uts", "sh", "-c", script]));
    }
    if root && referee("setpriv", &["--version"]).is_some() {
        found.push(("user", vec!["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]));
    }
    // Behind the change of user: it works by a library that is preloaded.
    if referee("faketime", &["--version"]).is_some() {
        found.push(("date", vec!["faketime", "2031-05-06 07:08:09"]));
    }
    found
}

/// Gives everything below a folder to a user.
fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// The first layer in which two builds differ, and what `builder diff` says of it.
fn first_difference(one: &Path, other: &Path) -> Option<String> {
    let (first, second) = (digests(one), digests(other));
    let layer = LAYERS.into_iter().find(|layer| {
        let (Some(a), Some(b)) = (first.get(*layer), second.get(*layer)) else {
            panic!("no {layer} among {:?} and {:?}", first.keys(), second.keys());
        };
        a != b
    })?;
    let name = |folder: &Path| {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut named = paths.filter(|path| path.to_str().unwrap().ends_with(&format!("x86_64.{layer}")));
        named.next().unwrap()
    };
    let mut diff = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    let diff = diff.arg("diff").args([name(one), name(other)]).output().unwrap();
    Some(format!("{layer} is the first layer that differs:\n{}", said(&diff)))
}

#[test]
fn a_comparison_that_fails_names_the_first_layer_that_differs() {
    let world = World::new();
    let [one, other] = ["one", "other"].map(|name| world.path(name));
    assert!(world.build(&one, &ALL).status.success());
    let agent = fs::read(&world.agent).unwrap();
    fs::write(&world.agent, [&agent[..], b"more"].concat()).unwrap();
    assert!(world.build(&other, &ALL).status.success());
    let said = first_difference(&one, &other).unwrap();
    assert!(said.starts_with("initrd is the first layer that differs:\n"), "{said}");
    assert!(said.contains("/init: ") && said.contains("(the agent changed)"), "{said}");
    // Within a file it is the same: the disk differs in its boot partition because the agent is another one.
    let raw = |folder: &Path| folder.join("steppe-0.1.0-test-x86_64.raw");
    let mut diff = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    let diff = common::said(&diff.arg("diff").args([raw(&one), raw(&other)]).output().unwrap());
    assert!(diff.starts_with("the first layer that differs is agent\n"), "{diff}");
    assert_eq!(first_difference(&one, &one), None);
}

#[test]
fn the_same_inputs_give_the_same_bytes_wherever_they_are_built() {
    everywhere_the_same(World::new);
}

#[test]
fn images_for_metal_are_the_same_wherever_they_are_built() {
    everywhere_the_same(World::metal);
}

fn everywhere_the_same(world: fn() -> World) {
    let first = world();
    let mut command = first.command();
    command.env("STEPPE_THREADS", "1").args(ALL).arg("--output").arg(first.path("out"));
    let built = command.output().unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let wanted = digests(&first.path("out"));

    let second = world();
    let output = second.path("another place, with spaces");
    // Its own copy: the one that was built may lie where that user must not look.
    let program = second.path("builder");
    fs::copy(assert_cmd::cargo::cargo_bin!("builder"), &program).unwrap();
    let around = surroundings();
    let words: Vec<&str> = around.iter().flat_map(|(_, words)| words.iter().copied()).collect();
    let around: Vec<&str> = around.iter().map(|(what, _)| *what).collect();
    let other = |what| around.contains(&what);
    let mut look = assert_cmd::Command::new(words[0]);
    let look = look.args(&words[1..]).args(["sh", "-c", "umask; uname -n; id -u; date +%Y"]).output().unwrap();
    let look = String::from_utf8(look.stdout).unwrap();
    let look: Vec<&str> = look.lines().collect();
    assert_eq!(look[0], "0077");
    assert!(!other("host name") || look[1] == "elsewhere", "{look:?}");
    assert!(!other("user") || look[2] == NOBODY.to_string(), "{look:?}");
    assert!(!other("date") || look[3] == "2031", "{look:?}");

    if other("user") {
        give(second.folder.path(), NOBODY);
    }
    let mut command = assert_cmd::Command::new(words[0]);
    command
        .args(&words[1..])
        .arg(&program)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/nonexistent");
    second.arguments(&mut command);
    command.args(ALL).arg("--output").arg(&output).current_dir("/");
    command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "tr_TR.UTF-8").env("STEPPE_THREADS", "3");
    let built = command.output().unwrap();
    assert!(built.status.success(), "{:?}: {}", around, said(&built));
    // Whoever built it, and whatever the umask was, people can read it.
    let metadata = fs::metadata(output.join(format!("steppe-0.1.0-{}-x86_64.raw", first.image))).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
    if other("user") {
        assert_eq!(metadata.uid(), NOBODY, "it was not another user who built");
    }

    if let Some(difference) = first_difference(&first.path("out"), &output) {
        panic!("other were directory, time zone, locale, number of threads, {around:?}: {difference}");
    }
    let got = digests(&output);
    assert_eq!(wanted.len(), LAYERS.len(), "{:?}", wanted.keys());
    assert_eq!(got.len(), LAYERS.len(), "{:?}", got.keys());
}
