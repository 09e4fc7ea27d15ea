//! Labels of file systems made by the tools that people make seeds with.
//!
//! Needs `mkfs.vfat`, `mlabel` and `xorriso`: `cargo test -p agent --test seeds -- --ignored`.

use std::{fs::File, path::Path, process::Command};

use agent::node::datasource::superblock::{self, FileSystem, Superblock};

fn run(program: &str, args: &[&str], path: &Path) {
    let output = Command::new(program).args(args).arg(path).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn superblock(path: &Path) -> Superblock {
    superblock::read(&mut File::open(path).unwrap()).unwrap().expect("a file system")
}

#[test]
#[ignore = "needs mkfs.vfat"]
fn vfat_of_every_width() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, size) in [("12", 1 << 20), ("16", 20 << 20), ("32", 80 << 20)] {
        let path = dir.path().join(bits);
        File::create(&path).unwrap().set_len(size).unwrap();
        run("mkfs.vfat", &["-F", bits, "-n", "CIDATA"], &path);
        let found = superblock(&path);
        assert!(found.kind == FileSystem::Vfat && found.is_labelled("cidata"), "FAT{bits}: {found:?}");
    }
}

#[test]
#[ignore = "needs mkfs.vfat and mlabel"]
fn a_label_that_only_the_root_directory_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(80 << 20).unwrap();
    run("mkfs.vfat", &["-F", "32"], &path);
    let image = path.display().to_string();
    run("mlabel", &["-i", &image], Path::new("::CIDATA"));
    assert!(superblock(&path).is_labelled("cidata"), "{:?}", superblock(&path));
}

#[test]
#[ignore = "needs xorriso"]
fn iso9660_as_genisoimage_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("user-data"), "#cloud-config\n").unwrap();
    let image = dir.path().join("seed.iso").display().to_string();
    run(
        "xorriso",
        &["-as", "genisoimage", "-quiet", "-o", &image, "-V", "cidata", "-J", "-R"],
        &dir.path().join("user-data"),
    );
    let found = superblock(Path::new(&image));
    assert!(found.kind == FileSystem::Iso9660 && found.is_labelled("CIDATA"), "{found:?}");
}
