//! The writer of FAT volumes: any names become a volume that another author's reader agrees with, or are refused.
#![no_main]

use builder::{
    fat::{File, Identity, Volume},
    inspect::boot,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let files: Vec<File<'_>> = text.lines().take(60).map(|path| File::new(path, path.as_bytes())).collect();
    let Ok(volume) = Volume::make(35 << 20, Identity { label: *b"FUZZ       ", id: 7 }, &files) else { return };
    let (found, _) = boot::read(volume.bytes).unwrap();
    let mut wanted: Vec<&str> = files.iter().map(|file| file.path).collect();
    wanted.sort_unstable();
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), wanted);
    assert!(found.iter().all(|file| file.size == file.path.len() as u64));
});
