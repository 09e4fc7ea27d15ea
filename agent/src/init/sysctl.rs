//! Kernel settings ([`crate::paths::SYSCTL`]): `key = value` lines as in `sysctl.conf(5)`; a leading `-` means that it may fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::warning;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// `net.ipv4.ip_forward`.
    pub key: &'a str,
    /// Text to write.
    pub value: &'a str,
    /// Whether the kernel may not know it.
    pub optional: bool,
}

/// The settings of a file; lines that are no setting are left out.
pub fn parse(text: &str) -> impl Iterator<Item = Setting<'_>> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])).filter_map(|line| {
        let (line, optional) = line.strip_prefix('-').map_or((line, false), |rest| (rest, true));
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        (!key.is_empty()).then_some(Setting { key, value, optional })
    })
}

/// The file of a setting below `sys` (`/proc/sys`): dots separate, and a slash stands for a dot in a name
/// (`net.ipv4.conf.eth0/1.rp_filter`). A key that would leave the directory has none.
#[must_use]
pub fn file(sys: &Path, key: &str) -> Option<PathBuf> {
    let mut path = sys.to_owned();
    for part in key.split('.') {
        if part.is_empty() || part.starts_with('/') {
            return None;
        }
        path.push(part.replace('/', "."));
    }
    path.starts_with(sys).then_some(path).filter(|path| !path.components().any(|c| c.as_os_str() == ".."))
}

/// Applies a file, when it is there. A setting that fails is named; the others are applied.
pub(super) fn apply(conf: &Path, sys: &Path) {
    let text = fs::read_to_string(conf).unwrap_or_default();
    for Setting { key, value, optional } in parse(&text) {
        let Some(path) = file(sys, key) else {
            warning!("{}: {key:?} is not a name of a setting", conf.display());
            continue;
        };
        if let Err(why) = fs::write(path, value)
            && !optional
        {
            warning!("failed to set {key} = {value}: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_reach_their_files() {
        let sys = tempfile::tempdir().unwrap();
        fs::create_dir_all(sys.path().join("net/ipv4")).unwrap();
        fs::write(sys.path().join("net/ipv4/ip_forward"), "0").unwrap();
        let conf = sys.path().join("conf");
        fs::write(&conf, "# c\n; c\nnet.ipv4.ip_forward = 1\n-a.b=c\nnonsense\n").unwrap();
        apply(&conf, sys.path());
        assert_eq!(fs::read_to_string(sys.path().join("net/ipv4/ip_forward")).unwrap(), "1");
    }

    #[test]
    fn a_slash_is_a_dot_within_a_name() {
        let path = file(Path::new("/proc/sys"), "net.ipv4.conf.eth0/1.rp_filter");
        assert_eq!(path, Some("/proc/sys/net/ipv4/conf/eth0.1/rp_filter".into()));
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_directory(key in "[a-z./]{0,20}") {
            if let Some(path) = file(Path::new("/proc/sys"), &key) {
                prop_assert!(path.starts_with("/proc/sys") && !path.to_string_lossy().contains("/../"));
            }
        }

        #[test]
        fn any_text_parses(text: String) {
            prop_assert!(parse(&text).all(|setting| !setting.key.is_empty()));
        }
    }
}
