//! qcow2 images against two referees: a reader written here from the specification, and `qemu-img`.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use builder::qcow2::{Compression, Options, Qcow2Error, write};
use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Zlib, Compression::Zstd];

/// Reads an image to its end, and checks on the way that every cluster of the file is counted as often as it is used.
struct Reader {
    bytes: Vec<u8>,
    bits: u32,
    zstd: bool,
    used: Vec<u16>,
}

impl Reader {
    fn read(path: &Path) -> Vec<u8> {
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes[..8], *b"QFI\xfb\0\0\0\x03");
        let be32 = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let be64 = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let (bits, size) = (be32(20), usize::try_from(be64(24)).unwrap());
        let (l1_entries, l1_at) = (be32(36), be64(40));
        let (table_at, table_clusters, features) = (be64(48), be32(56), be64(72));
        assert_eq!((be32(96), be32(100)), (4, 112), "16-bit counts, length of the header");
        assert_eq!((features, bytes[104]), if bytes[104] == 1 { (8, 1) } else { (0, 0) });
        let clusters = bytes.len() >> bits;
        assert_eq!(clusters << bits, bytes.len(), "whole clusters");
        let mut reader = Self { zstd: bytes[104] == 1, used: vec![0; clusters], bytes, bits };

        reader.mark(0, 1);
        reader.mark(l1_at, u64::from(l1_entries) * 8);
        let mut disk = Vec::new();
        for l2_at in reader.words(l1_at, l1_entries as usize) {
            let entries = 1usize << (bits - 3);
            let l2 = if l2_at == 0 { vec![0; entries] } else { reader.words(reader.copied(l2_at), entries) };
            if l2_at != 0 {
                reader.mark(reader.copied(l2_at), 1);
            }
            for entry in l2.into_iter().take((size - disk.len().min(size)).div_ceil(1 << bits)) {
                let data = reader.data(entry);
                disk.extend(data);
            }
        }
        assert!(disk.len() >= size && disk[size..].iter().all(|&byte| byte == 0));
        disk.truncate(size);

        reader.mark(table_at, u64::from(table_clusters) << bits);
        let blocks = reader.words(table_at, (table_clusters as usize) << (bits - 3));
        let mut counts = Vec::new();
        for block in blocks.into_iter().filter(|&block| block != 0) {
            reader.mark(block, 1);
            let at = usize::try_from(block).unwrap();
            let block = &reader.bytes[at..at + (1 << bits)];
            counts.extend(block.chunks_exact(2).map(|count| u16::from_be_bytes([count[0], count[1]])));
        }
        assert!(counts.split_off(clusters).iter().all(|&count| count == 0), "counts behind the end");
        assert_eq!(counts, reader.used);
        disk
    }

    fn words(&self, at: u64, count: usize) -> Vec<u64> {
        let at = usize::try_from(at).unwrap();
        self.bytes[at..at + count * 8].chunks_exact(8).map(|w| u64::from_be_bytes(w.try_into().unwrap())).collect()
    }

    fn copied(&self, entry: u64) -> u64 {
        assert_eq!(entry >> 62, 0b10, "{entry:#x}");
        let at = entry & !(1 << 63);
        assert_eq!(at % (1 << self.bits), 0, "{entry:#x}");
        at
    }

    fn mark(&mut self, at: u64, length: u64) {
        for cluster in at >> self.bits..=(at + length - 1) >> self.bits {
            self.used[usize::try_from(cluster).unwrap()] += 1;
        }
    }

    fn data(&mut self, entry: u64) -> Vec<u8> {
        let length = 1usize << self.bits;
        if entry == 0 {
            return vec![0; length];
        }
        if entry & 1 << 62 == 0 {
            let at = self.copied(entry);
            self.mark(at, 1);
            let at = usize::try_from(at).unwrap();
            return self.bytes[at..at + length].to_vec();
        }
        assert_eq!(entry >> 63, 0, "compressed and marked as the only user");
        let shift = 62 - (self.bits - 8);
        let at = entry & ((1 << shift) - 1);
        let end = (at / 512 + 1 + ((entry & !(1 << 62)) >> shift)) * 512;
        self.mark(at, end - at);
        let stored = &self.bytes[usize::try_from(at).unwrap()..usize::try_from(end).unwrap()];
        let mut out = Vec::with_capacity(length);
        if self.zstd {
            // What follows the frame in its last sector belongs to others.
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).unwrap().single_frame();
            std::io::copy(&mut decoder, &mut out).unwrap();
        } else {
            let mut stream = Decompress::new_with_window_bits(false, 12);
            stream.decompress_vec(stored, &mut out, FlushDecompress::Finish).unwrap();
        }
        assert_eq!(out.len(), length);
        out
    }
}

/// Writes `raw` in every way and has the reader read it.
fn check(raw: &Path, cluster_bits: u32) {
    let mut expected = fs::read(raw).unwrap();
    expected.resize(expected.len().next_multiple_of(512), 0);
    for compression in COMPRESSIONS {
        let out = raw.with_extension("qcow2");
        write(raw, &out, Options { compression, cluster_bits }).unwrap();
        assert!(Reader::read(&out) == expected, "{compression:?}");
    }
}

/// Has `qemu-img` check the image `out` and compare it with `raw`.
fn ask_qemu(raw: &Path, out: &Path) {
    let run = |arguments: &[&str]| {
        let output = Command::new("qemu-img").args(arguments).arg(out).output().expect("qemu-img must be installed");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "qemu-img {arguments:?}: {text}");
        text.into_owned()
    };
    let text = run(&["check", "-f", "qcow2"]);
    assert!(text.contains("No errors were found"), "{text}");
    // Another size would be a line more.
    assert_eq!(run(&["compare", "-f", "raw", "-F", "qcow2", raw.to_str().unwrap()]), "Images are identical.\n");
}

/// What is where on a disk.
type Pieces = Vec<(u64, Vec<u8>)>;

/// Bytes without a pattern, always the same.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

#[test]
fn qemu_reads_disks_of_all_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"all work and no play makes jack a dull boy\n".repeat(5000);
    let long_text: Vec<u8> = (0..20_000u32).flat_map(|n| format!("line {n} of some text\n").into_bytes()).collect();
    // Sizes around the cluster, and beyond one L2 table, which spans 512 MiB.
    let disks: [(&str, u64, Pieces); 8] = [
        ("empty", 0, vec![]),
        ("zeros", 1 << 20, vec![(0, vec![0; 1 << 18])]),
        ("one byte", 1, vec![(0, vec![7])]),
        ("a cluster", 65_536, vec![(0, noise(1, 65_536))]),
        ("a sector more", 66_048, vec![(65_536, noise(2, 512))]),
        ("not whole sectors", 70_001, vec![(70_000, vec![1])]),
        ("mixed", 8 << 20, vec![(0, text.clone()), (1 << 20, noise(3, 300_000)), (3 << 20, long_text)]),
        ("three tables", (1 << 30) + 4096, vec![(5, noise(4, 99)), (800 << 20, text), (1 << 30, noise(5, 4096))]),
    ];
    for (name, size, pieces) in disks {
        let raw = dir.path().join(format!("{name}.raw"));
        let file = File::create(&raw).unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in pieces {
            file.write_all_at(&bytes, at).unwrap();
        }
        for compression in COMPRESSIONS {
            let out = dir.path().join(format!("{name}.{compression:?}.qcow2"));
            write(&raw, &out, Options { compression, ..Options::default() }).unwrap();
            ask_qemu(&raw, &out);
        }
    }
}

#[test]
fn qemu_reads_every_cluster_size() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    let mut disk = noise(6, 200_000);
    disk.resize(600_000, 0);
    disk.extend((0..30_000u32).flat_map(u32::to_le_bytes));
    fs::write(&raw, &disk).unwrap();
    for cluster_bits in 9..=21 {
        for compression in COMPRESSIONS {
            let out = dir.path().join("disk.qcow2");
            write(&raw, &out, Options { compression, cluster_bits }).unwrap();
            ask_qemu(&raw, &out);
        }
    }
}

#[test]
fn compression_makes_smaller_and_holes_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (full, sparse) = (dir.path().join("full.raw"), dir.path().join("sparse.raw"));
    let text = b"all work and no play makes jack a dull boy\n".repeat(10_000);
    let mut disk = text.clone();
    disk.resize(8 << 20, 0);
    fs::write(&full, &disk).unwrap();
    let file = File::create(&sparse).unwrap();
    file.set_len(8 << 20).unwrap();
    file.write_all_at(&text, 0).unwrap();
    let mut sizes = Vec::new();
    for compression in COMPRESSIONS {
        let options = Options { compression, ..Options::default() };
        let [a, b] = [&full, &sparse].map(|raw| {
            let out = raw.with_extension("qcow2");
            write(raw, &out, options).unwrap();
            fs::read(out).unwrap()
        });
        assert!(a == b, "{compression:?}");
        sizes.push(a.len());
    }
    // Header, L1, seven clusters of text, L2, refcount table and block; compressed, the text shares one cluster.
    assert_eq!(sizes, [12, 6, 6].map(|clusters| clusters << 16));
}

#[test]
fn options_and_files_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, out) = (dir.path().join("disk.raw"), dir.path().join("disk.qcow2"));
    let error = write(&raw, &out, Options::default()).unwrap_err().to_string();
    assert!(error.contains("disk.raw"), "{error}");
    let file = File::create(&raw).unwrap();
    let error = write(&raw, &dir.path().join("absent/x"), Options::default()).unwrap_err().to_string();
    assert!(error.contains("absent/x"), "{error}");
    for cluster_bits in [8, 22] {
        let error = write(&raw, &out, Options { cluster_bits, ..Options::default() }).unwrap_err();
        assert!(matches!(error, Qcow2Error::ClusterBits(bits) if bits == cluster_bits), "{error}");
    }
    file.set_len(1 << 40).unwrap();
    let error = write(&raw, &out, Options { cluster_bits: 9, ..Options::default() }).unwrap_err();
    assert!(matches!(error, Qcow2Error::TooLarge { .. }), "{error}");
}

/// What a stretch of a disk holds.
#[derive(Debug, Clone)]
enum Piece {
    Hole(usize),
    Zeros(usize),
    Noise(u64, usize),
    Text(u8, usize),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        (0..20_000usize).prop_map(Piece::Hole),
        (0..3_000usize).prop_map(Piece::Zeros),
        (any::<u64>(), 0..3_000usize).prop_map(|(seed, length)| Piece::Noise(seed, length)),
        (any::<u8>(), 0..3_000usize).prop_map(|(byte, length)| Piece::Text(byte, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_layout_reads_back(pieces in prop::collection::vec(piece(), 0..24), cluster_bits in 9..=13u32) {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk.raw");
        let file = File::create(&raw).unwrap();
        let mut at = 0;
        for piece in pieces {
            let bytes = match piece {
                Piece::Hole(length) => {
                    at += length as u64;
                    file.set_len(at).unwrap();
                    continue;
                }
                Piece::Zeros(length) => vec![0; length],
                Piece::Noise(seed, length) => noise(seed, length),
                Piece::Text(byte, length) => (0..length).map(|n| byte.wrapping_add(u8::from(n % 7 == 0))).collect(),
            };
            file.write_all_at(&bytes, at).unwrap();
            at += bytes.len() as u64;
        }
        check(&raw, cluster_bits);
    }
}
