//! What is looked at: a file of user-data, or a folder with the files of a NoCloud seed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::node::{netconfig::NetworkConfig, seed::Seed, userdata::yaml};
use anyhow::{Context as _, Result, bail};

/// The files of a NoCloud seed.
const FILES: [&str; 4] = ["user-data", "meta-data", "vendor-data", "network-config"];

/// Files that belong together.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// What a person named.
    pub path: PathBuf,
    /// Where the user-data is.
    pub user_data: PathBuf,
    /// Where the network configuration is.
    pub network_config: Option<PathBuf>,
    /// What a datasource would make of them.
    pub seed: Seed,
}

impl Input {
    /// Reads a file of user-data, or a folder.
    ///
    /// # Errors
    /// When it cannot be read, or a folder has none of the files.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let mut input = Self { path: path.to_owned(), user_data: path.to_owned(), ..Self::default() };
            input.seed.user_data = read(path)?;
            return Ok(input);
        }
        let file = |name: &str| {
            [name.to_owned(), format!("{name}.yaml"), format!("{name}.yml")]
                .map(|name| path.join(name))
                .into_iter()
                .find(|p| p.is_file())
        };
        let [user_data, meta_data, vendor_data, network_config] = FILES.map(file);
        if user_data.is_none() && meta_data.is_none() && network_config.is_none() {
            bail!(
                "{} has no user-data, meta-data or network-config: name a file, or a folder with these",
                path.display()
            );
        }
        let mut input = Self { path: path.to_owned(), ..Self::default() };
        input.user_data = user_data.clone().unwrap_or_else(|| path.join("user-data"));
        if let Some(file) = user_data {
            input.seed.user_data = read(&file)?;
        }
        if let Some(file) = vendor_data {
            input.seed.vendor_data.push(read(&file)?);
        }
        if let Some(file) = &meta_data {
            input.add_meta_data(file)?;
        }
        if let Some(file) = network_config {
            input.add_network_config(&file)?;
        }
        Ok(input)
    }

    /// Adds `meta-data`.
    ///
    /// # Errors
    /// When it cannot be read, or is not YAML.
    pub fn add_meta_data(&mut self, file: &Path) -> Result<()> {
        let text = String::from_utf8(read(file)?).with_context(|| format!("{} is not UTF-8 text", file.display()))?;
        let document =
            yaml::load(&text).map_err(|error| anyhow::anyhow!("{}:{}: {error}", file.display(), error.at))?;
        let value = |key: &str| document.root.as_ref()?.get(key)?.text().map(str::to_owned);
        self.seed.metadata.instance_id = value("instance-id");
        self.seed.metadata.local_hostname = value("local-hostname").or_else(|| value("hostname"));
        Ok(())
    }

    /// Adds `network-config`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_network_config(&mut self, file: &Path) -> Result<()> {
        let text = String::from_utf8(read(file)?).with_context(|| format!("{} is not UTF-8 text", file.display()))?;
        self.seed.network = if file.file_name().is_some_and(|name| name == "network_data.json") {
            Some(NetworkConfig::OpenStack(text))
        } else {
            (!text.trim().is_empty()).then_some(NetworkConfig::Text(text))
        };
        self.network_config = Some(file.to_owned());
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Input::read(dir.path()).unwrap_err().to_string().contains("has no user-data"));
        fs::write(dir.path().join("user-data.yaml"), "#cloud-config\n").unwrap();
        fs::write(dir.path().join("meta-data"), "instance-id: i-1\nlocal-hostname: a\n").unwrap();
        fs::write(dir.path().join("network-config"), "version: 2\n").unwrap();
        let folder = Input::read(dir.path()).unwrap();
        assert_eq!(folder.seed.metadata.local_hostname.as_deref(), Some("a"));
        assert!(folder.seed.network.is_some() && folder.user_data.ends_with("user-data.yaml"));
        let file = Input::read(&dir.path().join("user-data.yaml")).unwrap();
        assert!(file.seed.network.is_none() && file.seed.user_data == b"#cloud-config\n");
        fs::write(dir.path().join("meta-data"), "a: [\n").unwrap();
        assert!(Input::read(dir.path()).unwrap_err().to_string().contains("meta-data:"));
    }
}
