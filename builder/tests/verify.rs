//! `builder verify`: an image is what its recipe and lock file make, or the first difference is named.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use builder::manifest::Manifest;
use common::{World, said};
use serde_json::{Value, json};

/// Exit code and words of a verification.
fn verify(world: &World, image: &Path, lock: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").arg("verify").arg(image);
    command.arg("--lock").arg(lock).arg("--recipe").arg(&world.recipe).arg("--cache").arg(world.cache());
    command.arg("--agent").arg(&world.agent).arg("--nomad").arg(&world.nomad);
    let output = command.output().unwrap();
    (output.status.code(), said(&output))
}

#[test]
fn an_image_is_verified_or_the_first_difference_named() {
    let world = World::new();
    let output = world.path("out");
    let built = world.build(&output, &["--format", "raw,qcow2,netboot,update"]);
    assert!(built.status.success(), "{}", said(&built));
    let base = output.join("steppe-0.1.0-test-x86_64.manifest.json");
    let file = |suffix: &str| output.join(format!("steppe-0.1.0-test-x86_64.{suffix}"));
    // The signature is nothing that a recipe makes.
    world.sign(&file("update"));
    // As somebody else would do it: the lock file that came with the image, another name, nothing in the cache but packages.
    let lock = file("lock");
    fs::remove_file(world.recipe.with_extension("lock")).unwrap();
    fs::remove_dir_all(world.cache().join("steps")).unwrap();
    let (code, text) = verify(&world, &base, &lock);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.matches(": verified, sha256 ").count() >= 10 && !text.contains("DIFFERS"), "{text}");
    assert!(text.contains(".update: verified but for its signature, sha256 "), "{text}");
    assert_eq!(fs::read_dir(world.cache().join("steps")).unwrap().count(), 0, "made anew, and elsewhere");
    let other = world.path("what I downloaded.qcow2");
    fs::copy(file("qcow2"), &other).unwrap();
    let (code, text) = verify(&world, &other, &lock);
    assert_eq!(code, Some(0), "{text}");

    let mut bytes = fs::read(file("raw")).unwrap();
    let at = bytes.windows(10).position(|part| part == b"loglevel=6").unwrap();
    bytes[at + 9] = b'7';
    let other = world.path("changed.raw");
    fs::write(&other, bytes).unwrap();
    let (code, text) = verify(&world, &other, &lock);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("DIFFERS") && text.contains("differs is boot") && text.contains("loglevel=7"), "{text}");

    let (code, text) = verify(&world, &world.recipe, &lock);
    assert!(code == Some(1) && text.contains("makes no file like test.toml"), "{text}");
    let (code, text) = verify(&world, &world.path("nowhere.raw"), &lock);
    assert!(code == Some(1) && text.contains("nowhere.raw"), "{text}");
}

/// The manifest of a build, and a file of it.
fn built(world: &World, name: &str, more: &[&str]) -> PathBuf {
    let output = world.path(name);
    let built = world.build(&output, more);
    assert!(built.status.success(), "{}", said(&built));
    output.join("steppe-0.1.0-test-x86_64.manifest.json")
}

#[test]
fn every_format_is_verified_alone_and_with_all_others() {
    let world = World::new();
    let lock = world.recipe.with_extension("lock");
    let formats = ["raw", "qcow2", "qcow2-zstd", "vmdk", "vhd", "ova", "gce", "iso", "netboot", "update"];
    let alone = formats.map(|format| vec!["--format", format]);
    let compressed = ["zstd", "gzip", "xz"].map(|with| vec!["--format", "raw,netboot", "--compress", with]);
    for more in alone.into_iter().chain(compressed).chain([common::ALL.to_vec()]) {
        let manifest = built(&world, &more.concat(), &more);
        let (code, text) = verify(&world, &manifest, &lock);
        assert!(code == Some(0) && !text.contains("DIFFERS"), "{more:?}: {text}");
        let verified = text.matches(": verified, sha256 ").count();
        assert_eq!(verified, Manifest::read(&manifest).unwrap().artefacts.len() + 1, "{more:?}: {text}");
    }
}

/// As they were downloaded: one file alone, under another name.
#[test]
fn every_file_is_verified_alone() {
    let world = World::new();
    let lock = world.recipe.with_extension("lock");
    let manifest = built(&world, "out", &common::ALL);
    for suffix in [
        "qcow2",
        "zstd.qcow2",
        "raw.gz",
        "ipxe",
        "netboot.initrd",
        "netboot.cmdline",
        "initrd",
        "cmdline",
        "efi",
        "update",
        "vmlinuz",
        "lock",
    ] {
        let file = world.path(&format!("my iso, raw.{suffix}"));
        fs::copy(manifest.with_file_name(format!("steppe-0.1.0-test-x86_64.{suffix}")), &file).unwrap();
        let (code, text) = verify(&world, &file, &lock);
        assert!(code == Some(0) && text.matches(": verified, sha256 ").count() == 1, "{suffix}: {text}");
    }
    // What it says depends on the other files of its build.
    let bill = manifest.with_file_name("steppe-0.1.0-test-x86_64.spdx.json");
    let (code, text) = verify(&world, &bill, &lock);
    assert!(code == Some(0) && text.matches(": verified, sha256 ").count() == 1, "{text}");
    let alone = world.path("my.spdx.json");
    fs::copy(&bill, &alone).unwrap();
    let (code, text) = verify(&world, &alone, &lock);
    assert!(code == Some(1) && text.contains("put the manifest beside it"), "{text}");
}

#[test]
fn a_manifest_is_held_against_what_is_made_too() {
    let world = World::new();
    let lock = world.recipe.with_extension("lock");
    let path = built(&world, "out", &["--format", "netboot"]);
    let text = fs::read_to_string(&path).unwrap();
    let raw = world.path("outside.ipxe");
    fs::copy(path.with_file_name("steppe-0.1.0-test-x86_64.ipxe"), &raw).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        fs::write(&path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        let (code, said) = verify(&world, &path, &lock);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let said = with(&|manifest| manifest["artefacts"] = json!([]));
    assert!(said.contains("names no file"), "{said}");
    let said = with(&|manifest| {
        let list = manifest["artefacts"].as_array_mut().unwrap();
        let mut again = list[0].clone();
        again["file"] = json!("hostile.vmlinuz");
        list.push(again);
    });
    assert!(said.contains("hostile.vmlinuz") && said.contains("no build leaves two"), "{said}");
    for name in [raw.to_str().unwrap(), "../outside.ipxe", "..", ""] {
        let said = with(&|manifest| {
            let list = manifest["artefacts"].as_array_mut().unwrap();
            let script = list.iter_mut().find(|artefact| artefact["kind"] == "ipxe").unwrap();
            script["file"] = json!(name);
        });
        assert!(said.contains(&format!("{name:?}, which is no file beside it")), "{said}");
    }
    // Every file is true; what the manifest says about them is not.
    for (place, words) in [
        ("/packages/0/version", "/packages/0/version: \"2.0\" -> \"1.0\""),
        ("/cmdline", "/cmdline: \"2.0\" -> \"roothash="),
        ("/files/3/mode", "/files/3/mode: \"2.0\" -> \"0"),
    ] {
        let said = with(&|manifest| *manifest.pointer_mut(place).unwrap() = json!("2.0"));
        assert!(said.contains("manifest.json: DIFFERS") && said.contains(words), "{said}");
        assert!(said.matches("DIFFERS").count() == 1 && said.contains("differs is manifest"), "{said}");
    }
    fs::write(&path, text.replace("  ", " ")).unwrap();
    let (code, said) = verify(&world, &path, &lock);
    assert!(code == Some(1) && said.contains("the same in other letters"), "{said}");
}
