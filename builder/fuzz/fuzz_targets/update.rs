//! Update files and what a channel says of them: the bytes as they come, and as the members of an archive whose headers are right.
#![no_main]

use std::sync::LazyLock;

use agent::update::{
    manifest::{MANIFEST, PARTS, SIGNATURE},
    ustar,
};
use builder::{channel, inspect, update};
use builder_fuzz::{Memory, halves};
use libfuzzer_sys::fuzz_target;
use minisign::{KeyPair, SecretKey};

static KEY: LazyLock<SecretKey> = LazyLock::new(|| KeyPair::generate_unencrypted_keypair().unwrap().sk);

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&archive(bytes));
});

fn read(bytes: &[u8]) {
    let _ = channel::of(bytes, "x.update");
    if let Ok(signed) = update::sign(bytes, &KEY) {
        // Signed again it has one signature, as before.
        assert_eq!(update::sign(&signed, &KEY).unwrap().len(), signed.len());
    }
    let file = Memory::new(bytes);
    if let Ok(image) = inspect::Image::read(file.path()) {
        let _ = inspect::text::people(&inspect::Subject { image: Some(image), manifest: None }, 80);
    }
}

/// Pieces of `bytes` as the members of an update file, in their order, as many as there are.
fn archive(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in [MANIFEST, SIGNATURE].into_iter().chain(PARTS) {
        let Some((member, rest)) = halves(bytes) else { break };
        out.extend(ustar::header(name, member.len() as u64).unwrap());
        out.extend(member);
        out.resize(out.len().next_multiple_of(ustar::BLOCK), 0);
        bytes = rest;
    }
    out.resize(out.len() + 2 * ustar::BLOCK, 0);
    out.extend(bytes);
    out
}
