//! An isolated apt, with an archive in a folder.

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use proptest::prelude::*;

use super::*;
use crate::nomad::fixture::Signer;

/// An archive in a folder, with a key of its own, in which each suite has one package.
pub(crate) struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    /// Suites by their paths below the folder, with the version of `libc6` that they have; the package is no more than this word.
    pub(crate) fn new(suites: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::new(false);
        fs::write(folder.path().join("key.asc"), signer.public()).unwrap();
        for (mirror, suite, version) in suites {
            let mirror = folder.path().join(mirror);
            let (dist, pool) = (mirror.join("dists").join(suite), mirror.join("pool"));
            fs::create_dir_all(dist.join("main/binary-amd64")).unwrap();
            fs::create_dir_all(&pool).unwrap();
            let deb = format!("libc6_{version}_amd64.deb");
            fs::write(pool.join(&deb), version).unwrap();
            let packages = format!(
                "Package: libc6\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\nFilename: pool/{deb}\nSize: {}\nSHA256: {}\n\n",
                version.len(),
                Digest::of(version.as_bytes())
            );
            fs::write(dist.join("main/binary-amd64/Packages"), &packages).unwrap();
            let release = format!(
                "Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n\
                 Date: Mon, 21 Sep 2020 00:00:00 UTC\nSHA256:\n {} {} main/binary-amd64/Packages\n",
                Digest::of(packages.as_bytes()),
                packages.len()
            );
            // apt takes armored ones only.
            let signature = STANDARD.encode(signer.sign(release.as_bytes(), 10));
            let armored = format!("-----BEGIN PGP SIGNATURE-----\n\n{signature}\n-----END PGP SIGNATURE-----\n");
            fs::write(dist.join("Release.gpg"), armored).unwrap();
            fs::write(dist.join("Release"), release).unwrap();
        }
        Self { folder }
    }

    /// The address of a mirror.
    pub(crate) fn mirror(&self, name: &str) -> String {
        format!("file:{}", self.folder.path().join(name).display())
    }

    /// An apt that trusts it.
    pub(crate) fn apt(&self, security: Option<&str>) -> Apt {
        let key = self.folder.path().join("key.asc");
        let packages =
            Packages { suite: "trixie".into(), security: true, components: vec!["main".into()], names: vec![] };
        let folder = self.folder.path().join("apt");
        let security = security.map(|name| self.mirror(name));
        Apt::trusting(&key, &folder, &self.mirror("debian"), security.as_deref(), &packages, Architecture::X86_64)
            .unwrap()
    }
}

#[test]
fn the_newer_of_archive_and_security_updates_counts() {
    let (archive, security) = (("debian", "trixie", "2.41-1"), "trixie-security");
    for (has, newest) in [("2.41-1+deb13u1", "2.41-1+deb13u1"), ("2.40-9", "2.41-1")] {
        let archive = Archive::new(&[archive, ("debian-security", security, has)]);
        let apt = archive.apt(Some("debian-security"));
        apt.update().unwrap();
        assert_eq!(apt.show("libc6").unwrap().version, newest);
        // A lock file that has the older one is not out of date while both are there.
        for version in ["2.41-1", has] {
            let found = apt.version("libc6", version).unwrap().unwrap();
            assert_eq!((found.version.as_str(), found.sha256), (version, Digest::of(version.as_bytes())));
        }
        assert_eq!(apt.version("libc6", "3").unwrap(), None);
        let folder = tempfile::tempdir().unwrap();
        let package = apt.download(&apt.show("libc6").unwrap(), folder.path()).unwrap();
        assert_eq!(fs::read_to_string(package).unwrap(), newest);
        let sources = fs::read_to_string(archive.folder.path().join("apt/etc/sources.list")).unwrap();
        let lines: Vec<&str> = sources.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        let [one, other] = ["debian", "debian-security"].map(|name| archive.mirror(name));
        assert_eq!(lines, [format!("{one} trixie main"), format!("{other} trixie-security main")]);
        // In the folder in which both were: nothing of the other stays.
        let alone = archive.apt(None);
        alone.update().unwrap();
        assert_eq!(alone.show("libc6").unwrap().version, "2.41-1");
    }
}

#[test]
fn the_mirror_that_failed_is_named() {
    let archive = Archive::new(&[("debian", "trixie", "1"), ("debian-security", "trixie-security", "2")]);
    let (main, security) = (archive.mirror("debian"), archive.mirror("debian-security"));
    let said = |apt: &Apt| apt.update().unwrap_err().to_string();
    let none = said(&archive.apt(Some("nowhere-security")));
    assert!(
        none.starts_with(&format!("failed to fetch the lists of {}: ", archive.mirror("nowhere-security"))),
        "{none}"
    );
    assert!(none.contains("with --security-mirror (none: "), "{none}");
    let release =
        |mirror: &str, suite: &str| archive.folder.path().join(mirror).join("dists").join(suite).join("Release");
    for (path, wanted, option) in [
        (release("debian-security", "trixie-security"), &security, "with --security-mirror (none: "),
        (release("debian", "trixie"), &main, "with --mirror, "),
    ] {
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.replace("Label: Debian", "Label: Evil")).unwrap();
        let bad = said(&archive.apt(Some("debian-security")));
        fs::write(&path, whole).unwrap();
        assert!(bad.starts_with(&format!("the lists of {wanted} are not signed by Debian: ")), "{bad}");
        assert!(bad.contains(option), "{bad}");
    }
    let apt = archive.apt(Some("debian-security"));
    apt.update().unwrap();
    let unknown = apt.show("libc7").unwrap_err().to_string();
    assert!(unknown.starts_with(&format!("{main} and {security} has no package libc7")), "{unknown}");
    assert!(matches!(
        Apt::new(Path::new("/x"), "http://m/debian", Some("m/debian-security"), &Packages { suite: "x".into(), security: true, components: vec![], names: vec![] }, Architecture::X86_64),
        Err(AptError::Mirror(mirror)) if mirror == "m/debian-security"
    ));
}

#[test]
fn a_stanza_is_read() {
    let text = format!(
        "Package: linux-image-cloud-amd64\nVersion: 6.12-1\nDepends: linux-image-6.12 (= 6.12-1), kmod | x, libc6:any\nSize: 12\nSHA256: {}\n\nPackage: other\n",
        Digest::of(b"x")
    );
    let candidate = parse_show(&text).unwrap();
    assert_eq!(candidate.depends, ["linux-image-6.12", "kmod", "libc6"]);
    assert_eq!((candidate.version.as_str(), candidate.size), ("6.12-1", 12));
    assert_eq!(parse_show(""), None);
}

/// Words of apt 2.6 and 3.0.
#[test]
fn what_apt_says_is_understood() {
    let apt = Apt { folder: "/c/apt".into(), mirror: "http://m/debian".into(), security: None };
    for (said, wanted) in [
        ("GPG error: http://m/debian trixie InRelease: NO_PUBKEY 1", "are not signed by Debian"),
        ("OpenPGP signature verification failed: http://m/debian trixie InRelease: Missing key", "not signed by"),
        ("The repository 'http://m/debian trixie Release' is not signed.", "are not signed by Debian"),
        ("Release file for http://m/debian/dists/trixie/InRelease is expired (invalid since 3d).", "machine's clock"),
        ("Release file for http://m/InRelease is not valid yet (invalid for another 2h).", "machine's clock"),
        ("Write error - write (28: No space left on device)", "into /c/apt: Write error"),
        ("You don't have enough free space in /c/.", "make room there"),
        ("Could not connect to m:80", "check the network"),
    ] {
        let error = apt.refused(said.to_owned()).to_string();
        assert!(error.contains(wanted) && error.contains(said), "{error}");
    }
}

proptest! {
    #[test]
    fn anything_that_apt_prints_is_read_or_not(text in "(Package|Version|SHA256|Size|Depends)?: ?\\PC{0,20}\n?|\\PC{0,40}") {
        let _ = parse_show(&text);
        let _ = is_full(&text);
        // Nothing that is not of the network comes out of the host's configuration.
        let own = configuration(Path::new("/c"), "", Architecture::X86_64).lines().count();
        let lines = configuration(Path::new("/c"), &text, Architecture::X86_64);
        prop_assert!(lines.lines().count() == own || text.starts_with("Acquire::"));
    }
}

#[test]
fn hooks_and_loosened_checks_of_the_host_stay_there() {
    let host = "Acquire::http::Proxy \"http://p\";\nAPT::Update::Post-Invoke:: \"rm -rf /\";\nAcquire::AllowInsecureRepositories \"true\";\nDir::Cache \"x\";\n";
    let text = configuration(Path::new("/c"), host, Architecture::Aarch64);
    assert!(
        text.contains("APT::Architecture \"arm64\";\nAPT::Architectures { \"arm64\"; };\n"),
        "the host's does not count"
    );
    assert!(text.contains("Acquire::http::Proxy \"http://p\";"));
    assert!(!text.contains("rm -rf") && !text.contains("\"true\"") && !text.contains("Dir::Cache \"x\""));
}
