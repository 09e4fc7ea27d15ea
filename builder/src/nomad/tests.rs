//! [`super::obtain`] against a server on the loopback interface and a key made for the test.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Mutex,
};

use agent::facts::NomadSource;

use super::{
    Fingerprint, KEY_OF_MIRROR as KEY_PATH, NomadError, Obtained, Request,
    fixture::{Reply, Server, Signer, program, zip},
    obtain,
};
use crate::{architecture::Architecture, content::Digest};

const ZIP: &str = "/nomad/2.0.5/nomad_2.0.5_linux_amd64.zip";
pub(super) const SUMS: &str = "/nomad/2.0.5/nomad_2.0.5_SHA256SUMS";

/// A vendor with one release, and a builder that knows the fingerprint of the vendor's key.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) signer: Signer,
    program: Vec<u8>,
    dir: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let program = program("Nomad v2.0.5\nBuildDate 2026-08-13T00:00:00Z\n");
        let dir = tempfile::tempdir().unwrap();
        let world = Self { server: Server::start(), signer: Signer::new(true), program, dir };
        world.server.set(KEY_PATH, Reply::Body(world.signer.public().into_bytes()));
        world.publish(&zip(&[("LICENSE.txt", b"text"), ("nomad", &world.program)]));
        world
    }

    /// Puts a release with this archive on the server.
    fn publish(&self, zip: &[u8]) {
        let sums = format!("{}  nomad_2.0.5_linux_amd64.zip\n", Digest::of(zip));
        self.server.set(ZIP, Reply::Body(zip.to_vec()));
        self.server.set(&self.signature(), Reply::Body(self.signer.sign_by_subkey(sums.as_bytes(), 10)));
        self.server.set(SUMS, Reply::Body(sums.into_bytes()));
    }

    /// The list of checksums of the first release.
    pub(super) fn sums(&self) -> Vec<u8> {
        let zip = zip(&[("LICENSE.txt", b"text"), ("nomad", &self.program)]);
        format!("{}  nomad_2.0.5_linux_amd64.zip\n", Digest::of(&zip)).into_bytes()
    }

    /// Path of the signature that is asked for first.
    pub(super) fn signature(&self) -> String {
        let fingerprint = self.signer.fingerprint();
        format!("{SUMS}.{}.sig", &fingerprint[fingerprint.len() - 8..])
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(super) fn request(&self) -> Request<'static> {
        Request {
            path: None,
            version: "2.0.5".into(),
            architecture: Architecture::X86_64,
            cache_dir: self.path("cache"),
            base_url: self.server.url(),
            signer: Fingerprint::parse(&self.signer.fingerprint()).unwrap(),
            key_urls: vec![format!("{}{KEY_PATH}", self.server.url())],
            key: None,
            standin: None,
            locked_sha256: None,
            progress: &|_, _| {},
        }
    }

    /// A request that would use the stand-in if it might.
    pub(super) fn request_with_standin(&self) -> Request<'static> {
        let standin = self.write("standin", &program("Nomad v2.0.5\n"));
        Request { standin: Some(standin), ..self.request() }
    }

    /// The error of a release that is not good: even a stand-in at hand does not take over.
    fn refusal(&self) -> NomadError {
        let error = obtain(&self.request_with_standin()).unwrap_err();
        let cached = walk(&self.path("cache"));
        assert!(
            cached.iter().all(|name| [".lock", "key.asc"].contains(&name.as_str())),
            "nothing of a refused release is kept: {cached:?}"
        );
        error
    }
}

/// Names of all files below `dir`.
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

/// A URL where nobody listens.
pub(super) fn refused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_good_release_is_got_once() {
    let world = World::new();
    let seen = Mutex::new(vec![]);
    let request = Request { progress: &|done, total| seen.lock().unwrap().push((done, total)), ..world.request() };
    let first = obtain(&request).unwrap();
    assert_eq!(fs::read(&first.path).unwrap(), world.program);
    assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o755);
    let expected = Obtained {
        path: first.path.clone(),
        version: "2.0.5".into(),
        source: NomadSource::Release,
        sha256: Digest::of(&world.program).hex(),
        notes: vec![],
    };
    assert_eq!(first, expected);
    assert!(seen.lock().unwrap().last().is_some_and(|&(done, total)| Some(done) == total && done > 0));

    assert_eq!(world.server.requests(), [SUMS, &world.signature(), KEY_PATH, ZIP]);
    assert_eq!(obtain(&request).unwrap(), first);
    assert_eq!(world.server.requests().len(), 4, "the second time nothing is asked for");
    let offline = Request { base_url: refused_url(), ..world.request() };
    assert_eq!(obtain(&offline).unwrap(), first);
}

#[test]
fn the_other_name_of_the_signature() {
    let world = World::new();
    let sums = format!("{}  nomad_2.0.5_linux_amd64.zip\n", Digest::of(&zip(&[("nomad", &world.program)])));
    world.publish(&zip(&[("nomad", &world.program)]));
    world.server.remove(&world.signature());
    assert!(matches!(world.refusal(), NomadError::Unsigned { .. }));
    world.server.set(&format!("{SUMS}.sig"), Reply::Body(world.signer.sign(sums.as_bytes(), 10)));
    obtain(&world.request()).unwrap();
}

#[test]
fn a_changed_program_in_the_cache_is_got_again() {
    let world = World::new();
    let first = obtain(&world.request()).unwrap();
    fs::write(&first.path, b"something else").unwrap();
    assert_eq!(obtain(&world.request()).unwrap(), first);
    assert_eq!(fs::read(&first.path).unwrap(), world.program);
    assert_eq!(world.server.requests().len(), 4 + 3, "the key is there already");
}

#[test]
fn what_one_key_vouches_for_is_not_used_for_another() {
    let world = World::new();
    obtain(&world.request()).unwrap();
    let other = Signer::new(false);
    let key = world.write("other.asc", other.public().as_bytes());
    world.server.set(&format!("{SUMS}.sig"), Reply::Body(world.signer.sign(b"some checksums", 10)));
    let error = obtain(&Request { key: Some(key), ..world.request() }).unwrap_err();
    assert!(matches!(error, NomadError::OtherKey { .. }), "{error}");
}

#[test]
fn two_at_once_get_it_once() {
    let world = World::new();
    let both: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| obtain(&world.request()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(both.iter().all(|obtained| *obtained == both[0]));
    assert_eq!(fs::read(&both[0].path).unwrap(), world.program);
    assert_eq!(world.server.requests().len(), 4);
}

#[test]
fn an_archive_that_is_not_the_signed_one() {
    let world = World::new();
    world.server.set(ZIP, Reply::Body(zip(&[("nomad", b"something else")])));
    let error = world.refusal();
    assert!(matches!(error, NomadError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains(ZIP), "{error}");
}

#[test]
fn checksums_that_are_not_the_signed_ones() {
    let world = World::new();
    let forged = zip(&[("nomad", b"something else")]);
    world.server.set(ZIP, Reply::Body(forged.clone()));
    world.server.set(SUMS, Reply::Body(format!("{}  nomad_2.0.5_linux_amd64.zip\n", Digest::of(&forged)).into()));
    let error = world.refusal();
    assert!(matches!(error, NomadError::Signature { .. }), "{error}");
    assert!(!world.server.requests().contains(&ZIP.to_owned()), "the archive is not even asked for");
}

#[test]
fn a_signature_by_another_key() {
    let world = World::new();
    let stranger = Signer::new(false);
    world.server.set(&world.signature(), Reply::Body(stranger.sign(b"some checksums", 10)));
    let error = world.refusal().to_string();
    assert!(error.contains(&stranger.fingerprint()) && error.contains(&world.signer.fingerprint()), "{error}");
    assert!(error.contains("--nomad-key"), "{error}");
}

#[test]
fn archives_that_are_cut_short() {
    let world = World::new();
    let whole = zip(&[("nomad", &world.program)]);
    world.publish(&whole);
    world.server.set(ZIP, Reply::Cut(whole.clone(), whole.len() / 2));
    let error = world.refusal();
    assert!(matches!(error, NomadError::Truncated { total: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("is cut short after"), "{error}");

    world.server.set(ZIP, Reply::Body(whole[..whole.len() / 2].to_vec()));
    let error = world.refusal();
    assert!(matches!(error, NomadError::Truncated { total: None, .. }), "{error}");

    // Cut before it was signed.
    world.publish(&whole[..whole.len() / 2]);
    let error = world.refusal();
    assert!(matches!(error, NomadError::Archive { .. }), "{error}");
}

#[test]
fn an_archive_without_the_program() {
    let world = World::new();
    world.publish(&zip(&[("consul", &world.program)]));
    let error = world.refusal();
    assert!(error.to_string().ends_with("has no file \"nomad\" in it: is it the Linux release of Nomad?"), "{error}");
}

#[test]
fn a_version_or_an_architecture_that_does_not_exist() {
    let world = World::new();
    let standin = world.request_with_standin();
    let error = obtain(&Request { version: "2.0.99".into(), ..standin.clone() }).unwrap_err();
    assert!(matches!(error, NomadError::NoSuchVersion { .. }), "{error}");
    assert!(error.to_string().contains("Nomad 2.0.99") && error.to_string().contains("recipe"), "{error}");
    let error = obtain(&Request { architecture: Architecture::Aarch64, ..standin.clone() }).unwrap_err();
    assert!(matches!(error, NomadError::NotListed { .. }), "{error}");
    let error = obtain(&Request { version: "v2/../5".into(), ..standin }).unwrap_err();
    assert!(matches!(error, NomadError::BadVersion(_)), "{error}");
}

#[test]
fn without_a_server_the_stand_in_or_an_error_that_names_the_ways_out() {
    let world = World::new();
    let unreachable = Request { base_url: refused_url(), ..world.request() };
    let error = obtain(&unreachable).unwrap_err().to_string();
    for word in ["2.0.5", "--nomad", "NOMAD", "network", "refused"] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }

    let obtained = obtain(&Request { base_url: refused_url(), ..world.request_with_standin() }).unwrap();
    assert_eq!(obtained.source, NomadSource::StandIn);
    assert_eq!((obtained.path, obtained.version.as_str()), (world.path("standin"), "2.0.5"));
    assert!(obtained.notes[0].contains("STAND-IN") && obtained.notes[0].contains("refused"), "{:?}", obtained.notes);

    for status in [403, 503] {
        world.server.set(SUMS, Reply::Status(status));
        assert_eq!(obtain(&world.request_with_standin()).unwrap().source, NomadSource::StandIn);
        assert!(obtain(&world.request()).unwrap_err().to_string().contains(&status.to_string()));
    }
}

#[test]
fn a_server_that_cannot_show_who_it_is_is_not_a_missing_network() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Open until the client has read that and gone.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let error = obtain(&Request { base_url, ..world.request_with_standin() }).unwrap_err();
    server.join().unwrap();
    assert!(matches!(error, NomadError::Untrusted { .. }), "{error}");
}

#[test]
fn a_file_that_the_user_names_comes_first() {
    let world = World::new();
    let path = world.write("mine", &program("Nomad v1.11.3\n"));
    let obtained = obtain(&Request { path: Some(path.clone()), ..world.request() }).unwrap();
    assert_eq!((obtained.path, obtained.version.as_str(), obtained.source), (path, "1.11.3", NomadSource::Path));

    let archive = world.write("mine.zip", &zip(&[("nomad", &program("Nomad v1.11.2\n"))]));
    let request = Request { path: Some(archive), ..world.request() };
    let first = obtain(&request).unwrap();
    assert_eq!((first.version.as_str(), first.source), ("1.11.2", NomadSource::Path));
    assert_eq!(obtain(&request).unwrap(), first, "from the cache");
    assert!(world.server.requests().is_empty());
}

#[test]
fn files_that_are_no_nomad_are_refused_by_name() {
    let world = World::new();
    let mut foreign = world.program.clone();
    foreign[18] = 183;
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("script", b"#!/bin/sh\n".to_vec(), "neither an ELF program nor a zip"),
        ("foreign", foreign, "a program for aarch64, the image is for x86_64"),
        ("consul", program("Consul v1.2.3\n"), "Consul v1.2.3"),
        ("half.zip", zip(&[("nomad", &world.program)])[..100].to_vec(), "half.zip is damaged or cut short"),
        ("consul.zip", zip(&[("nomad", &program("Consul v1.2.3\n"))]), "Consul v1.2.3"),
    ];
    for (name, bytes, expected) in cases {
        let path = world.write(name, &bytes);
        let error = obtain(&Request { path: Some(path), ..world.request_with_standin() }).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let absent = Request { path: Some(world.path("absent")), ..world.request_with_standin() };
    assert!(obtain(&absent).unwrap_err().to_string().contains("absent"));
}

#[test]
fn a_locked_program_is_that_one_or_none() {
    let world = World::new();
    let digest = Digest::of(&world.program).hex();
    obtain(&Request { locked_sha256: Some(digest.to_uppercase()), ..world.request() }).unwrap();
    let other = Digest::of(b"other").hex();
    let error = obtain(&Request { locked_sha256: Some(other.clone()), ..world.request() }).unwrap_err().to_string();
    assert!(error.contains(&other) && error.contains(&digest) && error.contains("--locked"), "{error}");
}
