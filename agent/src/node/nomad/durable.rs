//! Getting Nomad's identity over a power cut.
//!
//! Nomad writes the few bytes that say who it is (`server/node-id`, `client/client-id`, `client/secret-id`) without
//! flushing them. A power cut within the next half minute leaves them empty, and Nomad then refuses to start for ever:
//! `setting up server node ID failed: uuid string is wrong length`. So the agent flushes the state partition when Nomad
//! answers for the first time and before it says `READY`, and takes away files that hold nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::syncfs;

use super::places::Places;

/// Flushes the file system that `path` is on; a path that is not there has nothing to flush.
///
/// # Errors
/// When the disk does not take it.
pub fn flush(path: &Path) -> io::Result<()> {
    match fs::File::open(path) {
        Ok(directory) => Ok(syncfs(&directory)?),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// Removes identity files without content, so that Nomad makes new ones: what was never written can not be lost.
/// Returns what was removed.
///
/// # Errors
/// When a file cannot be read or removed.
pub fn discard_torn(places: &Places) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let (server, client) = (places.server(), places.client());
    for path in [server.join("node-id"), client.join("client-id"), client.join("secret-id")] {
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(why),
        };
        if content.iter().all(|byte| *byte == 0) {
            fs::remove_file(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_without_content_go() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["server", "client"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let write = |file: &str, content: &[u8]| fs::write(dir.path().join(file), content).unwrap();
        write("server/node-id", b"");
        write("client/client-id", b"7379dde4-a4da-6552-4b20-a1d99df93485");
        write("client/secret-id", &[0; 36]);
        let places = Places::new(dir.path(), "", &Default::default());
        let removed = discard_torn(&places).unwrap();
        assert_eq!(removed, ["server/node-id", "client/secret-id"].map(|file| dir.path().join(file)));
        assert!(dir.path().join("client/client-id").exists() && !removed[0].exists() && !removed[1].exists());
        assert!(discard_torn(&places).unwrap().is_empty());
    }

    #[test]
    fn a_state_that_is_not_there_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        flush(dir.path()).unwrap();
        flush(&dir.path().join("none")).unwrap();
    }
}
