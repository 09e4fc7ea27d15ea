//! Tests of [`super::trust`], against the server of [`super::tests`].

use std::fs;

use agent::facts::NomadSource;

use super::{
    KEY_OF_MIRROR as KEY_PATH, NomadError, Request,
    fixture::{Reply, Signer},
    obtain,
    tests::{SUMS, World, refused_url},
};

impl World {
    fn publish_key(&self, signer: &Signer) {
        self.server.set(KEY_PATH, Reply::Body(signer.public().into_bytes()));
    }

    /// How often the key was asked for.
    fn key_requests(&self) -> usize {
        self.server.requests().iter().filter(|path| *path == KEY_PATH).count()
    }

    /// Where the key is kept.
    fn kept_key(&self) -> std::path::PathBuf {
        self.path("cache").join("nomad").join(self.signer.fingerprint()).join("key.asc")
    }

    /// Removes programs from the cache, so that the next one has to be verified.
    fn forget_programs(&self) {
        for entry in fs::read_dir(self.kept_key().parent().unwrap()).unwrap().map(Result::unwrap) {
            if entry.path() != self.kept_key() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

#[test]
fn the_key_is_fetched_once() {
    let world = World::new();
    obtain(&world.request()).unwrap();
    world.forget_programs();
    world.server.remove(KEY_PATH);
    obtain(&world.request()).unwrap();
    assert_eq!(world.key_requests(), 1);

    world.publish_key(&world.signer);
    world.forget_programs();
    fs::write(world.kept_key(), "damaged").unwrap();
    obtain(&world.request()).unwrap();
    assert_eq!(world.key_requests(), 2);
}

#[test]
fn a_key_with_another_fingerprint_is_refused() {
    let world = World::new();
    let other = Signer::new(true);
    world.publish_key(&other);
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::KeyFingerprint { .. }), "{error}");
    for word in [&world.signer.fingerprint(), &other.fingerprint(), KEY_PATH, "--nomad-key"] {
        assert!(error.to_string().contains(word), "{word} is missing in: {error}");
    }
    assert!(!world.kept_key().exists());

    world.server.set(KEY_PATH, Reply::Body(b"<html>no key</html>".to_vec()));
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::Key { .. }) && error.to_string().contains(KEY_PATH), "{error}");
}

#[test]
fn without_a_key_a_release_that_is_there_is_not_replaced() {
    let world = World::new();
    let standin = world.request_with_standin();
    for reply in [Reply::Status(404), Reply::Status(503)] {
        world.server.set(KEY_PATH, reply);
        let error = obtain(&standin).unwrap_err();
        assert!(matches!(error, NomadError::KeyUnavailable { .. }), "{error}");
    }
    let nowhere = refused_url();
    let key_urls = vec![nowhere.clone()];
    let error = obtain(&Request { key_urls: key_urls.clone(), ..standin.clone() }).unwrap_err();
    assert!(matches!(error, NomadError::KeyUnavailable { .. }), "{error}");
    for word in [&nowhere, &world.signer.fingerprint(), "refused", "--nomad-key", "NOMAD"] {
        assert!(error.to_string().contains(word), "{word} is missing in: {error}");
    }

    // Only when neither is to be had.
    let offline = Request { base_url: nowhere, key_urls, ..standin };
    assert_eq!(obtain(&offline).unwrap().source, NomadSource::StandIn);
}

#[test]
fn a_mirror_need_not_have_the_key() {
    let world = World::new();
    let [mut first, second] = [(); 2].map(|()| world.request().key_urls.remove(0));
    first.push_str(".absent");
    obtain(&Request { key_urls: vec![first, second], ..world.request() }).unwrap();
}

#[test]
fn a_named_key_counts_whatever_is_pinned() {
    let world = World::new();
    let mine = Signer::new(false);
    let sums = String::from_utf8(world.sums()).unwrap();
    world.server.set(&format!("{SUMS}.sig"), Reply::Body(mine.sign(sums.as_bytes(), 10)));
    let key = Some(world.write("mine.asc", mine.public().as_bytes()));
    obtain(&Request { key, ..world.request() }).unwrap();
    assert_eq!(world.key_requests(), 0);
}

#[test]
fn a_renewed_key_is_fetched_once_more() {
    let world = World::new();
    let old = world.signer.clone().ending_after(5);
    world.publish_key(&old);
    // The release was signed ten seconds after the key was made.
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::NotValidThen { .. }), "{error}");
    assert_eq!(world.key_requests(), 1, "a copy that was just fetched is not asked for again");

    world.server.remove(KEY_PATH);
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::NotValidThen { .. }), "{error}");

    world.publish_key(&world.signer);
    obtain(&world.request()).unwrap();
    assert_eq!(world.key_requests(), 3);
    world.forget_programs();
    obtain(&world.request()).unwrap();
    assert_eq!(world.key_requests(), 3, "the renewed copy was kept");
}

#[test]
fn a_forged_signature_fetches_no_key() {
    let world = World::new();
    obtain(&world.request()).unwrap();
    world.forget_programs();
    world.server.set(&world.signature(), Reply::Body(world.signer.sign(b"other checksums", 10)));
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::Signature { .. }), "{error}");
    assert_eq!(world.key_requests(), 1);
}

#[test]
fn an_old_copy_takes_no_revocation_back() {
    let world = World::new();
    world.publish_key(&world.signer.clone().revoked());
    for _ in 0..2 {
        let error = obtain(&world.request_with_standin()).unwrap_err();
        assert!(matches!(error, NomadError::KeyRevoked { .. }), "{error}");
        world.publish_key(&world.signer);
    }
    assert_eq!(world.key_requests(), 1);

    // The cached copy revokes the subkey that signed; a copy from before that does not bring it back.
    let world = World::new();
    world.publish_key(&world.signer.clone().subkey_revoked());
    obtain(&world.request_with_standin()).unwrap_err();
    world.publish_key(&world.signer);
    let error = obtain(&world.request_with_standin()).unwrap_err();
    assert!(matches!(error, NomadError::OtherKey { .. }), "{error}");
    assert_eq!(world.key_requests(), 2);
}
