//! Debian packages: the bytes as they come, and as the `data.tar` of one; and the time zones in what is unpacked.
#![no_main]

use builder::{deb::Deb, zoneinfo};
use builder_fuzz::Memory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&with_data("data.tar", bytes));
    read(&with_data("data.tar.xz", bytes));
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

/// A package with this member behind its first.
fn with_data(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [("debian-binary", &b"2.0\n"[..]), (name, data)] {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 1, 0, 0, 100_644, data.len()).bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
