//! The official release: checksums, their signature, the archive.
//!
//! `<base>/nomad/<version>/` holds `nomad_<version>_linux_<arch>.zip`, `nomad_<version>_SHA256SUMS` and the signature of the
//! latter, once with the short id of the key in its name and once without (the vendor publishes both).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    NomadError, archive,
    cache::{Cache, Record, executable},
    download::Client,
    sums,
    trust::Trust,
};
use crate::{architecture::Architecture, content::Digest};

/// Bytes that the archive may have. Nomad 2.0 has 50 MB.
const ARCHIVE_LIMIT: u64 = 512 << 20;
/// Bytes that the list of checksums may have.
const SUMS_LIMIT: u64 = 1 << 20;
/// Bytes that the signature may have.
const SIGNATURE_LIMIT: u64 = 64 << 10;

/// A release that is wanted.
pub(super) struct Release<'a> {
    pub(super) base_url: &'a str,
    pub(super) version: &'a str,
    pub(super) architecture: Architecture,
    pub(super) trust: &'a Trust<'a>,
}

impl Release<'_> {
    /// The program, from the cache or from the server.
    pub(super) fn obtain(
        &self,
        cache: &Cache,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(PathBuf, Record), NomadError> {
        let name = self.name();
        if let Some(found) = cache.find(&name) {
            return Ok(found);
        }
        // Whoever held the lock may have put it there.
        let _lock = cache.lock()?;
        if let Some(found) = cache.find(&name) {
            return Ok(found);
        }
        self.download(cache, &Client::new(self.version, progress))
    }

    /// The key comes last of the three: whoever lacks only that could have the real release, and no stand-in takes over.
    fn download(&self, cache: &Cache, client: &Client<'_>) -> Result<(PathBuf, Record), NomadError> {
        let sums_url = self.url(&format!("nomad_{}_SHA256SUMS", self.version));
        let list = client.small(&sums_url, SUMS_LIMIT)?.ok_or_else(|| self.no_such_version(&sums_url))?;
        let (signature_url, signature) = self.signature(client, &sums_url)?;
        self.trust.verify(cache, client, &list, &signature, &signature_url)?;

        let archive_name = format!("{}.zip", self.name());
        let wanted = sums::find(&list, &sums_url, &archive_name)?;
        let url = self.url(&archive_name);
        let mut zip = cache.temporary()?;
        let zip_path = zip.path().to_owned();
        if !client.large(&url, ARCHIVE_LIMIT, &mut zip, &zip_path)? {
            return Err(self.no_such_version(&url));
        }
        let (found, got) = digest(&zip_path)?;
        if found != wanted {
            return Err(match archive::why_incomplete(&zip_path)? {
                Some(reason) => NomadError::Truncated { url, got, total: None, reason },
                None => NomadError::Checksum { url, found: found.hex(), wanted: wanted.hex() },
            });
        }

        let mut program = cache.temporary()?;
        archive::extract(&zip_path, &url, &mut program)?;
        let record =
            Record { version: self.version.to_owned(), sha256: digest(program.path())?.0, archive_sha256: found };
        Ok((cache.store(&self.name(), executable(program)?, &record)?, record))
    }

    fn signature(&self, client: &Client<'_>, sums_url: &str) -> Result<(String, Vec<u8>), NomadError> {
        for url in [format!("{sums_url}.{}.sig", self.trust.fingerprint().short()), format!("{sums_url}.sig")] {
            if let Some(signature) = client.small(&url, SIGNATURE_LIMIT)? {
                return Ok((url, signature));
            }
        }
        Err(NomadError::Unsigned { version: self.version.to_owned(), url: format!("{sums_url}.sig") })
    }

    fn no_such_version(&self, url: &str) -> NomadError {
        NomadError::NoSuchVersion {
            version: self.version.to_owned(),
            architecture: self.architecture.as_str(),
            url: url.to_owned(),
        }
    }

    fn name(&self) -> String {
        name(self.version, self.architecture)
    }

    fn url(&self, file: &str) -> String {
        format!("{}/nomad/{}/{file}", self.base_url.trim_end_matches('/'), self.version)
    }
}

/// What the names of a release's files begin with, and the program in the cache.
pub(super) fn name(version: &str, architecture: Architecture) -> String {
    format!("nomad_{version}_linux_{}", architecture.nomad())
}

/// The digest of the file at `path`, and its length.
pub(super) fn digest(path: &Path) -> Result<(Digest, u64), NomadError> {
    File::open(path).and_then(Digest::of_reader).map_err(NomadError::io("read", path))
}
