//! `builder inspect`: an image says by itself what is in it, and what is wrong with it.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use builder::manifest::{Kind, Manifest};
use common::{World, said};
use serde_json::Value;

fn inspect(image: &Path, more: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("builder")).arg("inspect").arg(image).args(more).output().unwrap()
}

fn built(world: &World) -> (PathBuf, Manifest) {
    let output = world.path("out");
    let built = world.build(&output, &["--format", "raw,qcow2"]);
    assert!(built.status.success(), "{}", said(&built));
    let manifest = output.join("steppe-0.1.0-test-x86_64.manifest.json");
    (manifest.clone(), Manifest::read(&manifest).unwrap())
}

#[test]
fn every_format_says_the_same() {
    let world = World::new();
    let (path, manifest) = built(&world);
    let mut seen = Vec::new();
    for image in [manifest.path(Kind::Raw).unwrap(), manifest.path(Kind::Qcow2).unwrap(), path] {
        let output = inspect(&image, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["differences"], Value::Array(Vec::new()));
        assert_eq!(value["image"]["facts"]["kernel"], common::KERNEL);
        assert_eq!(value["image"]["files"].as_array().unwrap().len(), manifest.files.len());
        assert_eq!(value["image"]["initramfs"].as_array().unwrap().len(), manifest.initramfs.len());
        for key in ["path", "format", "file_size"] {
            value["image"].as_object_mut().unwrap().remove(key).unwrap();
        }
        seen.push(value);
    }
    assert!(seen[0] == seen[1] && seen[0] == seen[2]);
    let svg = world.path("map.svg");
    let output = inspect(&manifest.path(Kind::Qcow2).unwrap(), &["--svg", svg.to_str().unwrap()]);
    let text = said(&output);
    assert!(text.contains("steppe-esp") && text.contains("says the same") && text.contains("▕█"), "{text}");
    let svg = fs::read_to_string(svg).unwrap();
    assert!(roughly_xml(&svg) && svg.contains("1 steppe-esp"), "{svg}");
}

/// Every tag that is opened is closed.
fn roughly_xml(text: &str) -> bool {
    let opened = text.matches('<').count() - text.matches("</").count();
    opened == text.matches("</").count() + text.matches("/>").count()
}

#[test]
fn a_changed_image_is_found_out() {
    let world = World::new();
    let (_, manifest) = built(&world);
    let raw = manifest.path(Kind::Raw).unwrap();
    let whole = fs::read(&raw).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).position(|part| part == text).unwrap();

    // The command line in the unified kernel image.
    let mut other = whole.clone();
    let at = find(b"loglevel=6");
    other[at..at + 10].copy_from_slice(b"loglevel=7");
    fs::write(&raw, &other).unwrap();
    let output = inspect(&raw, &[]);
    let text = said(&output);
    assert!(
        output.status.code() == Some(1) && text.contains("command line of") && text.contains("loglevel=7"),
        "{text}"
    );
    assert!(text.contains("not on the boot partition"), "{text}");

    // A byte of the root file system.
    let mut other = whole.clone();
    let at = find(b"hsqs") + 4096;
    other[at] ^= 1;
    fs::write(&raw, &other).unwrap();
    let output = inspect(&raw, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn what_is_no_image_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, words) in [
        (&b"\x1f\x8b whatever"[..], "unpack it first"),
        (b"KDMV whatever", "qemu-img convert"),
        (b"text", "no partition table"),
        (b"", "no partition table"),
    ] {
        let file = folder.path().join("image");
        fs::write(&file, bytes).unwrap();
        let output = inspect(&file, &[]);
        let text = said(&output);
        assert!(output.status.code() == Some(2) && text.contains(words), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
}
