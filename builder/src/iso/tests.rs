use super::*;
use crate::fixture;

fn parts<'a>(initrd: &'a [u8], linux: &'a [u8]) -> uki::Parts<'a> {
    uki::Parts { os_release: "ID=steppe\n", cmdline: "console=x", uname: "6.1", initrd, linux, time: 42 }
}

#[test]
fn kernel_and_initramfs_are_there_once_for_both() {
    let isolinux = Isolinux { loader: &[0x11; 3001], module: &[0x22; 500], mbr: &[0x33; 432] };
    let linux: Vec<u8> = (0..9_000u32).map(|n| u8::try_from(n % 241).unwrap()).collect();
    // Lengths for which the sections would begin anywhere.
    for length in [1, 2047, 5000, 700_001] {
        let initrd: Vec<u8> = (0..length).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
        let system = System {
            architecture: Architecture::X86_64,
            stub: &fixture::stub(),
            parts: parts(&initrd, &linux),
            isolinux: Some(isolinux),
            id: 7,
        };
        let image = build(&system).unwrap();
        assert!(image == build(&system).unwrap(), "the same input must give the same bytes");
        assert!(image.len() < 38 << 20);
        let kernels = image.windows(linux.len()).step_by(512).filter(|bytes| *bytes == linux).count();
        assert_eq!(kernels, 1);
    }
}

#[test]
fn the_boot_information_is_where_the_files_are() {
    let isolinux = Isolinux { loader: &[0x11; 3001], module: &[0x22; 500], mbr: &[0x33; 432] };
    let system = System {
        architecture: Architecture::X86_64,
        stub: &fixture::stub(),
        parts: parts(&[1; 5000], &[2; 9000]),
        isolinux: Some(isolinux),
        id: 7,
    };
    let image = build(&system).unwrap();
    let le = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let sector = |number: u32| usize::try_from(number).unwrap() * SECTOR;
    let catalogue = sector(le(17 * SECTOR + 71));
    let words: u16 = image[catalogue..catalogue + 32]
        .chunks_exact(2)
        .fold(0, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    assert_eq!((words, image[catalogue + 30], image[catalogue + 31]), (0, 0x55, 0xaa));
    let loader = le(catalogue + 32 + 8);
    assert_eq!(image[sector(loader)..][..8], [0x11; 8]);
    // Its own place, in itself and in the code for a stick.
    assert_eq!((le(sector(loader) + 12), le(sector(loader) + 16), le(432)), (loader, 3001, loader * 4));
    let efi = le(catalogue + 96 + 8);
    assert_eq!(&image[sector(efi) + 82..][..5], b"FAT32");
    assert_eq!((image[446 + 16 + 4], le(446 + 16 + 8)), (0xef, efi * 4));

    // By UEFI alone there is no other entry, and no code.
    let image = build(&System { isolinux: None, ..system }).unwrap();
    let le = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let catalogue = sector(le(17 * SECTOR + 71));
    assert_eq!((image[catalogue + 1], image[catalogue + 64]), (0xef, 0));
    assert_eq!(&image[sector(le(catalogue + 40)) + 82..][..5], b"FAT32");
    assert!(image[..440].iter().all(|byte| *byte == 0));
}

#[test]
fn programs_of_another_shape_are_named() {
    let isolinux = Isolinux { loader: &[0x11; 30], module: &[], mbr: &[0x33; 432] };
    let system = System {
        architecture: Architecture::X86_64,
        stub: &fixture::stub(),
        parts: parts(&[1], &[2]),
        isolinux: Some(isolinux),
        id: 7,
    };
    assert!(build(&system).unwrap_err().to_string().contains("isolinux.bin"));
    let isolinux = Isolinux { loader: &[0x11; 300], module: &[], mbr: &[0x33; 433] };
    let error = build(&System { isolinux: Some(isolinux), ..system }).unwrap_err().to_string();
    assert!(error.contains("isohdpfx.bin") && error.contains("lock another version"), "{error}");
}
