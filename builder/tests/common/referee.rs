//! Other people's programs that judge what the builder writes. One that is not installed is passed over, unless
//! `STEPPE_REFEREES=all` says that it must be there, which it does where the project is tested.

#![allow(dead_code, reason = "each test uses its part")]

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs a referee; nothing when it is not installed.
pub(crate) fn referee(program: &str, arguments: &[&str]) -> Option<Output> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(arguments).env("PATH", path).env("LC_ALL", "C").output() {
        Ok(output) => Some(output),
        Err(error) => {
            let must = std::env::var("STEPPE_REFEREES").is_ok_and(|value| value == "all");
            assert!(!must, "referee {program} cannot be run: {error}");
            None
        }
    }
}

/// What a referee says that must be content.
pub(crate) fn approves(program: &str, arguments: &[&str]) -> Option<String> {
    let output = referee(program, arguments)?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    Some(text)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
