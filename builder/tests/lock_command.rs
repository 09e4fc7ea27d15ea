//! `builder lock`, and builds by a lock file of another name, without an archive: what they refuse, and what they leave.

mod common;

use std::fs;

use assert_cmd::Command;
use builder::lock::{Lock, Locked};
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

#[test]
fn a_lock_file_that_recipes_share_keeps_what_the_others_want() {
    let world = World::new();
    let shared = world.path("shared.lock");
    let mut lock = Lock::parse("l", &fs::read_to_string(world.recipe.with_extension("lock")).unwrap()).unwrap();
    let curl = Locked { name: "curl".into(), ..lock.package("libc6").unwrap().clone() };
    lock.packages.push(curl);
    lock.packages.sort();
    fs::write(&shared, lock.text()).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").args(["build", "--recipe"]);
    command.arg(&world.recipe).arg("--cache").arg(world.cache()).arg("--agent").arg(&world.agent);
    command.arg("--nomad").arg(&world.nomad).arg("--lock").arg(&shared).arg("--output").arg(world.path("out"));
    let built = command.output().unwrap();
    assert!(built.status.success() && !said(&built).contains("has changed"), "{}", said(&built));
    assert_eq!(fs::read_to_string(&shared).unwrap(), lock.text());
}

/// The builder with nothing but an archive that does not answer.
fn alone(world: &World, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").current_dir(world.folder.path());
    command.args(arguments).arg("--cache").arg(world.cache()).args(["--mirror", "http://127.0.0.1:1/debian"]);
    command.output().unwrap()
}

#[test]
fn whether_security_updates_are_asked_for_is_said() {
    let world = World::new();
    let recipe = world.recipe.to_str().unwrap().to_owned();
    // Folders that are not there: nothing is tried again, as it is with a network.
    let asked = |more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
        command
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("PATH", "/usr/bin:/bin")
            .args(["lock", "--check", "--recipe"]);
        command
            .arg(&recipe)
            .arg("--cache")
            .arg(world.cache())
            .args(["--mirror", "file:/nonexistent/debian"])
            .args(more);
        let text = said(&command.output().unwrap());
        let [both, warned] =
            ["/debian-security for trixie-security", "is asked alone"].map(|words| text.contains(words));
        (both, warned)
    };
    // A mirror that is named, and is neither this machine's nor Debian's.
    assert_eq!(asked(&[]), (false, true));
    assert_eq!(asked(&["--security-mirror", "file:/nonexistent/debian-security"]), (true, false));
    assert_eq!(asked(&["--security-mirror", "none"]), (false, false));
    let text = fs::read_to_string(&recipe).unwrap() + "[packages]\nsecurity = false\n";
    fs::write(&recipe, text).unwrap();
    assert_eq!(asked(&[]), (false, false));
    assert_eq!(asked(&["--security-mirror", "file:/nonexistent/debian-security"]), (false, false));
}

#[test]
fn the_built_in_locks_need_no_role() {
    let world = World::new();
    for more in [&["--check"][..], &[], &["--check", "--profile", "metal"]] {
        let output = alone(&world, &[&["lock"], more].concat());
        let text = said(&output);
        assert!(output.status.code() == Some(1) && text.contains("failed to fetch the lists"), "{text}");
    }
    // What makes one image has to be told which.
    for command in [&["build"][..], &["verify", "x.raw"]] {
        let output = alone(&world, command);
        let text = said(&output);
        assert!(output.status.code() == Some(2) && text.contains("--role") && text.contains("--recipe"), "{text}");
    }
}

#[test]
fn an_empty_variable_is_none() {
    let world = World::new();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    for name in ["NOMAD", "STEPPE_STANDIN", "STEPPE_NOMAD_MIRROR"] {
        command.env(name, "");
    }
    command.args(["build", "--dry-run", "--recipe"]).arg(&world.recipe).arg("--cache").arg(world.cache());
    let output = command.arg("--agent").arg(&world.agent).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("2.0.5, to download"), "{}", said(&output));
}
