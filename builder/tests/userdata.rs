//! The commands for user-data, as a person runs them.

use std::{fs, path::Path};

use assert_cmd::Command;

fn builder() -> Command {
    Command::new(env!("CARGO_BIN_EXE_builder"))
}

fn shape(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/shapes").join(name)
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/examples").join(name)
}

#[test]
fn check_says_what_is_wrong_by_its_exit_code_and_by_line() {
    builder().arg("check").args(["--role", "server"]).arg(example("cloud-init-server.yaml")).assert().code(0);
    let wrong =
        builder().arg("check").args(["--role", "client"]).arg(example("cloud-init-server.yaml")).assert().code(1);
    let text = String::from_utf8(wrong.get_output().stdout.clone()).unwrap();
    assert!(text.contains("server.hcl:1:1") && text.contains("1 refused"), "{text}");
    builder().args(["check", "/nonexistent"]).assert().code(2);
    builder().args(["check", "--platform", "nocluod"]).arg(example("cloud-init-server.yaml")).assert().code(2);
}

#[test]
fn check_is_json_for_programs() {
    let output = builder().args(["check", "--json"]).arg(shape("e-installer.yaml")).assert().code(1);
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let refused: Vec<_> = json["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "refused").collect();
    assert_eq!((refused.len(), &refused[0]["key"], &refused[0]["line"]), (1, &"runcmd[0]".into(), &8.into()));
}

#[test]
fn a_script_becomes_user_data_that_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("user-data");
    // The redirection of the script's own output is not carried over, and said.
    let converted = builder().arg("convert").arg(shape("f-script.sh")).arg("-o").arg(&out).assert().code(1);
    let said = String::from_utf8(converted.get_output().stderr.clone()).unwrap();
    assert!(said.contains("f-script.sh:3: not carried over"), "{said}");
    builder().arg("check").args(["--role", "server"]).arg(&out).assert().code(0);
}

#[test]
fn a_seed_is_the_same_twice_and_the_check_reads_what_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let seed = |name: &str| {
        let out = dir.path().join(name);
        builder().arg("seed").arg("--user-data").arg(example("cloud-init-server.yaml")).arg(&out).assert().code(0);
        fs::read(out).unwrap()
    };
    assert_eq!(seed("a.iso"), seed("b.iso"));
    builder().args(["seed", "--user-data", "/nonexistent"]).arg(dir.path().join("c.iso")).assert().code(2);
    assert!(!dir.path().join("c.iso").exists());
}

#[test]
fn explain_prints_the_plan() {
    let output =
        builder().args(["explain", "--role", "server", "--user-data"]).arg(example("cloud-init-server.yaml")).assert();
    let text = String::from_utf8(output.code(0).get_output().stdout.clone()).unwrap();
    assert!(text.contains("starts Nomad as server") && text.contains("writes /etc/nomad.d/server.hcl"), "{text}");
}
