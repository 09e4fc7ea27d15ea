//! Files of a build that are no medium: unified kernel images, kernels, initramfs, roots, and the script for a start over the
//! network with what it names.

use std::{fs, io};

use super::{
    Image,
    boot::{self, BootFile},
    files, parts, verity,
};

/// A unified kernel image, or a kernel.
pub(super) fn program(image: &mut Image, bytes: &[u8]) {
    image.boot = vec![BootFile::new("unified kernel image", bytes)];
    image.format = if image.boot[0].uki.is_some() { "uki" } else { "kernel" };
    if image.format == "kernel" {
        "kernel".clone_into(&mut image.boot[0].path);
        if image.boot[0].version.is_none() {
            image.wrong.push("it is neither a unified kernel image nor a kernel".to_owned());
        }
    }
    if image.format == "uki" {
        image.take_system(boot::initrd(bytes));
    }
}

/// An initramfs, with a root in it or not.
pub(super) fn initramfs(image: &mut Image, bytes: &[u8]) {
    image.format = "initramfs";
    image.take_system(bytes);
}

/// A root.
pub(super) fn squashfs(image: &mut Image, bytes: Vec<u8>) {
    image.format = "squashfs";
    let used = bytes.len() as u64;
    image.root_hash = Some(verity::root_hash(&bytes));
    match files::root(bytes) {
        Ok(root) => {
            let nothing = files::Initramfs::default();
            image.parts =
                parts::of(&parts::Stored { boot: &[], initramfs: &nothing, root: (&root.stored, used), tree: 0 });
            (image.files, image.facts) = (root.files, root.facts);
        }
        Err(error) => image.wrong.push(format!("root: {error}")),
    }
}

/// An iPXE script as the builder writes it. What it names stands beside it.
///
/// # Errors
/// When it names nothing, or what it names cannot be read.
pub(super) fn script(image: &mut Image, text: &[u8]) -> io::Result<()> {
    image.format = "ipxe";
    let text = String::from_utf8_lossy(text);
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let line = |command: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(command)?.strip_prefix(' '));
        line.map(str::trim).ok_or_else(|| wrong(&format!("the script has no line {command:?}")))
    };
    let (kernel, words) = line("kernel")?.split_once(' ').unwrap_or((line("kernel")?, ""));
    let folder = image.path.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let beside = |name: &str| {
        let plain = !name.is_empty() && !name.contains(['/', ':']);
        let path = folder.join(name);
        if !plain {
            return Err(wrong(&format!("the script names {name:?}, which is not a file beside it")));
        }
        let fail = |why: io::Error| io::Error::new(why.kind(), format!("the script names {name:?}: {why}"));
        if fs::metadata(&path).map_err(fail)?.len() > 1 << 30 {
            return Err(wrong(&format!("the script names {name:?}, which is larger than any initramfs")));
        }
        fs::read(&path).map_err(fail)
    };
    let initramfs = beside(line("initrd")?)?;
    image.boot = vec![BootFile::new("kernel", &beside(kernel)?)];
    let words: Vec<&str> = words.split_whitespace().filter(|word| !word.starts_with("initrd=")).collect();
    image.arguments = Some(words.join(" "));
    image.take_system(&initramfs);
    Ok(())
}
