//! File systems and archives of files: FAT, squashfs, initramfs, hash trees of dm-verity.
#![no_main]

use builder::{
    inspect::{boot, files, verity as stored},
    verity,
};
use builder_fuzz::halves;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(boot::Boot { files: found, .. }) = boot::read(bytes) {
        assert!(found.iter().map(|file| file.size).sum::<u64>() <= bytes.len() as u64);
    }
    let _ = files::squashfs_size(bytes);
    let _ = files::root(bytes.to_vec());
    let _ = files::initramfs(bytes);
    if let Some((tree, data)) = halves(bytes)
        && let Some(superblock) = stored::superblock(tree)
    {
        let found = superblock.check(data, tree);
        let salt = tree[88..].iter().take(found.salt.len() / 2).copied().collect();
        let made = verity::tree(data, &verity::Parameters { salt, uuid: Default::default() });
        assert_eq!(found.root_hash, made.root_hash);
    }
});
