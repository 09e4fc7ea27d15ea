//! `df -kP PATH...`, for Nomad: a client asks a program of that name how large its directories are, and does not start
//! without an answer. The output has the form of POSIX, laid out like that of GNU coreutils.

use std::{fs, io, path::Path, process::ExitCode};

use nix::sys::statvfs::statvfs;

use crate::init::mountinfo;

/// One line of the output; sizes in units of 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is mounted.
    pub source: String,
    /// Size.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Free for users who are not root.
    pub available: u64,
    /// Where it is mounted.
    pub target: String,
}

impl Row {
    /// The share that is in use, rounded up as POSIX asks.
    fn capacity(&self) -> String {
        let all = u128::from(self.used) + u128::from(self.available);
        if all == 0 { "-".to_owned() } else { format!("{}%", (u128::from(self.used) * 100).div_ceil(all)) }
    }
}

/// Prints the sizes of the file systems that the paths lie on.
pub fn run(args: &[String]) -> ExitCode {
    let (options, paths): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-'));
    let known = |option: &&String| option.len() > 1 && option[1..].bytes().all(|b| matches!(b, b'k' | b'P'));
    if paths.is_empty() || !options.iter().all(known) {
        eprintln!("usage: df -kP PATH...");
        return ExitCode::FAILURE;
    }
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        match row(path) {
            Ok(row) => rows.push(row),
            Err(why) => {
                eprintln!("df: {path}: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    if !rows.is_empty() {
        print!("{}", render(&rows));
    }
    code
}

/// Asks the kernel about the file system that `path` lies on.
fn row(path: &str) -> io::Result<Row> {
    let real = fs::canonicalize(path)?;
    let sizes = statvfs(Path::new(&real))?;
    let mounts = mountinfo::parse(&fs::read_to_string("/proc/self/mountinfo")?);
    let mount = mountinfo::containing(&mounts, &real.to_string_lossy());
    let mount = mount.ok_or_else(|| io::Error::other("no mount contains it"))?;
    // The types of these numbers differ between C libraries.
    let blocks = |count: u64| {
        let bytes = u128::from(count) * u128::from(sizes.fragment_size());
        u64::try_from(bytes.div_ceil(1024)).unwrap_or(u64::MAX)
    };
    Ok(Row {
        source: mount.source.clone(),
        total: blocks(sizes.blocks()),
        used: blocks(sizes.blocks().saturating_sub(sizes.blocks_free())),
        available: blocks(sizes.blocks_available()),
        target: mount.target.clone(),
    })
}

/// The whole output: columns as wide as their widest field, numbers to the right.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let header = ["Filesystem", "1024-blocks", "Used", "Available", "Capacity", "Mounted on"].map(str::to_owned);
    let fields = |row: &Row| {
        let numbers = [row.total, row.used, row.available].map(|number| number.to_string());
        let [total, used, available] = numbers;
        [row.source.clone(), total, used, available, row.capacity(), row.target.clone()]
    };
    let lines: Vec<[String; 6]> = std::iter::once(header).chain(rows.iter().map(fields)).collect();
    // The least widths of GNU df.
    let mut widths = [14, 5, 5, 5, 4];
    for line in &lines {
        for (width, field) in widths.iter_mut().zip(line) {
            *width = field.chars().count().max(*width);
        }
    }
    let [a, b, c, d, e] = widths;
    let layout = |[source, total, used, available, capacity, target]: &[String; 6]| {
        format!("{source:a$} {total:>b$} {used:>c$} {available:>d$} {capacity:>e$} {target}\n")
    };
    lines.iter().map(layout).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn laid_out_like_gnu() {
        let row = |source: &str, used, available, target: &str| Row {
            source: source.into(),
            total: used + available,
            used,
            available,
            target: target.into(),
        };
        let rows = [row("/dev/vda3", 1, 99_999_999, "/var"), row("tmpfs", 0, 0, "/run")];
        let expected = "\
Filesystem     1024-blocks  Used Available Capacity Mounted on
/dev/vda3        100000000     1  99999999       1% /var
tmpfs                    0     0         0        - /run
";
        assert_eq!(render(&rows), expected);
    }

    #[test]
    fn the_same_as_the_hosts_df() {
        let host = |path: &str| {
            let output = Command::new("df").args(["-kP", path]).env("LC_ALL", "C").output();
            String::from_utf8(output.expect("df is needed by this test").stdout).unwrap()
        };
        for path in ["/", "/dev", "/usr/bin"] {
            // The file system may change while it is looked at: then it is looked at again.
            let looks = || (render(&[row(path).unwrap()]), host(path));
            let (own, theirs) = (0..50).map(|_| looks()).find(|(own, theirs)| own == theirs).unwrap_or_else(looks);
            assert_eq!(own, theirs, "{path}");
        }
    }

    #[test]
    fn a_missing_path_is_an_error() {
        assert_eq!(row("/nonexistent").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
