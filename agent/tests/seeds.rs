//! Labels of file systems made by the tools that people make seeds with.
//!
//! Needs `mkfs.vfat`, `mlabel` and `xorriso`, and for all of it `genisoimage` and `mkudffs` (udftools): `cargo test -p agent --test seeds -- --ignored`.

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

/// Whether a program that `make test` does not install is there; says so when it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-version").output().is_ok();
    if !found {
        eprintln!("passed over: no {program}");
    }
    found
}

/// As the provisioning media of Azure are: both file systems on one disc.
#[test]
#[ignore = "needs genisoimage"]
fn a_disc_that_is_iso9660_and_udf() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ovf-env.xml"), "<Environment/>").unwrap();
    let image = dir.path().join("both.iso").display().to_string();
    if has("genisoimage") {
        run("genisoimage", &["-quiet", "-udf", "-o", &image, "-V", "rd_rdfe_stable"], &dir.path().join("ovf-env.xml"));
        let found = superblock(Path::new(&image));
        assert!(found.kind == FileSystem::Iso9660 && found.udf && found.is_labelled("rd_rdfe_stable"), "{found:?}");
    }
}

#[test]
#[ignore = "needs mkudffs"]
fn udf_of_every_revision() {
    let dir = tempfile::tempdir().unwrap();
    for revision in ["1.02", "1.50", "2.00", "2.01"] {
        let path = dir.path().join(revision);
        File::create(&path).unwrap().set_len(8 << 20).unwrap();
        if has("mkudffs") {
            // As a medium of 2048 bytes a block, which is what clouds attach.
            run("mkudffs", &["--media-type=hd", "--blocksize=2048", "--udfrev", revision, "-l", "azure"], &path);
            let found = superblock(&path);
            assert!(found.kind == FileSystem::Udf && found.udf, "{revision}: {found:?}");
        }
    }
}
