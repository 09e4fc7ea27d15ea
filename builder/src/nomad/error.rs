//! Why there is no Nomad for an image.

use std::{io, path::Path};

/// Why a Nomad cannot be had, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum NomadError {
    /// A file or directory of this machine.
    #[error("failed to {action} {path}: {source}{}", crate::cache::advice(source))]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A version that cannot be part of a file name.
    #[error("nomad version {0:?} is not a version: the recipe says one like \"2.0.5\", without a leading v")]
    BadVersion(String),

    /// The named file is something else.
    #[error(
        "{path} is neither an ELF program nor a zip archive: give the nomad binary or its official zip with --nomad or \
         NOMAD"
    )]
    NotAProgram {
        /// The file.
        path: String,
    },
    /// The named program is for other machines.
    #[error("{path} is a program for {found}, the image is for {wanted}: give the {wanted} one with --nomad or NOMAD")]
    Architecture {
        /// The file.
        path: String,
        /// What it is for.
        found: String,
        /// What the image is for.
        wanted: &'static str,
    },
    /// The program cannot be started.
    #[error(
        "failed to run {path} version: {source}; is the file executable (chmod +x), and has this machine its libraries?"
    )]
    Run {
        /// The program.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The program runs, but is no Nomad.
    #[error("{path} version did not answer \"Nomad v...\" within {seconds} s but {answer:?}: is it Nomad?")]
    NotNomad {
        /// The program.
        path: String,
        /// How long it had.
        seconds: u64,
        /// The beginning of what it printed.
        answer: String,
    },

    /// The archive cannot be read to its end.
    #[error("{archive} is damaged or cut short: {reason}; get it again")]
    Archive {
        /// File or URL.
        archive: String,
        /// Why.
        reason: String,
    },
    /// The archive holds something else.
    #[error("{archive} has no file \"nomad\" in it: is it the Linux release of Nomad?")]
    NotInArchive {
        /// File or URL.
        archive: String,
    },
    /// More bytes than the thing can sensibly have.
    #[error("{what} has more than {limit} bytes: that is not what it should be")]
    TooLarge {
        /// File or URL.
        what: String,
        /// How many were allowed.
        limit: u64,
    },

    /// What should be a key is none.
    #[error("failed to read the release key {path}: {reason}; give an OpenPGP public key with --nomad-key")]
    Key {
        /// File or URL.
        path: String,
        /// Why.
        reason: String,
    },
    /// The release is there, and the key that would vouch for it is not. Nothing takes over: the real program is one
    /// file away.
    #[error(
        "failed to get the release key {fingerprint}: {reasons}; get it in another way and give it with --nomad-key, or \
         name a binary or its official zip with --nomad or NOMAD"
    )]
    KeyUnavailable {
        /// Which key.
        fingerprint: String,
        /// Where it was looked for, and why it is not there.
        reasons: String,
    },
    /// The published key is not the one that is pinned.
    #[error(
        "the key at {url} has the fingerprint {found}, and nomad.key of the recipe pins {pinned}: it was changed on the \
         way or on the server, or the vendor has a new key; if so, check its fingerprint and give the key with --nomad-key"
    )]
    KeyFingerprint {
        /// Where the key is from.
        url: String,
        /// Of the key there.
        found: String,
        /// What it should be.
        pinned: String,
    },
    /// The owner of the key says that it must no longer be used.
    #[error(
        "the release key {fingerprint} of {path} is revoked: get the vendor's new key and give it with --nomad-key"
    )]
    KeyRevoked {
        /// The file.
        path: String,
        /// Which key.
        fingerprint: String,
    },

    /// The server cannot be reached, or does not serve: the one reason for which the stand-in may take over.
    #[error(
        "failed to get Nomad {version} from {url}: {reason}; name a binary or its official zip with --nomad or NOMAD, \
         name a mirror with --nomad-mirror, or give this machine a network"
    )]
    Unavailable {
        /// Which Nomad.
        version: String,
        /// What was asked for.
        url: String,
        /// What came back.
        reason: String,
    },
    /// Who answers is not the server that was asked for.
    #[error(
        "{url} is answered by a server that cannot be trusted: {reason}; check this machine's clock and its proxy, or \
             name a binary or its official zip with --nomad or NOMAD"
    )]
    Untrusted {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The server answers, and has no such release.
    #[error(
        "there is no Nomad {version} for Linux on {architecture}: {url} does not exist; correct the recipe's version"
    )]
    NoSuchVersion {
        /// Which Nomad.
        version: String,
        /// For which machines.
        architecture: &'static str,
        /// What is missing.
        url: String,
    },
    /// A release without a signature.
    #[error(
        "the checksums of Nomad {version} have no signature: {url} does not exist; an unsigned release is not used"
    )]
    Unsigned {
        /// Which Nomad.
        version: String,
        /// What is missing.
        url: String,
    },
    /// The connection broke while the file came.
    #[error("{url} is cut short after {got} bytes{}: {reason}; try again", of(*.total))]
    Truncated {
        /// The file.
        url: String,
        /// How much came.
        got: u64,
        /// How much was announced.
        total: Option<u64>,
        /// Why no more.
        reason: String,
    },
    /// The signature is no signature of these checksums.
    #[error(
        "the signature {url} does not fit the checksums that it is for: {reason}; one of them was changed on the way or \
         on the server, and nothing of this release is used"
    )]
    Signature {
        /// The signature.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A signature by somebody else.
    #[error(
        "the signature {url} was made by the key {signer}, not by the release key {wanted}; if the vendor has a new key, \
         check its fingerprint and give it with --nomad-key"
    )]
    OtherKey {
        /// The signature.
        url: String,
        /// Whose it is.
        signer: String,
        /// Whose it should be.
        wanted: String,
    },
    /// A signature from outside the time for which the key was good.
    #[error(
        "the signature {url} was made at {made}, outside the time for which {key} is valid ({from} to {until}, seconds \
         since 1970); the vendor renews the key from time to time: if there is a newer copy, give it with --nomad-key"
    )]
    NotValidThen {
        /// The signature.
        url: String,
        /// When, seconds since 1970.
        made: u64,
        /// Which key or subkey.
        key: String,
        /// Valid from, seconds since 1970.
        from: u64,
        /// Valid until, seconds since 1970.
        until: u64,
    },
    /// The list of checksums is not one.
    #[error("{url}:{line}: not a SHA-256 checksum and a file name")]
    Sums {
        /// The list.
        url: String,
        /// Line, from 1.
        line: usize,
    },
    /// The signed list does not speak of the archive.
    #[error("{url} has no checksum for {name}: there is no such release for this architecture, or the mirror is wrong")]
    NotListed {
        /// The list.
        url: String,
        /// The archive.
        name: String,
    },
    /// The archive is not the one that was signed.
    #[error("{url} has the SHA-256 {found}, the signed list says {wanted}: it was changed on the way or on the server")]
    Checksum {
        /// The archive.
        url: String,
        /// What came.
        found: String,
        /// What was signed.
        wanted: String,
    },
    /// The lock file has another program.
    #[error(
        "the Nomad {version} of {path} has the SHA-256 {found}, the lock file says {locked}: use the locked one, or \
         build without --locked"
    )]
    Locked {
        /// The program.
        path: String,
        /// Its version.
        version: String,
        /// Its digest.
        found: String,
        /// What the lock file says.
        locked: String,
    },
}

impl NomadError {
    /// For `map_err` on file operations.
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { action, path: path.display().to_string(), source }
    }
}

fn of(total: Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}
