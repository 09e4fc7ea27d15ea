//! Time zones as one zip file. Go, in which Nomad and many of its tasks are written, reads them from there when
//! `ZONEINFO` names it; six hundred small files would be more than all others of the root together.

use std::io::{self, Cursor, Write as _};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::tree::{Node, Tree};

const FOLDER: &str = "usr/share/zoneinfo/";

/// The zone files of package `tzdata`, stored without compression: the file system compresses them together.
///
/// # Errors
/// When the archive cannot be written.
pub fn zip(stock: &Tree) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, entry) in stock.iter() {
        let Some(zone) = path.strip_prefix(FOLDER) else { continue };
        // `posix` and `right` hold every zone again; what is not a zone does not begin like one.
        if zone.starts_with("posix/") || zone.starts_with("right/") {
            continue;
        }
        let bytes = match &entry.node {
            Node::Directory => continue,
            Node::File(bytes) => bytes,
            Node::Symlink(_) => match stock.follow(path) {
                Some((_, bytes)) => bytes,
                None => continue,
            },
        };
        if bytes.starts_with(b"TZif") {
            zip.start_file(zone, options)?;
            zip.write_all(bytes)?;
        }
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::tree::Origin;

    #[test]
    fn zones_and_their_other_names() {
        let mut stock = Tree::new();
        stock.file("usr/share/zoneinfo/Europe/Berlin", 0o644, *b"TZif2x", Origin::Builder);
        stock.symlink("usr/share/zoneinfo/Europe/Copenhagen", "Berlin", Origin::Builder);
        stock.symlink("usr/share/zoneinfo/localtime", "/etc/localtime", Origin::Builder);
        stock.file("usr/share/zoneinfo/right/Europe/Berlin", 0o644, *b"TZif2x", Origin::Builder);
        stock.file("usr/share/zoneinfo/zone.tab", 0o644, *b"# text", Origin::Builder);
        let bytes = zip(&stock).unwrap();
        assert_eq!(bytes, zip(&stock).unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["Europe/Berlin", "Europe/Copenhagen"]);
        let mut zone = Vec::new();
        archive.by_name("Europe/Copenhagen").unwrap().read_to_end(&mut zone).unwrap();
        assert_eq!(zone, b"TZif2x");
    }
}
