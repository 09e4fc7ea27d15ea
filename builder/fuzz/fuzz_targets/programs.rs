//! Programs: what an ELF file needs, kernel modules, the installer of syslinux, EFI stubs and unified kernel images.
#![no_main]

use builder::{
    architecture::Architecture,
    elf,
    inspect::boot::{self, BootFile},
    modules::{Catalogue, Wanted},
    syslinux::{Installer, install},
    tree::{Origin, Tree},
    uki,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for architecture in Architecture::ALL {
        needs(bytes, architecture);
    }
    module(bytes);
    if let Ok(parts) = Installer::parse(bytes)
        && let Ok(installed) = install(&parts, 5000, "/syslinux")
    {
        assert_eq!(installed.loader.len(), parts.loader.len());
    }
    let _ = BootFile::new("x", bytes);
    let parts = uki::Parts {
        os_release: "ID=x\n",
        cmdline: "quiet",
        uname: "6.1",
        initrd: b"initrd",
        linux: b"linux",
        time: 1,
    };
    if let Ok(image) = uki::assemble(bytes, &parts) {
        let _ = boot::uki(&image);
    }
});

fn needs(bytes: &[u8], architecture: Architecture) {
    let _ = elf::needs("x", bytes, architecture);
    // Whatever is needed is the same file again.
    let _ = elf::closure([("x", bytes)], architecture, |name| (name.len() < 20).then_some(bytes));
}

fn module(bytes: &[u8]) {
    let mut tree = Tree::new();
    for name in ["kernel/a-b.ko", "kernel/c.ko"] {
        tree.file(&format!("usr/lib/modules/6.1/{name}"), 0o644, bytes, Origin::Builder);
    }
    for name in ["kernel/d.ko.xz", "kernel/e.ko.zst", "modules.builtin"] {
        tree.file(&format!("usr/lib/modules/6.1/{name}"), 0o644, bytes, Origin::Builder);
    }
    let catalogue = Catalogue::new(&tree, "6.1");
    let words = ["?a-b", "c", "d", "e"].map(str::to_owned);
    for word in &words {
        let _ = catalogue.resolve(std::slice::from_ref(word), &[]);
    }
    let wanted = Wanted {
        always: vec!["c".to_owned()],
        devices: vec!["a_b".to_owned()],
        asked: [("c".to_owned(), vec!["a_b".to_owned()])].into(),
        buses: [("pci".to_owned(), "c".to_owned())].into(),
        only: [("a_b".to_owned(), vec!["pci:*".to_owned()])].into(),
    };
    if let Ok(selection) = catalogue.select(&wanted, &[]) {
        let _ = selection.drivers_text();
    }
}
