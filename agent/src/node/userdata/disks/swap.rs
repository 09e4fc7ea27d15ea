//! `swap`: a file that memory is moved out to.

use serde::Serialize;

use super::{known_keys, refuse};
use crate::node::{
    files::roots,
    userdata::{finding::Finding, yaml::Node},
};

/// A swap file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swap {
    /// The file; on the state partition.
    pub path: String,
    /// Its size.
    pub size: Size,
    /// No more than this, in bytes.
    pub most: Option<u64>,
}

/// How large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// In bytes.
    Bytes(u64),
    /// By the machine's memory.
    Auto,
}

impl Swap {
    /// How many bytes on a machine with this much memory and this much free space, as cloud-init's
    /// `suggested_swapsize` has it; 0: none.
    #[must_use]
    pub fn bytes(&self, memory: u64, free: u64) -> u64 {
        const GIB: u64 = 1 << 30;
        let wanted = match self.size {
            Size::Bytes(bytes) => bytes,
            Size::Auto if memory < 4 * GIB => memory,
            Size::Auto if memory < 16 * GIB => 4 * GIB,
            Size::Auto => (memory / GIB).isqrt() * GIB,
        };
        let most = match self.most {
            Some(most) => most.min(free / 10 * 9),
            None if self.size == Size::Auto => free / 4,
            None => free / 10 * 9,
        };
        let bytes = wanted.min(most);
        bytes - bytes % 4096
    }
}

/// Where `/swap.img` goes, which would be in the read-only root.
const DEFAULT: &str = "/var/swap.img";

pub(super) fn swap(config: Option<&Node>, findings: &mut Vec<Finding>) -> Option<Swap> {
    let node = config?.get("swap").filter(|node| !node.is_null())?;
    if node.mapping().is_none() {
        if node.text() != Some("false") {
            refuse(findings, node, "swap", format!("must be a map with a size, not {}", node.describe()));
        }
        return None;
    }
    known_keys(node, "swap", &["filename", "maxsize", "size"], findings);
    let path = match node.get("filename").and_then(Node::text) {
        None | Some("/swap.img" | "/swapfile") => DEFAULT.to_owned(),
        Some(path) => match roots::check(path).map_err(|why| why.to_string()) {
            // What is in memory cannot hold what has no room there.
            Ok(path) if !["/etc/", "/run/", "/tmp/"].iter().any(|root| path.starts_with(root)) => path,
            Ok(path) => {
                refuse(findings, node, "swap.filename", format!("{path} is in memory: write below /var, /opt or /srv"));
                return None;
            }
            Err(why) => {
                refuse(findings, node, "swap.filename", why);
                return None;
            }
        },
    };
    let number = |key: &str, findings: &mut Vec<Finding>| -> Option<Size> {
        let value = node.get(key).filter(|value| !value.is_null())?;
        let text = value.text().unwrap_or("").trim();
        let size = if text == "auto" { Some(Size::Auto) } else { bytes(text).map(Size::Bytes) };
        if size.is_none() {
            refuse(findings, value, &format!("swap.{key}"), "must be a number of bytes, like 2G, or auto");
        }
        size
    };
    let size = number("size", findings)?;
    let most = match number("maxsize", findings) {
        Some(Size::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    (size != Size::Bytes(0)).then_some(Swap { path, size, most })
}

/// `1024`, `512M`, `2G`, `1.5G`; K, M, G and T are powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['B', 'b']).trim_end_matches(['i', 'I']);
    let (number, shift) = match text.char_indices().last()? {
        (at, 'K' | 'k') => (&text[..at], 10),
        (at, 'M' | 'm') => (&text[..at], 20),
        (at, 'G' | 'g') => (&text[..at], 30),
        (at, 'T' | 't') => (&text[..at], 40),
        _ => (text, 0),
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(1 << shift),
        Some((whole, tenth)) => {
            let (whole, tenth): (u64, u64) = (whole.parse().ok()?, tenth.get(..1)?.parse().ok()?);
            whole.checked_mul(10)?.checked_add(tenth)?.checked_mul(1 << shift).map(|tenths| tenths / 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::read, *};

    #[test]
    fn sizes() {
        for (text, want) in [("1024", 1024), ("2G", 2 << 30), ("512M", 512 << 20), ("1.5k", 1536), ("1GiB", 1 << 30)] {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for text in ["", "G", "x", "-1", "1..2", "99999999999999999999", "9999999999999T"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn as_much_as_memory_and_disk_allow() {
        const GIB: u64 = 1 << 30;
        let swap = |size, most| Swap { path: String::new(), size, most };
        assert_eq!(swap(Size::Auto, None).bytes(2 * GIB, 100 * GIB), 2 * GIB);
        assert_eq!(swap(Size::Auto, None).bytes(64 * GIB, 1000 * GIB), 8 * GIB);
        assert_eq!(swap(Size::Auto, None).bytes(8 * GIB, 4 * GIB), GIB);
        assert_eq!(swap(Size::Auto, Some(GIB)).bytes(8 * GIB, 100 * GIB), GIB);
        assert_eq!(swap(Size::Bytes(GIB), None).bytes(GIB, 0), 0);
    }

    #[test]
    fn places_and_refusals() {
        assert_eq!(read("swap: {size: auto}").0.swap.unwrap().path, "/var/swap.img");
        assert_eq!(read("swap: {size: 1G, filename: /opt/s}").0.swap.unwrap().path, "/opt/s");
        assert!(read("swap: {size: 0}").0.swap.is_none() && read("swap: false").1.is_empty());
        for (text, want) in [
            ("swap: {size: much}", "swap.size"),
            ("swap: {size: 1G, filename: /usr/s}", "read-only"),
            ("swap: {size: 1G, filename: /tmp/s}", "is in memory"),
            ("swap: {sice: 1G}", "did you mean size?"),
        ] {
            let (disks, findings) = read(text);
            assert!(findings.iter().any(|f| f.contains(want)) && disks.swap.is_none(), "{text}: {findings:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_size_or_none(text: String) {
            let _ = bytes(&text);
        }
    }
}
