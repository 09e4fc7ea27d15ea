//! `apt-get` with directories of its own.
//!
//! It does the part that must not be done by hand: checking the archive's signatures. Nothing of the host is read but
//! the Debian keyring and how to reach the network (`Acquire::*`: proxies and the like), and nothing of it is changed: hooks that
//! the host has configured do not run, its lists and caches are not touched, and nothing is installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{architecture::Architecture, content::Digest, recipe::Packages};

/// The keys of the Debian archive, from the package `debian-archive-keyring`.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An isolated apt.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    mirror: String,
    security: Option<String>,
}

/// What the archive says about a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of the `.deb`.
    pub sha256: Digest,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// The first alternative of each dependency, without versions.
    pub depends: Vec<String>,
}

impl Apt {
    /// Prepares the directories in `folder` for the suite and components of `packages`, from `mirror` and, with one for security
    /// updates, from `<suite>-security` too: of a package the higher version counts. Of packages those of one architecture, whatever the
    /// host's is.
    ///
    /// # Errors
    /// When they cannot be written, the keyring is not there, or there is no apt.
    pub fn new(
        folder: &Path,
        mirror: &str,
        security: Option<&str>,
        packages: &Packages,
        architecture: Architecture,
    ) -> Result<Self, AptError> {
        Self::trusting(Path::new(KEYRING), folder, mirror, security, packages, architecture)
    }

    fn trusting(
        keyring: &Path,
        folder: &Path,
        mirror: &str,
        security: Option<&str>,
        packages: &Packages,
        architecture: Architecture,
    ) -> Result<Self, AptError> {
        if mirror.is_empty() {
            return Err(AptError::NoMirror);
        }
        for mirror in [mirror].into_iter().chain(security) {
            if mirror.contains(char::is_whitespace) || !mirror.contains(":/") {
                return Err(AptError::Mirror(mirror.to_owned()));
            }
        }
        if !keyring.exists() {
            return Err(AptError::Keyring);
        }
        let apt =
            Self { folder: folder.to_path_buf(), mirror: mirror.to_owned(), security: security.map(ToOwned::to_owned) };
        for part in ["state/lists/partial", "cache/archives/partial", "etc"] {
            apt.write(part, None)?;
        }
        let host = run(Command::new("apt-config").arg("dump"))?;
        apt.write(
            "etc/apt.conf",
            Some(&configuration(&apt.folder, &String::from_utf8_lossy(&host.stdout), architecture)),
        )?;
        apt.write("etc/sources.list", Some(&apt.sources(keyring, packages, architecture)))?;
        Ok(apt)
    }

    /// One line for each mirror. The suite of security updates has the components of its archive since Debian 11.
    fn sources(&self, keyring: &Path, packages: &Packages, architecture: Architecture) -> String {
        let (arch, suite, components) = (architecture.debian(), &packages.suite, packages.components.join(" "));
        let keyring = keyring.display();
        let line = |mirror: &str, suite: &str| {
            format!("deb [arch={arch} signed-by={keyring}] {mirror} {suite} {components}\n")
        };
        let security = self.security.as_ref().map(|mirror| line(mirror, &format!("{suite}-security")));
        line(&self.mirror, suite) + &security.unwrap_or_default()
    }

    fn write(&self, part: &str, text: Option<&str>) -> Result<(), AptError> {
        let path = self.folder.join(part);
        let result = match text {
            Some(text) => fs::write(&path, text),
            None => fs::create_dir_all(&path),
        };
        result.map_err(|source| AptError::Write { path: path.display().to_string(), source })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("etc/apt.conf"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Fetches the lists of the archive and checks their signature.
    ///
    /// # Errors
    /// When they cannot be had, or are not signed by Debian.
    pub fn update(&self) -> Result<(), AptError> {
        let mut command = self.command("apt-get");
        let output = run(command.args(["-q", "update", "--error-on=any"]))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.refused(complaints(&output)))
    }

    /// Why the lists are not taken, by what apt says. Its words for a signature are others since version 2.9.
    fn refused(&self, said: String) -> AptError {
        let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
        let At { mirror, option } = self.blamed(&said);
        if says(&["GPG error", "OpenPGP signature verification failed", "is not signed", "NO_PUBKEY"]) {
            AptError::Signature { mirror, option, said }
        } else if says(&["is expired", "is not valid yet"]) {
            AptError::Time { mirror, option, said }
        } else if is_full(&said) {
            AptError::Full { folder: self.folder.clone(), said }
        } else {
            AptError::Update { mirror, option, said }
        }
    }

    /// The mirrors that apt complains about, by their addresses in what it says: all of them when it names none.
    fn blamed(&self, said: &str) -> At {
        let named = |mirror: &str| {
            let mirror = mirror.trim_end_matches('/');
            said.match_indices(mirror).any(|(at, _)| said[at + mirror.len()..].starts_with(['/', ' ', '\'']))
        };
        let (archive, security) = (&self.mirror, self.security.as_ref());
        match (named(archive), security) {
            (false, Some(security)) if named(security) => {
                At { mirror: security.clone(), option: "--security-mirror (none: do without security updates)" }
            }
            (true, Some(security)) if !named(security) => At { mirror: archive.clone(), option: "--mirror" },
            (_, None) => At { mirror: archive.clone(), option: "--mirror" },
            _ => At { mirror: self.mirrors(), option: "--mirror and --security-mirror" },
        }
    }

    /// All mirrors, for messages.
    fn mirrors(&self) -> String {
        self.security.iter().fold(self.mirror.clone(), |all, security| format!("{all} and {security}"))
    }

    /// The newest version of a package.
    ///
    /// # Errors
    /// When the archive has none.
    pub fn show(&self, name: &str) -> Result<Candidate, AptError> {
        let output = run(self.command("apt-cache").args(["show", "--no-all-versions", "--", name]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse_show(&text).ok_or_else(|| AptError::Unknown { name: name.to_owned(), mirror: self.mirrors() })
    }

    /// This version of a package, if the archive has it beside a newer one: with security updates it may have two.
    ///
    /// # Errors
    /// When apt cannot be asked.
    pub fn version(&self, name: &str, version: &str) -> Result<Option<Candidate>, AptError> {
        let output = run(self.command("apt-cache").args(["show", "--", &format!("{name}={version}")]))?;
        Ok(parse_show(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Downloads a package into `folder` and gives its path. apt has checked its digest against the signed lists.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn download(&self, package: &Candidate, folder: &Path) -> Result<PathBuf, AptError> {
        let fail = |said: String| {
            let At { mirror, option } = self.blamed(&said);
            AptError::Download { name: package.name.clone(), mirror, option, said }
        };
        let mut command = self.command("apt-get");
        let word = format!("{}={}", package.name, package.version);
        let output = run(command.args(["-q", "download", "--", &word]).current_dir(folder))?;
        if !output.status.success() {
            let said = complaints(&output);
            return Err(if is_full(&said) { AptError::Full { folder: folder.to_owned(), said } } else { fail(said) });
        }
        let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| fail("it left no file".to_owned()))
    }
}

/// A mirror that failed, and the option that names another.
struct At {
    mirror: String,
    option: &'static str,
}

/// Whether there was no room for what apt fetched.
fn is_full(said: &str) -> bool {
    said.contains("No space left on device") || said.contains("enough free space")
}

fn run(command: &mut Command) -> Result<Output, AptError> {
    command
        .output()
        .map_err(|source| AptError::Run { program: command.get_program().to_string_lossy().into_owned(), source })
}

/// What apt complained about, without its progress.
fn complaints(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> =
        text.lines().filter(|l| l.starts_with("E:") || l.starts_with("W:")).map(|l| l[2..].trim()).collect();
    if lines.is_empty() { format!("apt ended with {}", output.status) } else { lines.join("; ") }
}

/// The configuration of an isolated apt: its own directories, and of the host's only `Acquire::*`.
pub(crate) fn configuration(folder: &Path, host: &str, architecture: Architecture) -> String {
    let (folder, arch) = (folder.display(), architecture.debian());
    let mut text = format!(
        "Dir::State \"{folder}/state\";\n\
         Dir::State::status \"/dev/null\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Etc::sourcelist \"{folder}/etc/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::Etc::trusted \"/dev/null\";\n\
         Dir::Etc::trustedparts \"/dev/null\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::parts \"/dev/null\";\n\
         Dir::Log \"{folder}/state\";\n\
         APT::Architecture \"{arch}\";\n\
         APT::Architectures {{ \"{arch}\"; }};\n\
         APT::Sandbox::User \"root\";\n\
         APT::Get::AllowUnauthenticated \"false\";\n\
         Acquire::AllowInsecureRepositories \"false\";\n"
    );
    for line in host.lines() {
        let unsafe_or_ours = ["Languages", "AllowInsecure", "AllowWeak", "AllowDowngrade", "IndexTargets"];
        let wanted =
            line.strip_prefix("Acquire::").is_some_and(|rest| !unsafe_or_ours.iter().any(|no| rest.starts_with(no)));
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("Acquire::Languages \"none\";\n");
    text
}

pub(crate) fn parse_show(text: &str) -> Option<Candidate> {
    let stanza = text.split("\n\n").next()?;
    let field =
        |key: &str| stanza.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()));
    let depends = field("Depends").unwrap_or_default();
    let first = |part: &str| part.split(['|', '(', ':']).next().unwrap_or_default().trim().to_owned();
    Some(Candidate {
        name: field("Package")?,
        version: field("Version")?,
        sha256: Digest::parse(&field("SHA256")?)?,
        size: field("Size")?.parse().ok()?,
        depends: depends.split(',').map(first).filter(|name| !name.is_empty()).collect(),
    })
}

/// Why packages cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// Not a mirror.
    #[error("{0:?} is not a mirror: write it like http://HOST/debian")]
    Mirror(String),
    /// Nobody names one.
    #[error("this machine's apt configuration names no Debian archive: name one with --mirror http://HOST/debian")]
    NoMirror,
    /// No Debian keys on this machine.
    #[error("{KEYRING} is not there: install the package debian-archive-keyring, or the archive cannot be trusted")]
    Keyring,
    /// A file cannot be written.
    #[error("failed to write {path}: {source}{}", crate::cache::advice(source))]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// No apt on this machine.
    #[error("failed to run {program}: {source}; the builder downloads packages with apt, so it must be installed")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The lists are not signed by Debian.
    #[error(
        "the lists of {mirror} are not signed by Debian: {said}; name another mirror with {option}, or install a newer debian-archive-keyring"
    )]
    Signature {
        /// The mirror.
        mirror: String,
        /// The option that names another.
        option: &'static str,
        /// What apt said.
        said: String,
    },
    /// The lists are signed, and for another time.
    #[error(
        "the lists of {mirror} are not for today: {said}; check this machine's clock, or name a mirror that is kept up to date with {option}"
    )]
    Time {
        /// The mirror.
        mirror: String,
        /// The option that names another.
        option: &'static str,
        /// What apt said.
        said: String,
    },
    /// No room.
    #[error("failed to download into {folder}: {said}; make room there or name another folder (--cache)")]
    Full {
        /// Where.
        folder: PathBuf,
        /// What apt said.
        said: String,
    },
    /// The lists cannot be had.
    #[error("failed to fetch the lists of {mirror}: {said}; check the network, or name another mirror with {option}")]
    Update {
        /// The mirror.
        mirror: String,
        /// The option that names another.
        option: &'static str,
        /// What apt said.
        said: String,
    },
    /// The archive does not have it.
    #[error("{mirror} has no package {name}: check packages.names in the recipe")]
    Unknown {
        /// The package.
        name: String,
        /// The mirror.
        mirror: String,
    },
    /// It cannot be downloaded.
    #[error("failed to download {name} from {mirror}: {said}; check the network, or name another mirror with {option}")]
    Download {
        /// The package.
        name: String,
        /// The mirror.
        mirror: String,
        /// The option that names another.
        option: &'static str,
        /// What apt said.
        said: String,
    },
}

#[cfg(test)]
pub(crate) mod tests;
