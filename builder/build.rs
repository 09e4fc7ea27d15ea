//! Asks cargo which crates are linked into the agent, for the bills of materials that go with an image.
//!
//! The lock file alone does not say it: it has what every platform, test and build script needs.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf, process::Command};

fn main() {
    for file in ["../Cargo.lock", "../Cargo.toml", "../agent/Cargo.toml"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let arguments =
        "tree --locked --offline -p agent --target x86_64-unknown-linux-musl -e normal,no-proc-macro --prefix none";
    let output = Command::new(cargo).args(arguments.split(' ')).args(["--format", "{p}|{l}"]).output();
    let output = output.expect("failed to run cargo tree");
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));

    let digests = digests(&fs::read_to_string("../Cargo.lock").expect("failed to read ../Cargo.lock"));
    let mut crates: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("cargo tree speaks UTF-8").lines() {
        // "name v1.2.3|MIT OR Apache-2.0", and with (*) behind the licence what was printed before.
        let Some((package, licence)) = line.split_once('|') else { continue };
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        let version = version.trim_start_matches('v');
        let Some(digest) = digests.get(&format!("{name} {version}")) else { continue };
        let licence = licence.trim_end_matches("(*)").trim().replace('/', " OR ");
        crates.insert(format!("{name} {version}"), format!("{digest} {licence}"));
    }
    let mut text = String::new();
    for (key, rest) in crates {
        writeln!(text, "{key} {rest}").expect("a String takes everything");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("agent-crates"), text).expect("failed to write the list of crates");
}

/// Digest of each crate that comes from a registry, by `name version`.
fn digests(lock: &str) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            line.map(|line| line.trim_end_matches('"'))
        };
        if let (Some(name), Some(version), Some(digest)) = (value("name"), value("version"), value("checksum")) {
            digests.insert(format!("{name} {version}"), digest.to_owned());
        }
    }
    digests
}
