//! Reading the files and directories that `-config` names.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use super::settings::Settings;
use super::{decode, hcl1, schema};

/// Why a path gave no configuration.
#[derive(Debug, Error)]
#[error("Error loading configuration from {path}: {reason}")]
pub(crate) struct Failure {
    /// The path, as it was given.
    pub(crate) path: String,
    /// What is wrong with it, or with a file below it.
    pub(crate) reason: String,
}

/// The merged configuration, and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The merged configuration.
    pub(crate) settings: Settings,
    /// The files, in the order in which they were merged.
    pub(crate) files: Vec<String>,
    /// Directories without a file.
    pub(crate) empty: Vec<String>,
}

/// Reads and merges `paths`, then lays `flags` over them.
///
/// # Errors
/// The first path that cannot be read or understood.
pub(crate) fn load(paths: &[String], flags: Map<String, Value>) -> Result<Loaded, Failure> {
    let mut merged = Map::new();
    let mut files = Vec::new();
    let mut empty = Vec::new();
    for path in paths {
        let fail = |reason| Failure { path: path.clone(), reason };
        let found = expand(path).map_err(fail)?;
        if found.is_empty() {
            empty.push(path.clone());
        }
        for file in found {
            let values = read(&file).map_err(|reason| fail(format!("Error loading {file}: {reason}")))?;
            decode::merge(&mut merged, values, &schema::TOP);
            files.push(file);
        }
    }
    decode::merge(&mut merged, flags, &schema::TOP);
    let settings = serde_json::from_value(Value::Object(merged))
        .map_err(|error| Failure { path: paths.join(" "), reason: error.to_string() })?;
    Ok(Loaded { settings, files, empty })
}

/// The files behind a path: itself, or what a directory holds, not recursively and in byte order.
fn expand(path: &str) -> Result<Vec<String>, String> {
    let meta = fs::metadata(path).map_err(|error| format!("stat {path}: {}", words(&error)))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|error| format!("open {path}: {}", words(&error)))?;
    let mut files: Vec<String> = entries
        .flatten()
        .filter(|entry| fs::metadata(entry.path()).is_ok_and(|meta| !meta.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "hcl" || end == "json"))
        .map(|name| Path::new(path).join(name).to_string_lossy().into_owned())
        .collect();
    files.sort();
    Ok(files)
}

fn read(file: &str) -> Result<Map<String, Value>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("open {file}: {}", words(&error)))?;
    let items = hcl1::parse(&text).map_err(|error| format!("failed to decode HCL file {file}: {error}"))?;
    decode::block(&items, &schema::TOP, "", file)
}

/// An error of the system in the words that the contract shows.
pub(crate) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::NotADirectory => "not a directory".into(),
        std::io::ErrorKind::AddrInUse => "address already in use".into(),
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut chars = text.chars();
            chars.next().map(|first| first.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
        }
    }
}
