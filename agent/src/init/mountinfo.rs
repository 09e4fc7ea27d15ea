//! `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the file system.
    pub device: String,
    /// Where it is mounted.
    pub target: String,
    /// Type of the file system.
    pub fstype: String,
    /// What is mounted: `/dev/vda3`, `tmpfs`.
    pub source: String,
    /// Options of this mount, then those of the file system, each list with commas.
    pub options: [String; 2],
}

/// All mounts, in the order in which they were made. Lines that make no sense are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let mut fields = line.split(' ');
    let device = fields.nth(2)?.to_owned();
    let target = unescape(fields.nth(1)?);
    let options = fields.next()?.to_owned();
    let mut rest = fields.skip_while(|field| *field != "-").skip(1);
    let (fstype, source) = (unescape(rest.next()?), unescape(rest.next()?));
    Some(Mount { device, target, fstype, source, options: [options, rest.next().unwrap_or_default().to_owned()] })
}

/// Undoes the kernel's `\040` for a space, `\011` tab, `\012` newline, `\134` backslash.
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| *byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The mount that `path` (absolute, without links) lies on: of the longest target, the latest.
#[must_use]
pub fn containing<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| lies_below(path, &mount.target)).max_by_key(|mount| mount.target.len())
}

/// Whether `path` is `dir` or below it.
#[must_use]
pub fn lies_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
22 1 0:20 / / ro,relatime shared:1 - squashfs /dev/root ro
25 22 254:3 / /state rw,relatime shared:5 - ext4 /dev/vda3 rw
26 22 254:3 /var /var rw,relatime shared:5 - ext4 /dev/vda3 rw
27 26 0:40 / /var/lib/a\\040b rw - tmpfs tmpfs rw,size=1024k
";

    #[test]
    fn fields_and_escapes() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[3].target, "/var/lib/a b");
        assert_eq!(mounts[3].options, ["rw", "rw,size=1024k"]);
        assert_eq!((mounts[1].device.as_str(), mounts[1].source.as_str()), ("254:3", "/dev/vda3"));
    }

    #[test]
    fn the_nearest_mount_contains_a_path() {
        let mounts = parse(TEXT);
        assert_eq!(containing(&mounts, "/var/lib/nomad").unwrap().target, "/var");
        assert_eq!(containing(&mounts, "/var/lib/a b/c").unwrap().fstype, "tmpfs");
        assert_eq!(containing(&mounts, "/variety").unwrap().target, "/");
    }

    proptest! {
        #[test]
        fn any_text_parses(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn escaped_names_survive(name in "[a-z \\\\\t]{1,12}") {
            let escaped = name.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
