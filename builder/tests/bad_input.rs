//! What goes wrong around a build: damaged packages, full disks, builds that are killed or collide. Each ends with words that
//! name the input and the way out, leaves nothing half done, and the next build works.

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use builder::{content::Digest, lock::Lock};
use common::{
    Vendor, World,
    nomad_fixture::{self, Reply, Server, Signer},
    said,
};
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature};

/// Names in a folder, hidden ones too; none when there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Takes a package of the lock file out of the cache; gives its place there and its bytes.
fn without_a_package(world: &World) -> (PathBuf, Vec<u8>) {
    let text = fs::read_to_string(world.recipe.with_extension("lock")).unwrap();
    let package = Lock::parse("lock", &text).unwrap().package("e2fsprogs").unwrap().clone();
    let path = world.cache().join(format!("packages/{}.deb", package.sha256));
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (path, whole)
}

fn works(world: &World, output: &Path) {
    let built = world.build(output, &[]);
    assert!(built.status.success(), "{}", said(&built));
    assert!(names(output).iter().all(|name| name.starts_with("steppe-")), "{:?}", names(output));
    let cache = world.cache();
    let groups = names(&cache.join("nomad")).into_iter().map(|group| format!("nomad/{group}"));
    let parts = ["", "steps", "packages"].map(str::to_owned).into_iter().chain(groups);
    let left: Vec<_> = parts.flat_map(|part| names(&cache.join(part))).collect();
    assert!(left.iter().all(|name| !name.starts_with('.') || name == ".lock"), "{left:?}");
}

/// What a build says that fails, and leaves nothing where its output would go.
fn fails(world: &World, output: &Path, more: &[&str]) -> String {
    let before = names(output);
    let built = world.build(output, more);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert_eq!(names(output), before, "{text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{text}");
    text
}

/// A small file system in memory, which goes with the value.
struct Small(PathBuf);

impl Small {
    /// Nothing when this user may not mount; the reason is printed.
    fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_path_buf())),
            other => {
                println!("skipped: a small file system takes root: {other:?}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_damaged_package_is_fetched_again_or_named() {
    let world = World::new();
    let output = world.path("out");
    let text = fs::read_to_string(world.recipe.with_extension("lock")).unwrap();
    let lock = Lock::parse("lock", &text).unwrap();
    let package = lock.package("e2fsprogs").unwrap();
    let path = world.cache().join(format!("packages/{}.deb", package.sha256));
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    // Cut short, other bytes, and gone: the archive is asked, which is not there.
    for damaged in [Some(&whole[..whole.len() / 2]), Some(&other[..]), None] {
        match damaged {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let built = world.build(&output, &["--mirror", "http://127.0.0.1:1/debian"]);
        let text = said(&built);
        assert_eq!(built.status.code(), Some(1), "{text}");
        assert!(text.contains("http://127.0.0.1:1/debian") && text.contains("--mirror"), "{text}");
        let named = format!("{}.deb is not e2fsprogs 1.0 any more", package.sha256);
        assert_eq!(text.contains(&named), damaged.is_some(), "{text}");
        assert_eq!(names(&output), Vec::<String>::new());
        fs::write(&path, &whole).unwrap();
    }
    works(&world, &output);

    // A lock file that promises another package than there is: the file of that digest is no package.
    let wrong = Digest::of(b"no package");
    fs::write(world.cache().join(format!("packages/{wrong}.deb")), b"no package").unwrap();
    let changed = text.replace(&package.sha256.hex(), &wrong.hex());
    fs::write(world.recipe.with_extension("lock"), changed).unwrap();
    let built = world.build(&world.path("other"), &[]);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("failed to read package {}", world.cache().display())), "{text}");
    assert_eq!(names(&world.path("other")), Vec::<String>::new());
}

/// A mirror may have any bytes: without the archive's signature none of them are taken.
#[test]
fn a_mirror_without_the_archives_signature_is_named_and_not_believed() {
    let world = World::new();
    let output = world.path("out");
    let (path, whole) = without_a_package(&world);
    let server = Server::start();
    let release = "Suite: trixie\nCodename: trixie\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n";
    for name in ["InRelease", "Release", "Release.gpg"] {
        server.set(&format!("/debian/dists/trixie/{name}"), Reply::Body(release.into()));
    }
    let mirror = format!("{}/debian", server.url());
    let built = world.build(&output, &["--mirror", &mirror]);
    let said = said(&built);
    assert_eq!(built.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{mirror} are not signed by Debian")) && said.contains("--mirror"), "{said}");
    assert!(!path.exists() && names(&output).is_empty(), "{said}");
    fs::write(&path, whole).unwrap();
    works(&world, &output);
}

#[test]
fn a_full_disk_leaves_nothing_and_is_named() {
    let world = World::new();
    let output = world.path("out");
    let Some(small) = Small::mount(&output, "size=300k") else { return };
    let built = world.build(&output, &[]);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(text.contains(&output.display().to_string()) && text.contains("make room there or name another"), "{text}");
    assert_eq!(names(&output), Vec::<String>::new());
    small.remount("size=80m");
    works(&world, &output);
    drop(small);

    // The cache, on a disk that has room for the packages but not for the results of steps.
    let (steps, output) = (world.cache().join("steps"), world.path("second"));
    fs::remove_dir_all(&steps).unwrap();
    let Some(small) = Small::mount(&steps, "size=16k") else { return };
    let built = world.build(&output, &[]);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(text.contains(&steps.display().to_string()) && text.contains("make room there or name another"), "{text}");
    assert_eq!((names(&output), names(&steps)), (Vec::new(), Vec::new()));
    small.remount("size=80m");
    works(&world, &output);
}

#[test]
fn an_output_that_may_not_be_written_is_named_before_the_work() {
    let world = World::new();
    let output = world.path("out");
    let Some(small) = Small::mount(&output, "ro") else { return };
    let built = world.build(&output, &[]);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(text.contains(&output.display().to_string()) && text.contains("that you may write to"), "{text}");
    assert!(!text.contains("initramfs"), "{text}");
    drop(small);
    works(&world, &output);
}

/// The builder, to be watched while it runs.
fn command(world: &World, output: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    command.args(["build", "--locked", "--json", "--recipe"]).arg(&world.recipe).arg("--cache").arg(world.cache());
    command.arg("--agent").arg(&world.agent).arg("--nomad").arg(&world.nomad).arg("--output").arg(output);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_killed_build_is_in_nobodys_way() {
    let world = World::new();
    let output = world.path("out");
    let mut killed = 0;
    for step in ["nomad", "packages", "initramfs", "root"] {
        let mut child = command(&world, &output).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let event = format!("\"name\":\"{step}\"");
        assert!(lines.map_while(Result::ok).any(|line| line.contains(&event)), "no step {step}");
        child.kill().unwrap();
        // A machine may be so quick that the build is done.
        if child.wait().unwrap().signal() == Some(9) {
            killed += 1;
            assert!(names(&output).iter().all(|name| name.starts_with(".steppe-build-")), "{:?}", names(&output));
        } else {
            fs::remove_dir_all(&output).unwrap();
        }
        fs::remove_dir_all(world.cache().join("steps")).unwrap();
    }
    assert!(killed > 0, "no build was slow enough to be killed");
    // What it was in the middle of making.
    for folder in ["steps/.making-left", "packages/.get-left", ".get-left", "nomad/given/.get-left"] {
        fs::create_dir_all(world.cache().join(folder)).unwrap();
        fs::write(world.cache().join(folder).join("half"), "half").unwrap();
    }
    fs::write(world.cache().join("nomad/given/.get-half"), "half").unwrap();
    works(&world, &output);
}

#[test]
fn two_builds_at_once_share_a_cache() {
    let world = World::new();
    let outputs = [world.path("one"), world.path("two")];
    let children: Vec<_> = outputs.iter().map(|output| command(&world, output).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(names(&outputs[0]), names(&outputs[1]));
    for name in names(&outputs[0]) {
        assert!(fs::read(outputs[0].join(&name)).unwrap() == fs::read(outputs[1].join(&name)).unwrap(), "{name}");
    }
    works(&world, &outputs[0]);
    // Into one folder, with a cache each.
    let other = World::new();
    let both = world.path("both");
    let children: Vec<_> = [&world, &other].map(|world| command(world, &both).spawn().unwrap()).into_iter().collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(names(&both), names(&outputs[0]));
    // And into one folder with one cache, from the beginning.
    fs::remove_dir_all(world.cache().join("steps")).unwrap();
    let one = world.path("one-for-both");
    let children: Vec<_> = (0..2).map(|_| command(&world, &one).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(names(&one), names(&outputs[0]));
    works(&world, &one);
}

#[test]
fn a_cache_that_may_not_be_written_is_named() {
    let world = World::new();
    let output = world.path("out");
    let aside = world.path("aside");
    fs::rename(world.cache(), &aside).unwrap();
    let Some(small) = Small::mount(&world.cache(), "ro") else { return };
    let text = fails(&world, &output, &[]);
    assert!(text.contains(&world.cache().display().to_string()), "{text}");
    assert!(text.contains("name a folder that you may write to (--output, --cache)"), "{text}");
    drop(small);
    fs::remove_dir(world.cache()).unwrap();
    fs::write(world.cache(), "a file").unwrap();
    let text = fails(&world, &output, &[]);
    assert!(text.contains(&world.cache().display().to_string()) && text.contains("Not a directory"), "{text}");
    fs::remove_file(world.cache()).unwrap();
    fs::rename(aside, world.cache()).unwrap();
    works(&world, &output);
}

/// Cache and output on one disk, which is too small for the results of steps, and then for what is left.
#[test]
fn a_full_disk_for_everything_leaves_nothing() {
    let world = World::new();
    let (cache, output) = (world.cache(), world.cache().join("out"));
    let aside = world.path("aside");
    fs::rename(&cache, &aside).unwrap();
    let Some(small) = Small::mount(&cache, "size=400k") else { return };
    fs::create_dir(cache.join("packages")).unwrap();
    for name in names(&aside.join("packages")) {
        fs::copy(aside.join("packages").join(&name), cache.join("packages").join(&name)).unwrap();
    }
    let mut full = 0;
    for size in ["400k", "1m", "2m", "4m"] {
        small.remount(&format!("size={size}"));
        let built = world.build(&output, &[]);
        let text = said(&built);
        if !built.status.success() {
            full += 1;
            assert!(text.contains("make room there") && text.contains(&cache.display().to_string()), "{text}");
            assert_eq!(names(&output), Vec::<String>::new(), "{text}");
            assert!(names(&cache.join("steps")).iter().all(|name| !name.starts_with('.')), "{text}");
        }
    }
    assert!(full > 1, "no build was without room");
    small.remount("size=80m");
    works(&world, &output);
}

/// A signature as mirrors have it.
fn by_another_key(data: &[u8]) -> String {
    let signature = DetachedSignature::from_bytes(&Signer::new(false).sign(data, 10)[..]).unwrap();
    signature.to_armored_string(ArmorOptions::default()).unwrap()
}

#[test]
fn a_mirror_that_is_not_to_be_trusted_is_named() {
    let world = World::new();
    let output = world.path("out");
    let (path, whole) = without_a_package(&world);
    let server = Server::start();
    let mirror = format!("{}/debian", server.url());
    let release = b"Suite: trixie\nCodename: trixie\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n".to_vec();
    let at = |name: &str| format!("/debian/dists/trixie/{name}");
    // The lists of somebody else, whose key nobody knows.
    server.set(&at("Release"), Reply::Body(release.clone()));
    server.set(&at("Release.gpg"), Reply::Body(by_another_key(&release).into_bytes()));
    let text = fails(&world, &output, &["--mirror", &mirror]);
    assert!(text.contains(&format!("{mirror} are not signed by Debian")) && text.contains("--mirror"), "{text}");
    // A connection that is closed in the middle of a list.
    server.set(&at("InRelease"), Reply::Cut(vec![b'x'; 5000], 700));
    for name in ["Release", "Release.gpg"] {
        server.remove(&at(name));
    }
    let text = fails(&world, &output, &["--mirror", &mirror]);
    assert!(text.contains(&mirror) && text.contains("--mirror"), "{text}");
    assert!(!path.exists());
    fs::write(&path, whole).unwrap();
    works(&world, &output);
}

#[test]
fn mistakes_in_a_recipe_are_named_before_the_work() {
    let world = World::new();
    let output = world.path("out");
    let good = fs::read_to_string(&world.recipe).unwrap();
    let name = world.recipe.display().to_string();
    let with = |more: &str| {
        fs::write(&world.recipe, format!("{good}{more}")).unwrap();
        let text = fails(&world, &output, &[]);
        assert!(!text.contains("packages "), "nothing was done yet: {text}");
        text
    };
    let line = good.lines().count() + 2;
    let text = with("[kernel]\ncmdlin = []\n");
    assert!(text.contains(&format!("{name}:{line}:1: ")) && text.contains("did you mean `cmdline`?"), "{text}");
    let text = with("[[files]]\nsource = \"/dev/zero\"\npath = \"/usr/share/x\"\n");
    assert!(text.contains("failed to read /dev/zero for /usr/share/x of the image: it is a device"), "{text}");
    assert!(text.contains("[[files]]"), "{text}");
    let text = with("[[files]]\nsource = \"gone\"\npath = \"/usr/share/x\"\n");
    assert!(text.contains("/gone for /usr/share/x of the image: No such file") && text.contains("[[files]]"), "{text}");
    fs::write(world.path("other.toml"), "extends = \"test\"\n").unwrap();
    fs::write(&world.recipe, "extends = \"other\"\n").unwrap();
    let text = fails(&world, &output, &[]);
    assert!(
        text.contains("for ever: ") && text.contains("other.toml -> ") && text.contains("built-in recipe"),
        "{text}"
    );
    fs::write(&world.recipe, good).unwrap();
    works(&world, &output);
}

#[test]
fn a_release_that_is_not_the_vendors_leaves_nothing() {
    let world = World::new();
    let vendor = Vendor::new(&world);
    let program = nomad_fixture::program("Nomad v2.0.5\n");
    vendor.publish(&program);
    let output = world.path("out");
    let fails = |more: &[&str]| {
        let built = vendor.build(&world, more);
        let text = said(&built);
        assert_eq!(built.status.code(), Some(1), "{text}");
        assert_eq!(names(&output), Vec::<String>::new(), "{text}");
        text
    };
    // A key that cannot be read, never ends, or is none.
    let folder = world.folder.path().display().to_string();
    let recipe = world.recipe.display().to_string();
    for (key, why) in [
        ("/nonexistent", "No such file"),
        ("/dev/zero", "it has more than"),
        (&folder, "directory"),
        (&recipe, "no public key"),
    ] {
        let text = fails(&["--nomad-key", key]);
        assert!(text.contains(&format!("failed to read the release key {key}: ")) && text.contains(why), "{text}");
        assert!(text.contains("--nomad-key"), "{text}");
    }
    // Other bytes than those that are signed, and another signature.
    vendor.replace("nomad_2.0.5_linux_amd64.zip", nomad_fixture::zip(&[("nomad", b"other")]));
    let text = fails(&[]);
    assert!(
        text.contains("nomad_2.0.5_linux_amd64.zip has the SHA-256") && text.contains("the signed list says"),
        "{text}"
    );
    vendor.publish(&program);
    vendor.replace("nomad_2.0.5_SHA256SUMS.sig", Signer::new(false).sign(b"other", 10));
    let text = fails(&[]);
    assert!(text.contains("nomad_2.0.5_SHA256SUMS.sig was made by the key") && text.contains("--nomad-key"), "{text}");
    vendor.publish(&program);
    let built = vendor.build(&world, &[]);
    assert!(built.status.success(), "{}", said(&built));
}
