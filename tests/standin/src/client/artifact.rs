//! Fetching artifacts by HTTP.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::job::spec::Artifact;

/// A server that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fetches one artifact into the task's directory. Blocks.
///
/// # Errors
/// Why it is not there.
pub(super) fn fetch(artifact: &Artifact, dir: &Path) -> Result<(), String> {
    let url = &artifact.source;
    if !url.starts_with("http://") {
        return Err(format!("artifact {url:?}: only http:// is supported by the stand-in"));
    }
    for key in artifact.options.keys() {
        if !matches!(key.as_str(), "checksum" | "archive") {
            return Err(format!("artifact {url:?}: option {key:?} is not supported by the stand-in"));
        }
    }
    let target = inside(dir, &artifact.destination)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_recv_response(Some(PATIENCE))
        .timeout_connect(Some(PATIENCE))
        .build()
        .into();
    let fail = |reason: &dyn std::fmt::Display| format!("failed to download artifact {url:?}: {reason}");
    let mut response = agent.get(url).call().map_err(|error| match error {
        ureq::Error::StatusCode(code) => fail(&format!("bad response code: {code}")),
        other => fail(&other),
    })?;
    let name = url
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty() && *name != "..")
        .unwrap_or("artifact");
    let scratch = dir.join(format!(".artifact-{name}"));
    let digest = save(response.body_mut().as_reader(), &scratch).map_err(|error| fail(&error))?;
    if let Some(wanted) = artifact.options.get("checksum") {
        let Some(wanted) = wanted.strip_prefix("sha256:") else {
            return Err(format!("artifact {url:?}: checksum {wanted:?} is not supported by the stand-in"));
        };
        if !wanted.eq_ignore_ascii_case(&digest) {
            return Err(fail(&format!("Checksums did not match for {name}. Expected: {wanted} Got: {digest}")));
        }
    }
    let archive = artifact.options.get("archive").is_none_or(|archive| archive != "false") && artifact.mode != "file";
    let place = || -> io::Result<()> {
        if archive && (name.ends_with(".tar.gz") || name.ends_with(".tgz")) {
            fs::create_dir_all(&target)?;
            tar::Archive::new(GzDecoder::new(File::open(&scratch)?)).unpack(&target)?;
            fs::remove_file(&scratch)
        } else if archive && name.ends_with(".tar") {
            fs::create_dir_all(&target)?;
            tar::Archive::new(File::open(&scratch)?).unpack(&target)?;
            fs::remove_file(&scratch)
        } else {
            let file = if artifact.mode == "file" { target.clone() } else { target.join(name) };
            fs::create_dir_all(file.parent().unwrap_or(dir))?;
            fs::set_permissions(&scratch, fs::Permissions::from_mode(0o644))?;
            fs::rename(&scratch, file)
        }
    };
    if archive && [".zip", ".xz", ".bz2", ".zst"].iter().any(|end| name.ends_with(end)) {
        return Err(format!("artifact {url:?}: this kind of archive is not supported by the stand-in"));
    }
    place().map_err(|error| fail(&error))
}

fn save(mut from: impl Read, path: &Path) -> io::Result<String> {
    let mut file = File::create(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 65536];
    loop {
        let size = from.read(&mut buffer)?;
        if size == 0 {
            break;
        }
        digest.update(&buffer[..size]);
        file.write_all(&buffer[..size])?;
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A path below the task's directory; nothing may lead out of it.
fn inside(dir: &Path, relative: &str) -> Result<PathBuf, String> {
    let mut out = dir.to_owned();
    for part in Path::new(relative).components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(format!("artifact destination path escapes the alloc directory: {relative:?}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::inside;
    use std::path::Path;

    #[test]
    fn a_destination_stays_inside() {
        assert_eq!(inside(Path::new("/a"), "local/x").unwrap(), Path::new("/a/local/x"));
        assert!(inside(Path::new("/a"), "local/../../etc").is_err());
    }
}
