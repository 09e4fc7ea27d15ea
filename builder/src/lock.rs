//! Lock files: the exact packages that an image was made from, and the release of Nomad if it has one.

mod changes;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::changes::{Change, Side, packages};
use crate::{
    content::Digest,
    embedded, hint,
    recipe::{Profile, Recipe},
};

/// The packages and the release of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The suite they come from.
    pub suite: String,
    /// The kernel package that the metapackage meant.
    pub kernel: String,
    /// The official release of Nomad, if it was used. A program that the user names, or the stand-in, is not noted: nobody
    /// else could get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nomad: Option<LockedNomad>,
    /// The packages, by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<Locked>,
}

/// A release of Nomad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedNomad {
    /// Its version.
    pub version: String,
    /// Digest of the program, not of the archive that it comes in.
    pub sha256: Digest,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of the `.deb`.
    pub sha256: Digest,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Short names of the licences in its copyright file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
}

/// Bytes of the largest package that there can be: `ar` has ten digits for it. So sums of a few thousand are numbers.
const LARGEST: u64 = 9_999_999_999;

const HEADER: &str =
    "# What an image is made from, exactly. Written by the builder; `builder lock` takes newer ones.\n";

impl Lock {
    /// Parses the text of a lock file; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is not a lock file.
    pub fn parse(file: &str, text: &str) -> Result<Self, LockError> {
        let wrong = |message| LockError { file: file.to_owned(), message };
        let lock: Self = toml::from_str(text).map_err(|error| wrong(hint::describe_toml(text, &error)))?;
        let mut names = BTreeSet::new();
        for Locked { name, size, .. } in &lock.packages {
            if *size > LARGEST {
                return Err(wrong(format!(" no package has {size} bytes, as {name} does here")));
            }
            if !names.insert(name) {
                return Err(wrong(format!(" {name} is there twice, and only one of them can be meant")));
            }
        }
        Ok(lock)
    }

    /// The lock of the recipes that come with the builder.
    ///
    /// # Errors
    /// When an embedded file is wrong, which a test rules out.
    pub fn embedded(profile: Profile) -> Result<Self, LockError> {
        let (name, text) = embedded::lock(profile);
        Self::parse(name, text)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that TOML could not express.
        format!("{HEADER}\n{}", toml::to_string(self).unwrap_or_default())
    }

    /// The package `name`.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Locked> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// This lock with what `file` has besides, which other recipes want that share it: all of the same suite but its kernel.
    #[must_use]
    pub fn beside(mut self, file: &Self) -> Self {
        if self.suite == file.suite {
            let others = file.packages.iter().filter(|other| other.name != file.kernel);
            let others: Vec<_> = others.filter(|other| self.package(&other.name).is_none()).cloned().collect();
            self.packages.extend(others);
            self.packages.sort();
        }
        self
    }

    /// Names that the recipe wants and this lock does not have. A lock for another suite has none of them, and one with a kernel of
    /// another flavour not the kernel.
    #[must_use]
    pub fn lacks<'a>(&'a self, recipe: &'a Recipe) -> Vec<&'a str> {
        let wanted = recipe.packages.names.iter().chain([&self.kernel]).map(String::as_str);
        let other = (flavour(&self.kernel) != flavour(&recipe.kernel.package)).then_some(&*recipe.kernel.package);
        let lacked = wanted.filter(|name| self.suite != recipe.packages.suite || self.package(name).is_none());
        lacked.chain(other).collect()
    }

    /// What differs from this lock to `now`, one line each.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.kernel != now.kernel {
            lines.push(format!("kernel: locked {}, the archive has {}", self.kernel, now.kernel));
        }
        for locked in &self.packages {
            match now.package(&locked.name) {
                Some(new) if new.sha256 == locked.sha256 => {}
                Some(new) => {
                    lines.push(format!("{}: locked {}, the archive has {}", locked.name, locked.version, new.version));
                }
                None if locked.name == self.kernel => {}
                None => lines.push(format!("{}: locked {}, the archive has none", locked.name, locked.version)),
            }
        }
        lines
    }
}

/// The flavour of a kernel package, without its version: `cloud-amd64` of `linux-image-6.12.107+deb13-cloud-amd64` and of the
/// metapackage `linux-image-cloud-amd64`.
fn flavour(package: &str) -> String {
    let words = package.strip_prefix("linux-image-").unwrap_or(package).split('-');
    words.filter(|word| !word.starts_with(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join("-")
}

/// The text is not a lock file.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{message}; `builder lock` writes it anew")]
pub struct LockError {
    file: String,
    message: String,
}

#[cfg(test)]
mod tests {
    use agent::facts::Role;

    use super::*;

    fn lock(version: &str) -> Lock {
        Lock {
            suite: "trixie".into(),
            kernel: "linux-image-1".into(),
            nomad: None,
            packages: vec![Locked {
                name: "libc6".into(),
                version: version.into(),
                sha256: Digest::of(version.as_bytes()),
                size: 1,
                licences: vec!["LGPL-2.1+".into()],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let released = LockedNomad { version: "2.0.5".into(), sha256: Digest::of(b"nomad") };
        for nomad in [None, Some(released)] {
            let lock = Lock { nomad, ..lock("1") };
            assert_eq!(Lock::parse("l", &lock.text()).unwrap(), lock);
        }
        let large = lock("1").text().replace("size = 1", "size = 9223372036854775807");
        let said = Lock::parse("l", &large).unwrap_err().to_string();
        assert!(said.starts_with("l: no package has 9223372036854775807 bytes, as libc6"), "{said}");
        let one = lock("1");
        let twice = Lock { packages: [&one.packages[..], &lock("2").packages].concat(), ..one };
        let said = Lock::parse("l", &twice.text()).unwrap_err().to_string();
        assert!(said.starts_with("l: libc6 is there twice"), "{said}");
        assert!(Lock::parse("l", "suit = \"x\"").unwrap_err().to_string().contains("did you mean `suite`?"));
    }

    #[test]
    fn recipes_may_share_a_file() {
        let of = |kernel: &str, names: &[&str]| {
            let one = lock("1").packages.remove(0);
            let package = |name: &&str| Locked { name: (*name).into(), ..one.clone() };
            Lock { kernel: kernel.into(), packages: names.iter().map(package).collect(), ..lock("1") }
        };
        let file = of("linux-image-1", &["curl", "libc6", "linux-image-1"]);
        // As it is, it stays; a new kernel takes the place of the old one.
        assert_eq!(of("linux-image-1", &["libc6", "linux-image-1"]).beside(&file), file);
        let newer = of("linux-image-2", &["jq", "libc6", "linux-image-2"]);
        assert_eq!(newer.clone().beside(&file), of("linux-image-2", &["curl", "jq", "libc6", "linux-image-2"]));
        let other = Lock { suite: "forky".into(), ..newer };
        assert_eq!(other.clone().beside(&file), other);
        let updated = lock("2").beside(&file);
        assert_eq!(updated.package("libc6").unwrap().version, "2");
    }

    #[test]
    fn differences_are_said() {
        assert_eq!(lock("1").differences(&lock("2")), ["libc6: locked 1, the archive has 2"]);
        assert!(lock("1").differences(&lock("1")).is_empty());
    }

    #[test]
    fn the_embedded_locks_have_what_the_recipes_want() {
        for profile in Profile::ALL {
            let lock = Lock::embedded(profile).unwrap();
            for role in [Role::Server, Role::Client, Role::Dev] {
                assert_eq!(lock.lacks(&Recipe::embedded(role, Some(profile)).unwrap()), Vec::<&str>::new());
            }
        }
    }

    #[test]
    fn a_lock_with_another_kernel_is_not_for_the_recipe() {
        let cloud = Lock::embedded(Profile::Cloud).unwrap();
        let text = "extends = \"server\"\n[kernel]\npackage = \"linux-image-amd64\"\n";
        let recipe = Recipe::parse("r.toml", text, None, &mut |_| None).unwrap();
        assert_eq!(cloud.lacks(&recipe), ["linux-image-amd64"]);
        for (package, wanted) in [
            ("linux-image-6.12.107+deb13-cloud-amd64", "cloud-amd64"),
            ("linux-image-6.1.0-13-amd64", "amd64"),
            ("linux-image-rt-amd64", "rt-amd64"),
            ("own", "own"),
        ] {
            assert_eq!(flavour(package), wanted);
        }
    }
}
