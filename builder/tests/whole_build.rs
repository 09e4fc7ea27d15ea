//! Whole builds of a made-up world: what comes out, that it is always the same, and that nothing is done twice.

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use builder::manifest::{Kind, Manifest};
use common::{ALL, World, said};

fn manifest(output: &Path) -> Manifest {
    Manifest::read(&output.join("steppe-0.1.0-test-x86_64.manifest.json")).unwrap()
}

#[test]
fn a_build_leaves_what_the_manifest_says() {
    let world = World::new();
    let output = world.path("out");
    let built = world.build(&output, &ALL);
    assert!(built.status.success(), "{}", said(&built));
    let manifest = manifest(&output);
    assert_eq!((manifest.kernel.as_str(), manifest.epoch, manifest.standin), (common::KERNEL, common::EPOCH, false));
    for artefact in &manifest.artefacts {
        let bytes = fs::read(output.join(&artefact.file)).unwrap();
        assert_eq!(bytes.len() as u64, artefact.size, "{}", artefact.file);
        assert_eq!(builder::content::Digest::of(&bytes), artefact.sha256, "{}", artefact.file);
    }
    let mut left: Vec<_> =
        fs::read_dir(&output).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let mut named: Vec<_> = manifest.artefacts.iter().map(|artefact| artefact.file.clone()).collect();
    named.push("steppe-0.1.0-test-x86_64.manifest.json".to_owned());
    named.sort();
    assert_eq!(left, named);

    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    for wanted in [
        "/sbin",
        "/usr/sbin/init",
        "/usr/bin/df",
        "/usr/bin/nomad",
        "/usr/sbin/mke2fs",
        "/usr/lib64/ld-linux-x86-64.so.2",
        "/usr/lib/x86_64-linux-gnu/libcom_err.so.2",
        "/usr/lib/steppe/image.json",
        "/usr/lib/steppe/modules",
        "/usr/lib/steppe/sysctl.conf",
        "/usr/share/zoneinfo.zip",
        "/usr/share/steppe/etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(paths.contains(&wanted), "{wanted} is not in {paths:#?}");
    }
    // Nothing that nothing needs: a library of a wanted package, a program of a wanted package.
    for unwanted in ["libblkid", "libuuid", "debugfs", "libcom_err.so.2.1", "systemd", "syslinux"] {
        assert!(!paths.iter().any(|path| path.contains(unwanted)), "{unwanted} is in {paths:#?}");
    }
    let cmdline = fs::read_to_string(manifest.path(Kind::Cmdline).unwrap()).unwrap();
    assert!(cmdline.starts_with(&format!("roothash={} console=tty0 ", manifest.root_hash)), "{cmdline}");
    let netboot = fs::read_to_string(manifest.path(Kind::NetbootCmdline).unwrap()).unwrap();
    assert!(!netboot.contains("root=") && netboot.lines().count() == 1, "{netboot}");
}

#[test]
fn nothing_is_done_twice_and_damage_is_repaired() {
    let world = World::new();
    let output = world.path("out");
    let run = |more: &[&str]| {
        let built = world.build(&output, &[&["--json"], more].concat());
        assert!(built.status.success(), "{}", said(&built));
        let text = String::from_utf8(built.stdout).unwrap();
        let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.last().unwrap().clone()
    };
    assert_eq!(run(&[])["unchanged"], false);
    let start = Instant::now();
    let again = run(&[]);
    assert_eq!(again["unchanged"], true);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(again["paths"].as_array().unwrap().iter().all(|path| Path::new(path.as_str().unwrap()).exists()));

    let raw = manifest(&output).path(Kind::Raw).unwrap();
    let whole = fs::read(&raw).unwrap();
    fs::write(&raw, b"damaged").unwrap();
    assert_eq!(run(&[])["unchanged"], false);
    assert!(fs::read(&raw).unwrap() == whole);

    let text = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, text.replace("160MiB", "170MiB")).unwrap();
    assert_eq!(run(&[])["unchanged"], false);
    assert_eq!(fs::metadata(&raw).unwrap().len(), 170 << 20);
}

#[test]
fn files_of_another_build_are_not_taken_for_ones_own() {
    let world = World::new();
    let (output, recipe) = (world.path("out"), fs::read_to_string(&world.recipe).unwrap());
    let run = |cache: &Path| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("builder"));
        command.args(["build", "--json", "--locked", "--recipe"]).arg(&world.recipe).arg("--cache").arg(cache);
        command.arg("--agent").arg(&world.agent).arg("--nomad").arg(&world.nomad).arg("--output").arg(&output);
        let built = command.output().unwrap();
        assert!(built.status.success(), "{}", said(&built));
        let text = String::from_utf8(built.stdout).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let size = fs::metadata(manifest(&output).path(Kind::Raw).unwrap()).unwrap().len() >> 20;
        (last["unchanged"] == true, size)
    };
    let (own, other) = (world.cache(), world.path("other-cache"));
    fs::create_dir_all(other.join("packages")).unwrap();
    for package in fs::read_dir(own.join("packages")).unwrap() {
        let package = package.unwrap();
        fs::copy(package.path(), other.join("packages").join(package.file_name())).unwrap();
    }
    assert_eq!(run(&own), (false, 160));
    fs::write(&world.recipe, recipe.replace("160MiB", "170MiB")).unwrap();
    assert_eq!(run(&other), (false, 170));
    fs::write(&world.recipe, &recipe).unwrap();
    assert_eq!(run(&own), (false, 160));
    assert_eq!(run(&own), (true, 160));
    // A manifest that says the same in other bytes is not what was built either.
    let path = output.join("steppe-0.1.0-test-x86_64.manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text} ")).unwrap();
    assert_eq!(run(&own), (false, 160));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn mistakes_name_the_input_and_the_fix() {
    let world = World::new();
    let output = world.path("out");
    let fails = |more: &[&str]| {
        let built = world.build(&output, more);
        assert_eq!(built.status.code(), Some(1), "{}", said(&built));
        String::from_utf8(built.stderr).unwrap()
    };
    let locked = |from: &str, to: &str| {
        let path = world.recipe.with_extension("lock");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(from, to)).unwrap();
        let said = fails(&[]);
        fs::write(&path, text).unwrap();
        said
    };
    let said = locked("name = \"tzdata\"", "name = \"tzdatum\"");
    assert!(said.contains("does not name tzdata") && said.contains("`builder lock`"), "{said}");

    // The old package under a newer version, which every bill of materials would then have.
    let tzdata = "name = \"tzdata\"\nversion = \"1.0\"";
    assert!(fs::read_to_string(world.recipe.with_extension("lock")).unwrap().contains(tzdata));
    let said = locked(tzdata, "name = \"tzdata\"\nversion = \"1.1\"");
    assert!(said.contains("is tzdata 1.0, and the lock file calls it tzdata 1.1"), "{said}");

    let said = fails(&["--role", "client"]);
    assert!(said.contains("--role client") && said.contains("server image"), "{said}");

    fs::write(world.path("other.toml"), "extends = \"server\"\nname = \"x\"\n[disk]\nsize = \"40MiB\"\n").unwrap();
    fs::copy(world.recipe.with_extension("lock"), world.path("other.lock")).unwrap();
    let mut small = World { recipe: world.path("other.toml"), ..World::new() };
    small.folder = tempfile::tempdir().unwrap();
    let said = {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("builder"));
        command.args(["build", "--locked", "--recipe"]).arg(&small.recipe).arg("--cache").arg(world.cache());
        command.arg("--agent").arg(&world.agent).arg("--nomad").arg(&world.nomad).arg("--output").arg(&output);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(said.contains("raise disk.size"), "{said}");

    let usage = world.command().args(["--format", "vdi"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("raw"), "{}", common::said(&usage));
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let world = World::new();
    let file = world.path("file");
    fs::write(&file, "").unwrap();
    let built = world.build(&file.join("out"), &[]);
    let text = said(&built);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(text.contains("file/out"), "{text}");
}

#[test]
fn a_dry_run_says_what_it_needs_and_touches_nothing() {
    let world = World::new();
    let output = world.path("out");
    let run = |more: &[&str]| {
        let built = world.build(&output, &[&["--dry-run"], more].concat());
        assert!(built.status.success(), "{}", said(&built));
        String::from_utf8(built.stdout).unwrap()
    };
    let text = run(&[]);
    assert!(text.contains("0 B to download") && text.contains("steppe-root-b") && text.contains("state"), "{text}");
    let plan: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let packages = plan["plan"]["packages"].as_array().unwrap();
    assert!(packages.len() >= 10 && packages.iter().all(|package| package["cached"] == true), "{plan}");
    let lock = world.recipe.with_extension("lock");
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, text.replace("name = \"tzdata\"", "name = \"tzdatum\"")).unwrap();
    assert!(run(&[]).contains("tzdata: not in the lock file"));
    assert!(!output.exists());
    assert!(fs::read_dir(world.cache().join("steps")).unwrap().next().is_none());
}

#[test]
fn a_dry_run_says_which_steps_will_run() {
    let world = World::new();
    let output = world.path("out");
    // The steps that are to be made, and whether the files are.
    let plan = |more: &[&str]| {
        let built = world.build(&output, &[&["--dry-run", "--json"], more].concat());
        assert!(built.status.success(), "{}", said(&built));
        let event: serde_json::Value = serde_json::from_slice(&built.stdout).unwrap();
        let steps = event["plan"]["steps"].as_array().unwrap().iter().filter(|step| step["cached"] == false);
        let names: Vec<String> = steps.map(|step| step["name"].as_str().unwrap().to_owned()).collect();
        (names.join(", "), event["plan"]["unchanged"] == true)
    };
    assert_eq!(plan(&[]), ("kernel, modules, initramfs, nomad, compressed, root".to_owned(), false));
    assert!(world.build(&output, &[]).status.success());
    assert_eq!(plan(&[]), (String::new(), true));
    let text = String::from_utf8(world.build(&output, &["--dry-run"]).stdout).unwrap();
    assert!(
        text.contains("root               in the cache") && text.contains("raw, netboot: nothing changed"),
        "{text}"
    );
    // As the build then does it: other formats are only written, another agent is a new initramfs, another root a new root.
    assert_eq!(plan(&["--format", "raw", "--compress", "none,zstd"]), (String::new(), false));
    let agent = fs::read(&world.agent).unwrap();
    fs::write(&world.agent, [&agent[..], b"more"].concat()).unwrap();
    assert_eq!(plan(&[]), ("initramfs".to_owned(), false));
    fs::write(&world.agent, &agent).unwrap();
    let recipe = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, recipe.replace("level = 3", "level = 4")).unwrap();
    assert_eq!(plan(&[]), ("nomad, compressed, root".to_owned(), false));
    fs::write(&world.recipe, format!("{recipe}[kernel]\ncmdline = [\"quiet\"]\n")).unwrap();
    assert_eq!(plan(&[]), (String::new(), false));
    fs::write(&world.recipe, &recipe).unwrap();
    // A package that has to be downloaded again changes nothing in what follows.
    let package = fs::read_dir(world.cache().join("packages")).unwrap().next().unwrap().unwrap().path();
    let size = fs::metadata(&package).unwrap().len();
    fs::remove_file(&package).unwrap();
    let text = String::from_utf8(world.build(&output, &["--dry-run"]).stdout).unwrap();
    assert!(text.contains(&format!("{} to download", builder::progress::bytes(size))), "{text}");
    assert_eq!(plan(&[]), (String::new(), true));
}

/// Names of the packages in the bill of materials that boot what was built.
fn boots(world: &World, more: &[&str]) -> Vec<String> {
    let output = world.path("bill");
    let built = world.build(&output, more);
    assert!(built.status.success(), "{}", said(&built));
    let text = fs::read(output.join("steppe-0.1.0-test-x86_64.cdx.json")).unwrap();
    let bill: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let names = bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
    names.filter(|name| ["isolinux", "syslinux", "systemd-boot-efi"].contains(&name.as_str())).collect()
}

#[test]
fn an_image_has_the_version_that_its_recipe_says() {
    let world = World::new();
    let recipe = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, recipe.replace("[root]", "version = \"1.3.0\"\n[root]")).unwrap();
    let output = world.path("out");
    let built = world.build(&output, &["--format", "netboot"]);
    assert!(built.status.success(), "{}", said(&built));
    let manifest = Manifest::read(&output.join("steppe-1.3.0-test-x86_64.manifest.json")).unwrap();
    assert_eq!((manifest.image_version(), manifest.version.as_str()), ("1.3.0", "0.1.0"));
    let bill = fs::read_to_string(manifest.path(Kind::CycloneDx).unwrap()).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(bill["metadata"]["component"]["version"], "1.3.0");
}

#[test]
fn a_bill_of_materials_has_what_boots_the_image_and_no_more() {
    let world = World::new();
    let none: [&str; 0] = [];
    assert_eq!(boots(&world, &["--format", "netboot"]), none);
    assert_eq!(boots(&world, &["--format", "update"]), ["systemd-boot-efi"]);
    assert_eq!(boots(&world, &["--format", "raw,netboot"]), ["syslinux", "systemd-boot-efi"]);
    assert_eq!(boots(&world, &["--format", "iso"]), ["isolinux", "syslinux", "systemd-boot-efi"]);
    let recipe = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, format!("{recipe}bios = false\n")).unwrap();
    assert_eq!(boots(&world, &["--format", "qcow2,iso"]), ["systemd-boot-efi"]);
}
