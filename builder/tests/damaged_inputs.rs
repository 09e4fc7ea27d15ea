//! Whatever is in a file that the builder reads, it ends with a result or with an error that names the file.

mod common;

use std::{fs, sync::Arc};

use builder::{
    channel,
    deb::Deb,
    embedded, initramfs,
    inspect::{Image, Subject, text},
    lock::Lock,
    modules::{Catalogue, ModuleLists},
    recipe::{Profile, Recipe},
    squashfs,
    tree::{Origin, Tree},
    uki, update, verity,
};
use common::fixture::{self, Member};
use proptest::{prelude::*, sample::Index};

/// Any bytes, or those of `whole` with a stretch of them replaced; a stretch to the end is a file that was cut short.
fn damaged(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let stretch = (any::<Index>(), prop_oneof![4 => 0..12_usize, 1 => Just(usize::MAX)], bytes(12));
    let replaced = stretch.prop_map(move |(start, length, with)| {
        let start = start.index(whole.len());
        let end = start.saturating_add(length).min(whole.len());
        [&whole[..start], &with, &whole[end..]].concat()
    });
    prop_oneof![1 => bytes(300), 6 => replaced]
}

fn damaged_text(whole: &str) -> impl Strategy<Value = String> + use<> {
    // Damage in the first lines, too: most of a lock file is the same again and again.
    let words =
        prop::sample::select(vec!["=", "[", "]]", "\"", "\n", "name", "extends = \"base\"", "-1", "1e9", "\u{0}"]);
    let whole = whole.to_owned();
    let length = whole.len();
    let inserted = (0..length, words).prop_map(move |(at, word)| {
        let at = whole.floor_char_boundary(at);
        format!("{}{word}{}", &whole[..at], &whole[at..])
    });
    prop_oneof![inserted, any::<String>()]
}

fn server() -> String {
    embedded::recipe("server").unwrap().to_owned()
}

fn lock() -> String {
    embedded::lock(Profile::Cloud).1[..2000].to_owned()
}

fn package(compression: &str) -> Vec<u8> {
    let members = [
        Member::File("usr/bin/tool", 0o755, b"tool"),
        Member::HardLink("usr/bin/again", "usr/bin/tool"),
        Member::Symlink("usr/lib/x.so", "x.so.1"),
        Member::File("usr/share/doc/p/copyright", 0o644, b"Format: x\nLicense: MIT\n"),
    ];
    fixture::deb(compression, 1_700_000_000, &members)
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.file("usr/bin/tool", 0o755, b"tool".repeat(900), Origin::Agent);
    tree.symlink("bin", "usr/bin", Origin::Builder);
    tree
}

fn root() -> Vec<u8> {
    let mut root = squashfs::write(&tree(), &squashfs::Options { level: 1, block: 4096, time: 1 }, []).unwrap();
    root.resize(root.len().next_multiple_of(verity::BLOCK), 0);
    root
}

fn unified() -> Vec<u8> {
    let initrd = [initramfs::pack(&tree(), 1, 1).unwrap(), initramfs::embed_root(&root(), 1).unwrap()].concat();
    let linux = [&[0; 0x202][..], b"HdrS", &[0; 8], &[0x30, 0], &[0; 0x20], b"6.1-x ab\0"].concat();
    let parts =
        uki::Parts { os_release: "ID=x\n", cmdline: "quiet", uname: "6.1", initrd: &initrd, linux: &linux, time: 1 };
    uki::assemble(&fixture::stub(), &parts).unwrap()
}

fn update_file() -> Vec<u8> {
    let (image, root) = (unified(), root());
    let hashes = verity::tree(&root, &verity::Parameters::of(&root));
    let parts: update::Parts<'_> = [&image, b"vmlinuz", b"initrd", &root, &hashes.bytes];
    let manifest = common::update_manifest(&hashes, &parts);
    update::build(&manifest, &parts).unwrap()
}

/// A medium whose partition for UEFI has a volume with a unified kernel image.
fn medium() -> Vec<u8> {
    let image = unified();
    let mut volume = std::io::Cursor::new(vec![0; (64 << 10) + image.len().next_multiple_of(512)]);
    fatfs::format_volume(&mut volume, fatfs::FormatVolumeOptions::new()).unwrap();
    let fs = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new()).unwrap();
    std::io::Write::write_all(&mut fs.root_dir().create_file("BOOTX64.EFI").unwrap(), &image).unwrap();
    drop(fs);
    let volume = volume.into_inner();
    let mut medium = vec![0; 34 << 10];
    medium[446 + 4] = 0xef;
    medium[446 + 8..][..4].copy_from_slice(&68u32.to_le_bytes());
    medium[446 + 12..][..4].copy_from_slice(&u32::try_from(volume.len() / 512).unwrap().to_le_bytes());
    medium[(32 << 10) + 1..][..5].copy_from_slice(b"CD001");
    medium.extend(volume);
    medium
}

/// What is said of the image in these bytes; whether it is whole.
fn inspected(bytes: &[u8]) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, bytes).unwrap();
    let image = Image::read(&path).ok()?;
    let whole = image.wrong.is_empty();
    let subject = Subject { image: Some(image), manifest: None };
    let _ = (text::people(&subject, 80), text::json(&subject));
    Some(whole)
}

#[test]
fn images_that_are_whole_are_so() {
    for image in [unified(), update_file(), medium(), root()] {
        assert_eq!(inspected(&image), Some(true));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn images(
        bytes in prop::sample::select(vec![unified(), update_file(), medium(), root()]).prop_flat_map(damaged),
        update in damaged(update_file()),
    ) {
        let _ = inspected(&bytes);
        // What is not signed is offered to nobody, whatever else is wrong with it.
        prop_assert!(channel::of(&update, "x.update").is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn recipes(bytes in damaged(server().into_bytes()), text in damaged_text(&server())) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        fs::write(&path, bytes).unwrap();
        if let Err(error) = Recipe::read(&path, None) {
            prop_assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        if let Err(error) = Recipe::parse("mine.toml", &text, None, &mut |_| None) {
            prop_assert!(error.to_string().starts_with("mine.toml:"), "{error}");
        }
    }

    #[test]
    fn locks_and_module_lists(lock in damaged_text(&lock()), list in damaged_text("initramfs = [\"a\"]\nroot = [\"b\"]\n")) {
        if let Err(error) = Lock::parse("mine.lock", &lock) {
            prop_assert!(error.to_string().starts_with("mine.lock:"), "{error}");
        }
        if let Err(error) = ModuleLists::parse("modules.toml", &list) {
            prop_assert!(error.to_string().starts_with("modules.toml:"), "{error}");
        }
    }

    #[test]
    fn packages(
        bytes in prop::sample::select(vec!["", ".gz", ".xz", ".zst"]).prop_flat_map(|kind| damaged(package(kind))),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.deb");
        fs::write(&path, bytes).unwrap();
        if let Err(error) = Deb::read(&path, "p", "1", &|_| true) {
            prop_assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn kernel_modules(
        plain in damaged(fixture::kernel_module("license=GPL\0depends=\0softdep=pre: x post: y\0")),
        stored in damaged(fixture::xz(&fixture::kernel_module("depends=\0"))),
    ) {
        for (suffix, bytes) in [("", plain), (".xz", stored)] {
            let mut tree = Tree::new();
            let bytes: Arc<[u8]> = bytes.into();
            tree.file(&format!("usr/lib/modules/6.1/kernel/some_driver.ko{suffix}"), 0o644, bytes, Origin::Builder);
            if let Err(error) = Catalogue::new(&tree, "6.1").resolve(&["some_driver".to_owned()], &[]) {
                prop_assert!(error.to_string().contains("some_driver"), "{error}");
            }
        }
    }
}
