//! `builder seed`: a NoCloud volume, the same bytes for the same input.

use std::{fs::Permissions, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, bail};

use super::input::Input;
use crate::content::Digest;

/// The label by which NoCloud volumes are found.
const LABEL: &str = "cidata";

/// The volume of a seed. Without meta-data the instance id is made of the rest: other user-data, other instance.
///
/// # Errors
/// When a file cannot be read.
pub fn volume(user_data: &Path, meta_data: Option<&Path>, network_config: Option<&Path>) -> Result<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let user = read(user_data)?;
    let network = network_config.map(read).transpose()?;
    let meta = match meta_data {
        Some(path) => {
            // What the node could not read it should not get.
            Input::default().add_meta_data(path)?;
            read(path)?
        }
        None => {
            let mut all = user.clone();
            all.extend(network.iter().flatten());
            format!("instance-id: i-{}\n", &Digest::of(&all).hex()[..16]).into_bytes()
        }
    };
    let mut files = vec![("meta-data", meta.as_slice()), ("user-data", user.as_slice())];
    files.extend(network.as_deref().map(|network| ("network-config", network)));
    qemu::volume::iso9660(LABEL, &files).context("failed to make the volume")
}

/// Writes the volume.
///
/// # Errors
/// When it cannot be made or written; then nothing of it stays.
pub fn write(out: &Path, volume: &[u8]) -> Result<()> {
    if out.is_dir() {
        bail!("{} is a folder: name a file, like seed.iso", out.display());
    }
    let failed = || format!("failed to write {}", out.display());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder).with_context(failed)?;
    file.write_all(volume).with_context(failed)?;
    file.persist(out).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_same_input_gives_the_same_volume_and_another_another_id() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("u");
        fs::write(&user, "#cloud-config\n").unwrap();
        let first = volume(&user, None, None).unwrap();
        assert_eq!(first, volume(&user, None, None).unwrap());
        let text = String::from_utf8_lossy(&first).into_owned();
        let id = |text: &str| text[text.find("instance-id: ").unwrap()..].lines().next().unwrap().to_owned();
        fs::write(&user, "#cloud-config\nhostname: a\n").unwrap();
        assert_ne!(id(&text), id(&String::from_utf8_lossy(&volume(&user, None, None).unwrap())));
        assert!(&first[32_769..32_774] == b"CD001" && text.contains("cidata"));
    }

    #[test]
    fn meta_data_that_no_node_could_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (user, meta) = (dir.path().join("u"), dir.path().join("m"));
        fs::write(&user, "").unwrap();
        fs::write(&meta, "a: [\n").unwrap();
        assert!(volume(&user, Some(&meta), None).is_err());
    }
}
