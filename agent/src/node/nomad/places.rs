//! The directories in which a Nomad keeps who it is and what it works on.

use std::path::{Path, PathBuf};

/// Their names below `data_dir`.
pub const NAMES: [&str; 4] = ["server", "client", "alloc", "alloc_mounts"];

/// Where a configuration puts them in place of `data_dir`, in the order of [`NAMES`]: `server.data_dir`, `client.state_dir`,
/// `client.alloc_dir`, `client.alloc_mounts_dir`.
pub type Elsewhere = [Option<String>; 4];

/// The directories of one Nomad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `data_dir`.
    pub data_dir: PathBuf,
    /// In the order of [`NAMES`].
    pub dirs: [PathBuf; 4],
}

impl Places {
    /// Those of a configuration, below a root.
    #[must_use]
    pub fn new(root: &Path, data_dir: &str, elsewhere: &Elsewhere) -> Self {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let data_dir = below(data_dir);
        let mut names = NAMES.iter().zip(elsewhere);
        let dirs = std::array::from_fn(|_| match names.next() {
            Some((_, Some(path))) => below(path.trim_end_matches('/')),
            Some((name, None)) => data_dir.join(name),
            None => data_dir.clone(),
        });
        Self { data_dir, dirs }
    }

    /// The server's own.
    #[must_use]
    pub fn server(&self) -> &Path {
        &self.dirs[0]
    }

    /// The client's own, not that of its work.
    #[must_use]
    pub fn client(&self) -> &Path {
        &self.dirs[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_data_directory_unless_the_configuration_says_otherwise() {
        let mut elsewhere = Elsewhere::default();
        elsewhere[1] = Some("/srv/state/".into());
        let places = Places::new(Path::new("/r"), "/var/lib/nomad", &elsewhere);
        assert_eq!(
            (places.server(), places.client()),
            (Path::new("/r/var/lib/nomad/server"), Path::new("/r/srv/state"))
        );
        assert_eq!(places.dirs[3], Path::new("/r/var/lib/nomad/alloc_mounts"));
    }
}
