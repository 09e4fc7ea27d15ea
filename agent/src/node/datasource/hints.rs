//! `ds=nocloud;s=...;h=...;i=...` on the command line and in the machine's serial number.

use super::Platform;

/// What a line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Whether there is such a line at all.
    pub named: bool,
    /// `s`, `seedfrom`: where the files are.
    pub seedfrom: Option<String>,
    /// `h`, `local-hostname`.
    pub hostname: Option<String>,
    /// `i`, `instance-id`.
    pub instance_id: Option<String>,
}

/// Reads both places; the command line wins over the serial number, key by key.
#[must_use]
pub fn hints(platform: &Platform) -> Hints {
    let mut hints = Hints::default();
    if let Some(serial) = platform.dmi.get("system-serial-number") {
        for word in serial.split_whitespace() {
            if let Some(line) = strip_key(word) {
                hints.read(line);
            }
        }
    }
    for key in ["ci.datasource", "ci.ds", "ds"] {
        for line in platform.cmdline.all(key) {
            hints.read(line);
        }
    }
    hints.seedfrom = hints.seedfrom.map(|url| platform.dmi.substitute(&url));
    hints
}

fn strip_key(word: &str) -> Option<&str> {
    let (key, value) = word.split_once('=')?;
    key.eq_ignore_ascii_case("ds").then_some(value)
}

impl Hints {
    /// Reads `nocloud[-net][;key=value...]`, in any case; another datasource's line says nothing.
    fn read(&mut self, line: &str) {
        // A boot loader may have left its escapes.
        let line = line.replace("\\;", ";");
        let mut parts = line.split(';');
        let name = parts.next().unwrap_or("").to_ascii_lowercase();
        if !matches!(name.as_str(), "nocloud" | "nocloud-net") {
            return;
        }
        self.named = true;
        for (key, value) in parts.filter_map(|part| part.split_once('=')).filter(|(_, value)| !value.is_empty()) {
            let slot = match key.trim().to_ascii_lowercase().as_str() {
                "s" | "seedfrom" => &mut self.seedfrom,
                "h" | "local-hostname" => &mut self.hostname,
                "i" | "instance-id" => &mut self.instance_id,
                _ => continue,
            };
            *slot = Some(value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{cmdline::Cmdline, node::datasource::Dmi};

    fn of(cmdline: &str, serial: &str) -> Hints {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("sys/class/dmi/id");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("product_serial"), serial).unwrap();
        hints(&Platform { cmdline: Cmdline::parse(cmdline), dmi: Dmi::read(root.path()), ..Platform::default() })
    }

    #[test]
    fn the_command_line_wins_key_by_key() {
        let hints = of("ds=NoCloud-Net;s=http://10.0.0.1/x?a=b;H=web", "ds=nocloud;s=http://other/;i=i-7");
        assert!(hints.named);
        assert_eq!(hints.seedfrom.as_deref(), Some("http://10.0.0.1/x?a=b"));
        assert_eq!((hints.hostname.as_deref(), hints.instance_id.as_deref()), (Some("web"), Some("i-7")));
    }

    #[test]
    fn other_lines_say_nothing() {
        assert_eq!(of("ds=ec2;s=http://x/", "Not Specified"), Hints::default());
        assert_eq!(of("quiet ds=nocloud", ""), Hints { named: true, ..Hints::default() });
    }

    proptest! {
        #[test]
        fn any_line_reads(line: String) {
            Hints::default().read(&line);
        }
    }
}
