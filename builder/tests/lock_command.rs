//! `builder lock`, and builds by a lock file of another name, without an archive: what they refuse, and what they leave.

mod common;

use std::fs;

use assert_cmd::Command;
use common::{World, said};

#[test]
fn an_archive_that_does_not_answer_changes_nothing() {
    let world = World::new();
    let file = world.recipe.with_extension("lock");
    let before = fs::read(&file).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").args(["lock", "--recipe"]);
    command.arg(&world.recipe).arg("--cache").arg(world.cache()).args(["--mirror", "http://127.0.0.1:1/debian"]);
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(
        output.status.code() == Some(1) && text.contains("failed to fetch the lists of http://127.0.0.1:1"),
        "{text}"
    );
    assert!(fs::read(&file).unwrap() == before);
    let names: Vec<_> = fs::read_dir(world.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".steppe")), "{names:?}");
}

#[test]
fn a_lock_file_may_be_named() {
    let world = World::new();
    let (beside, named) = (world.recipe.with_extension("lock"), world.path("other.lock"));
    fs::rename(&beside, &named).unwrap();
    // The built-in one has other packages, which are not in this cache.
    let lock = ["--lock", named.to_str().unwrap()];
    let built = world.build(&world.path("out"), &lock);
    assert!(built.status.success(), "{}", said(&built));
    assert!(!beside.exists());
    fs::remove_file(&named).unwrap();
    let refused = world.build(&world.path("out"), &lock);
    assert!(!refused.status.success() && said(&refused).contains("failed to read"), "{}", said(&refused));
}
