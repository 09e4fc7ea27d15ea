use super::*;
use std::process::Command;

/// Reads a tree by a few rules of its own: the names of the records and the files' contents.
fn read(image: &[u8], descriptor: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let field = |at: usize| usize::try_from(u32::from_le_bytes(image[at..at + 4].try_into().unwrap())).unwrap();
    let root = descriptor * SECTOR + 156;
    let (mut at, end) = (field(root + 2) * SECTOR, field(root + 2) * SECTOR + field(root + 10));
    let mut found = Vec::new();
    while at < end {
        let length = usize::from(image[at]);
        if length == 0 {
            at = at.next_multiple_of(SECTOR).max(at + 1).next_multiple_of(SECTOR);
            continue;
        }
        let name = image[at + 33..][..usize::from(image[at + 32])].to_vec();
        if image[at + 25] & 2 == 0 {
            found.push((name, image[field(at + 2) * SECTOR..][..field(at + 10)].to_vec()));
        }
        at += length;
    }
    found
}

const FILES: [(&str, &[u8]); 3] =
    [("user-data", b"#cloud-config\n"), ("meta-data", b"instance-id: i\n"), ("network-config", b"")];

/// As a configuration drive has them.
const DEEP: [(&str, &[u8]); 4] = [
    ("openstack/latest/meta_data.json", b"{}"),
    ("openstack/2018-08-27/meta_data.json", b"{ }"),
    ("openstack/content/0000", b"auto lo"),
    ("ec2/latest/meta-data.json", b"{  }"),
];

#[test]
fn both_trees_lead_to_the_same_files() {
    let image = iso9660("cidata", &FILES).unwrap();
    assert_eq!(image, iso9660("cidata", &FILES).unwrap(), "the same input must give the same bytes");
    assert_eq!(&image[PRIMARY * SECTOR + 40..][..8], b"cidata  ");
    let plain = read(&image, PRIMARY);
    let names: Vec<&[u8]> = plain.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [&b"META_DATA.;1"[..], b"NETWORK_CONFIG.;1", b"USER_DATA.;1"]);
    assert_eq!(plain[2].1, FILES[0].1);
    let joliet = read(&image, JOLIET);
    assert_eq!((joliet.len(), joliet[2].0.as_slice()), (3, &b"\0u\0s\0e\0r\0-\0d\0a\0t\0a"[..]));
    assert_eq!(joliet[0].1, FILES[1].1);
}

#[test]
fn many_files_fill_several_sectors() {
    let names: Vec<String> = (0..200).map(|number| format!("file-number-{number}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let image = iso9660("x", &files).unwrap();
    for descriptor in [PRIMARY, JOLIET] {
        let found = read(&image, descriptor);
        assert_eq!(found.len(), 200);
        assert!(found.iter().all(|(_, content)| content.starts_with(b"file-number-")));
    }
}

#[test]
fn names_that_do_not_fit_are_errors() {
    assert!(iso9660("a label that is long", &[]).is_err());
    for path in ["", "/a", "a/", "a//b"] {
        assert!(iso9660("x", &[(path, b"")]).is_err(), "{path:?}");
    }
    assert!(iso9660("x", &[("user-data", b""), ("user_data", b"")]).is_err());
}

/// An independent reader, where it is installed; `make test` installs it.
#[test]
fn xorriso_reads_the_real_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed.iso");
    let files = [&FILES[..], &DEEP].concat();
    std::fs::write(&path, iso9660("cidata", &files).unwrap()).unwrap();
    let out = directory.path().join("out");
    let run = Command::new("xorriso")
        .args(["-abort_on", "WARNING", "-osirrox", "on", "-indev"])
        .arg(&path)
        .args(["-pvd_info", "-extract", "/"])
        .arg(&out)
        .output();
    let Ok(output) = run else {
        eprintln!("skipped: xorriso is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.lines().any(|line| line.starts_with("Volume Id") && line.ends_with("cidata")), "{text}");
    for (name, content) in files {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), content, "{name}");
    }
}

#[test]
fn directories_are_found_by_path_table_and_by_record() {
    let image = iso9660("config-2", &DEEP).unwrap();
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    // Number of the one above, name, and the place.
    let mut entries = Vec::new();
    let (mut at, end) = (PATH_TABLES * SECTOR, PATH_TABLES * SECTOR + word(PRIMARY * SECTOR + 132) as usize);
    while at < end {
        let length = usize::from(image[at]);
        entries.push((image[at + 6], image[at + 8..at + 8 + length].to_vec(), word(at + 2) as usize));
        at += (8 + length).next_multiple_of(2);
    }
    let names: Vec<(u8, String)> =
        entries.iter().map(|(parent, name, _)| (*parent, String::from_utf8_lossy(name).into_owned())).collect();
    let expected =
        [(1, "\0"), (1, "EC2"), (1, "OPENSTACK"), (2, "LATEST"), (3, "2018_08_27"), (3, "CONTENT"), (3, "LATEST")];
    assert_eq!(names, expected.map(|(parent, name)| (parent, name.to_owned())));
    for (parent, _, place) in entries.iter().map(|(parent, name, place)| (usize::from(*parent), name, *place)) {
        // Each directory's first two records: itself, and the one above.
        assert_eq!(word(place * SECTOR + 2) as usize, place);
        let above = place * SECTOR + usize::from(image[place * SECTOR]);
        assert_eq!(word(above + 2) as usize, entries[parent - 1].2);
    }
}

#[test]
fn a_volume_that_boots_says_where_its_catalogue_is_and_has_parts_once() {
    let whole: Vec<u8> = (0..20_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let part = Content::Part { of: 0, offset: 2 * SECTOR, length: 5000 };
    let files = vec![("boot/whole", Content::Own(whole.len())), ("part", part), ("catalogue", Content::Own(SECTOR))];
    let iso = Iso::plan("x", files.clone(), Some(2)).unwrap();
    let image = iso.image(&[&whole, b"", &[7; SECTOR]]).unwrap();
    assert_eq!(image.len(), iso.sectors() * SECTOR);
    assert_eq!(&image[BOOT * SECTOR..][..30], b"\0CD001\x01EL TORITO SPECIFICATION");
    assert_eq!(image[BOOT * SECTOR + 71..][..4], iso.sector(2).to_le_bytes());
    assert_eq!(iso.sector(1), iso.sector(0) + 2);
    for descriptor in [PRIMARY, JOLIET + 1] {
        let found = read(&image, descriptor);
        assert!(found.iter().any(|(_, content)| *content == whole[2 * SECTOR..][..5000]));
    }
    assert!(image.len() < 2 * whole.len() + 50 * SECTOR);

    assert!(iso.image(&[&whole[1..], b"", &[7; SECTOR]]).is_err());
    for wrong in [
        Content::Part { of: 0, offset: 1, length: 5 },
        Content::Part { of: 0, offset: 8 * SECTOR, length: 5000 },
        Content::Part { of: 1, offset: 0, length: 5 },
        Content::Part { of: 9, offset: 0, length: 5 },
    ] {
        let mut files = files.clone();
        files[1].1 = wrong;
        assert!(Iso::plan("x", files, None).is_err(), "{wrong:?}");
    }
}
