//! `builder diff`: the first layer that differs is the one that was changed, with the reason.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use builder::{cache::Cache, content::Digest, lock::Lock};
use common::{
    World,
    fixture::{self, Member},
    said,
};

fn build(world: &World, name: &str) -> PathBuf {
    let output = world.path(name);
    let built = world.build(&output, &["--format", "raw,qcow2"]);
    assert!(built.status.success(), "{}", said(&built));
    output.join("steppe-0.1.0-test-x86_64.raw")
}

/// What is said of two files, after the exit code was held against it.
fn diff(a: &Path, b: &Path) -> String {
    let output =
        Command::new(assert_cmd::cargo::cargo_bin!("builder")).arg("diff").args([a, b]).env_clear().output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(i32::from(!text.contains("hold the same"))), "{text}");
    text
}

#[test]
fn the_first_layer_is_the_one_that_was_changed() {
    let world = World::new();
    let first = build(&world, "first");
    let starts = |text: &str, layer: &str| text.starts_with(&format!("the first layer that differs is {layer}\n"));
    assert!(diff(&first, &first.with_extension("qcow2")).contains("hold the same"));

    let recipe = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, format!("{recipe}[kernel]\ncmdline = [\"quiet\"]\n")).unwrap();
    let text = diff(&first, &build(&world, "cmdline"));
    assert!(starts(&text, "boot") && text.contains("quiet"), "{text}");
    fs::write(&world.recipe, &recipe).unwrap();

    let agent = fs::read(&world.agent).unwrap();
    fs::write(&world.agent, [&agent[..], b"more"].concat()).unwrap();
    let text = diff(&first, &build(&world, "other agent"));
    assert!(starts(&text, "agent") && text.contains("/init: ") && text.contains("(the agent changed)"), "{text}");
    fs::write(&world.agent, &agent).unwrap();

    let file = world.recipe.with_extension("lock");
    let mut lock = Lock::parse("lock", &fs::read_to_string(&file).unwrap()).unwrap();
    let place = "usr/lib/x86_64-linux-gnu/libcom_err.so.2";
    let library = [&fixture::elf(None, &["libc.so.6"])[..], b"more"].concat();
    let deb = fixture::package("libcom-err2", "2.0", ".xz", common::EPOCH - 5, &[Member::File(place, 0o644, &library)]);
    let package = lock.packages.iter_mut().find(|package| package.name == "libcom-err2").unwrap();
    (package.version, package.sha256, package.size) = ("2.0".to_owned(), Digest::of(&deb), deb.len() as u64);
    fs::write(Cache::open(&world.cache(), || ()).unwrap().package(package.sha256), &deb).unwrap();
    fs::write(&file, lock.text()).unwrap();
    let text = diff(&first, &build(&world, "package"));
    assert!(starts(&text, "packages") && text.contains("libcom-err2 1.0 -> 2.0"), "{text}");
    let line = text.lines().find(|line| line.contains("libcom_err.so.2: ")).unwrap();
    assert!(line.contains("(libcom-err2 1.0 -> 2.0"), "{text}");
}

#[test]
fn files_of_every_kind() {
    let world = World::new();
    let first = build(&world, "first");
    // Where nothing lies: between the partition table and the first partition.
    let other = world.path("other.raw");
    let mut bytes = fs::read(&first).unwrap();
    bytes[600_000] ^= 1;
    fs::write(&other, &bytes).unwrap();
    let text = diff(&first, &other);
    assert!(text.starts_with("the first layer that differs is bytes\n") && text.contains("at 600000 "), "{text}");

    let (a, b) = (world.path("a"), world.path("b"));
    fs::write(&a, "some text").unwrap();
    fs::write(&b, "some more text").unwrap();
    assert!(diff(&a, &b).contains("first other byte is at 5 "));
    assert!(diff(&a, &a).contains("hold the same"));
    let uki = first.with_extension("efi");
    let mut bytes = fs::read(&uki).unwrap();
    let at = bytes.windows(5).position(|part| part == b"tty0 ").unwrap();
    bytes[at..at + 5].copy_from_slice(b"tty1 ");
    fs::write(&b, &bytes).unwrap();
    assert!(diff(&uki, &b).starts_with("the first layer that differs is boot\n"));

    let missing = Command::new(assert_cmd::cargo::cargo_bin!("builder")).args(["diff", "/nowhere/a"]).arg(&a).output();
    let missing = missing.unwrap();
    assert!(missing.status.code() == Some(2) && said(&missing).contains("/nowhere/a"), "{}", said(&missing));
}

/// Every module of another kernel is in another folder, and none of them is new for that.
#[test]
fn modules_of_another_kernel_are_compared_with_their_reason() {
    let world = World::new();
    let first = build(&world, "first");
    let manifest = first.with_extension("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut other: serde_json::Value =
        serde_json::from_str(&text.replace(common::KERNEL, "6.1.1-cloud-amd64")).unwrap();
    let files = other["files"].as_array_mut().unwrap();
    let file = files.iter_mut().find(|file| file["path"].as_str().unwrap().ends_with(".ko")).unwrap();
    file["size"] = 1.into();
    let module = file["path"].as_str().unwrap().replace("6.1.1-cloud-amd64", common::KERNEL);
    // Away from their images, so that the manifests are all there is.
    let [one, other] = [("one", text), ("other", other.to_string())].map(|(folder, text)| {
        fs::create_dir(world.path(folder)).unwrap();
        let path = world.path(folder).join(manifest.file_name().unwrap());
        fs::write(&path, text).unwrap();
        path
    });
    let text = diff(&one, &other);
    let named: Vec<&str> = text.lines().filter(|line| line.contains(".ko")).collect();
    assert_eq!(named.len(), 1, "{text}");
    let wanted = format!("(kernel {} -> 6.1.1-cloud-amd64)", common::KERNEL);
    assert!(named[0].contains(&module) && named[0].ends_with(&wanted), "{text}");
}
