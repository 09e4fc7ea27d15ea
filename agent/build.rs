//! What the linker is told about the agent in an image: every node keeps this file in memory. None of it changes what the program does.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Programs for the machine that builds, and those that are debugged, are linked as ever.
    if !(is("CARGO_CFG_TARGET_ENV", "musl") && is("PROFILE", "release")) {
        return;
    }
    let script = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("release.ld");
    let arguments = [
        // Tables for unwinding (see the script), and their index.
        format!("--script={}", script.display()),
        "--no-eh-frame-hdr".to_owned(),
        // One copy of functions whose machine code is the same. Nothing here compares addresses of functions.
        "--icf=all".to_owned(),
        // Relocations of a position-independent program as bits rather than 24 bytes each; musl reads them since 1.2.4.
        "-zpack-relative-relocs".to_owned(),
    ];
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
