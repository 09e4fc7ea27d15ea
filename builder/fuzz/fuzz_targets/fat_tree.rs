//! The writer of FAT volumes: any names become a volume that our reader agrees with, or are refused.
#![no_main]

use builder::{
    fat::{File, Identity, Volume},
    inspect::boot,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let files: Vec<File<'_>> = text.lines().take(60).map(|path| File::new(path, path.as_bytes())).collect();
    let Ok(volume) = Volume::make(35 << 20, Identity { label: *b"FUZZ       ", id: 7 }, &files) else { return };
    let found = boot::read(&volume.bytes).unwrap().files;
    // A directory is spelled as it was the first time.
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let wanted = sorted(files.iter().map(|file| file.path.to_ascii_lowercase()).collect());
    assert_eq!(sorted(found.iter().map(|file| file.path.to_ascii_lowercase()).collect()), wanted);
    assert!(found.iter().all(|file| file.size == file.path.len() as u64));
});
