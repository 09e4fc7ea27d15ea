//! What a package says of itself: the `control` file in its `control.tar` (deb(5), deb-control(5)).

use std::io::{self, Read};

use super::{invalid, plain_path};

/// Bytes that the file may have. The longest in Debian have a few kilobytes.
const MOST: u64 = 1 << 20;

/// Which package it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) package: String,
    pub(super) version: String,
}

impl Control {
    /// Finds the file in an unpacked `control.tar`, and reads on to its end, so that damage behind it is noticed too.
    pub(super) fn read(tar: impl Read) -> io::Result<Self> {
        let mut archive = tar::Archive::new(tar);
        let mut found = None;
        for entry in archive.entries()? {
            let entry = entry?;
            if found.is_some() || plain_path(&entry.path_bytes())? != "control" {
                continue;
            }
            let mut text = String::new();
            if entry.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
                return Err(invalid(format!("its control file has more than {MOST} bytes")));
            }
            found = Self::parse(&text);
            if found.is_none() {
                return Err(invalid("its control file has no Package or no Version".to_owned()));
            }
        }
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        found.ok_or_else(|| invalid("there is no control file in its control.tar".to_owned()))
    }

    /// Whether it is this version of this package.
    pub(super) fn is(&self, name: &str, version: &str) -> bool {
        self.package == name && self.version == version
    }

    /// Reads the first stanza.
    fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().take_while(|line| !line.trim().is_empty());
        // What goes on in the next line begins with a space, and so is no field.
        let fields = || lines().filter_map(|line| line.split_once(':'));
        let field = |name: &str| {
            let (_, value) = fields().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(value.trim()).filter(|value| !value.is_empty()).map(ToOwned::to_owned)
        };
        Some(Self { package: field("Package")?, version: field("Version")? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_stanza_counts() {
        let text =
            "package: libc6\nSource: glibc (1)\nDescription: x\n Version: 0\nVersion:  3:1.2+b1~x-1 \n\nVersion: 9\n";
        let read = Control::parse(text).unwrap();
        assert_eq!((read.package.as_str(), read.version.as_str()), ("libc6", "3:1.2+b1~x-1"));
        for bad in
            ["", "Package: x\n", "Package: x\nVersion:\n", "Package: x\n\nVersion: 1\n", "Version: 1\n Package: x\n"]
        {
            assert_eq!(Control::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_one_is_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        let text = format!("Package: x\nVersion: 1\nDescription: {}\n", "x".repeat(1 << 20));
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, "./control", text.as_bytes()).unwrap();
        let said = Control::read(&tar.into_inner().unwrap()[..]).unwrap_err().to_string();
        assert!(said.contains("more than 1048576 bytes"), "{said}");
    }

    proptest! {
        #[test]
        fn anything_is_read_or_not(text in "((Package|Version|x|)?:? ?\\PC{0,9}\n){0,6}", bytes: Vec<u8>) {
            if let Some(control) = Control::parse(&text) {
                prop_assert!(!control.package.is_empty() && !control.version.contains('\n'));
            }
            let _ = Control::read(&bytes[..]);
        }

        #[test]
        fn what_is_written_is_read(package in "[a-z0-9][a-z0-9+.-]{1,20}", version in "[0-9][0-9A-Za-z.+~:-]{0,20}") {
            let text = format!("Package: {package}\nVersion: {version}\n");
            prop_assert_eq!(Control::parse(&text), Some(Control { package, version }));
        }
    }
}
