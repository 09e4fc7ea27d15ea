//! Update files: archive headers, the manifest, signatures, channel files, and what is remembered of an update and of a turn.
#![no_main]

use agent::update::{
    channel::Channel, manifest::Manifest, record::Record, signature, turn::Turn, ustar, version::Version,
};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fuzz_target!(|bytes: &[u8]| {
    if let Some(block) = bytes.first_chunk() {
        let _ = ustar::parse(block);
    }
    let mut archive = ustar::Archive::new(bytes);
    while let Ok(Some(header)) = archive.next_header() {
        if archive.member(header.size, |_| Ok::<(), ustar::UstarError>(())).is_err() {
            break;
        }
    }
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(Manifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
    }
    if let Ok(channel) = Channel::parse(bytes) {
        assert_eq!(Channel::parse(channel.to_json().as_bytes()).unwrap(), channel);
        let _ = channel.url(&channel.architecture);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = signature::verify(KEY, b"text", text);
        let _ = Record::parse(text);
        if let Some(turn) = Turn::parse(text) {
            assert_eq!(Turn::parse(&turn.to_string()), Some(turn));
        }
        let _ = text.parse::<Version>();
    }
});
