//! Debian packages: the bytes as they come, and as the `control.tar` or `data.tar` of one; and the time zones in what is unpacked.
#![no_main]

use builder::{deb::Deb, zoneinfo};
use builder_fuzz::Memory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&with(&[("control.tar", bytes), ("data.tar", b"")]));
    read(&with(&[("control.tar.xz", bytes), ("data.tar", b"")]));
    read(&with(&[("control.tar", &control()), ("data.tar", bytes)]));
    read(&with(&[("control.tar", &control()), ("data.tar.xz", bytes)]));
});

fn read(bytes: &[u8]) {
    let file = Memory::new(bytes);
    let Ok(deb) = Deb::read(file.path(), "p", "1", &|_| true) else { return };
    for (path, _) in deb.tree.iter() {
        assert!(!path.split('/').any(|part| part == ".." || part == "."), "{path}");
        let _ = deb.tree.follow(path);
    }
    assert_eq!(
        deb.tree.list().len(),
        deb.tree.iter().filter(|(_, e)| e.node != builder::tree::Node::Directory).count()
    );
    let _ = zoneinfo::zip(&deb.tree);
}

/// The `control.tar` of the package that is asked for.
fn control() -> Vec<u8> {
    let text = b"Package: p\nVersion: 1\n";
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"./control");
    put(124, format!("{:011o}", text.len()).as_bytes());
    put(148, &[b' '; 8]);
    put(156, b"0ustar");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header[..], text].concat();
    tar.resize(2048, 0);
    tar
}

/// A package with these members behind its first.
fn with(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [("debian-binary", &b"2.0\n"[..])].iter().chain(members) {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 1, 0, 0, 100_644, data.len()).bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
