//! Whose signature counts, and where that key is had.
//!
//! Either the user names a key, which counts with whatever fingerprint it has; or the recipe pins a fingerprint, and the
//! key that has it is looked for in the cache and then where the vendor publishes it. The builder brings no key along. A
//! key from anywhere is as good as another when its fingerprint, computed here, is the pinned one: whoever serves it
//! vouches for nothing.
//!
//! A vendor renews a key now and then, which changes its dates and subkeys but not its fingerprint. A copy from the cache
//! that does not vouch for a signature is therefore asked for once more before the release is refused. The new copy
//! counts beside the old one, so that an old copy that somebody serves takes no revocation back; a revoked key stays in
//! the cache and is asked for no more.

use std::{fs, io::Write as _, path::PathBuf};

use super::{Fingerprint, NomadError, cache::Cache, download::Client, key::Key};

/// Bytes that a file with a key may have. The vendor's has 6 kB.
pub(super) const KEY_LIMIT: u64 = 256 << 10;

/// Whose signature counts.
pub(super) enum Trust<'a> {
    /// A key that the user names.
    Named(Key),
    /// The key with this fingerprint.
    Pinned {
        /// Of the primary key.
        fingerprint: &'a Fingerprint,
        /// Where it is published; the first that has it.
        urls: &'a [String],
    },
}

impl Trust<'_> {
    pub(super) const fn fingerprint(&self) -> &Fingerprint {
        match self {
            Self::Named(key) => key.fingerprint(),
            Self::Pinned { fingerprint, .. } => fingerprint,
        }
    }

    /// Checks that `signature`, which came from `url`, was made over `data` by whom is trusted. A key that has to be
    /// fetched for that goes into `cache`.
    pub(super) fn verify(
        &self,
        cache: &Cache,
        client: &Client<'_>,
        data: &[u8],
        signature: &[u8],
        url: &str,
    ) -> Result<(), NomadError> {
        let (pin, urls) = match self {
            Self::Named(key) => return key.verify(data, signature, url),
            Self::Pinned { fingerprint, urls } => (*fingerprint, *urls),
        };
        let Some(known) = cached(cache, pin) else {
            let key = fetch(pin, urls, client)?;
            keep(cache, &key)?;
            return key.verify(data, signature, url);
        };
        let verdict = match known.verify(data, signature, url) {
            Err(verdict @ (NomadError::OtherKey { .. } | NomadError::NotValidThen { .. })) => verdict,
            result => return result,
        };
        let both = match fetch(pin, urls, client) {
            Ok(fetched) => known.with(fetched),
            // What is wrong with the signature says more than that no newer key is to be had.
            Err(NomadError::KeyUnavailable { .. }) => return Err(verdict),
            Err(error) => return Err(error),
        };
        let result = both.verify(data, signature, url);
        if matches!(result, Ok(()) | Err(NomadError::KeyRevoked { .. })) {
            keep(cache, &both)?;
        }
        result
    }
}

/// Where a copy of the key is in its group of the cache.
fn place(cache: &Cache) -> PathBuf {
    cache.path("key.asc")
}

/// The copy in the cache. One that is damaged, or of another key, counts as absent.
fn cached(cache: &Cache, pin: &Fingerprint) -> Option<Key> {
    let path = place(cache);
    Key::parse(&path.display().to_string(), &fs::read(&path).ok()?).ok().filter(|key| key.fingerprint() == pin)
}

fn keep(cache: &Cache, key: &Key) -> Result<(), NomadError> {
    let path = place(cache);
    let mut file = cache.temporary()?;
    file.write_all(key.armored()?.as_bytes()).map_err(NomadError::io("write", &path))?;
    file.persist(&path).map_err(|e| NomadError::io("write", &path)(e.error))?;
    Ok(())
}

fn fetch(pin: &Fingerprint, urls: &[String], client: &Client<'_>) -> Result<Key, NomadError> {
    let mut reasons = Vec::new();
    for url in urls {
        match client.small(url, KEY_LIMIT) {
            Ok(Some(bytes)) => {
                let key = Key::parse(url, &bytes)?;
                if key.fingerprint() == pin {
                    return Ok(key);
                }
                let found = key.fingerprint().to_string();
                return Err(NomadError::KeyFingerprint { url: url.clone(), found, pinned: pin.to_string() });
            }
            Ok(None) => reasons.push(format!("{url} does not exist")),
            Err(NomadError::Unavailable { reason, .. }) => reasons.push(format!("{url}: {reason}")),
            Err(error) => return Err(error),
        }
    }
    Err(NomadError::KeyUnavailable { fingerprint: pin.to_string(), reasons: reasons.join("; ") })
}
