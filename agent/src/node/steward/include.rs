//! Fetching what user-data includes, and remembering it: an address that is named by `#include-once` may be good for
//! one use, and no reboot should fail because somebody else's server is down.

use std::{fs, path::PathBuf, time::Duration};

use super::Steward;
use crate::{
    node::{
        datasource::http::{Get, HttpError},
        files::write_atomically,
        userdata::Include,
    },
    paths::STATE_DIR,
    warning,
};

/// How often an address is asked (cloud-init: ten times, five seconds each).
const TRIES: usize = 10;
/// Pause between two of them, unless the network changes.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the network may take.
const NETWORK: Duration = Duration::from_secs(50);

impl Steward {
    /// Gets an included text: from the state partition when it is to be fetched once and was, or when it cannot be
    /// fetched now.
    pub(super) fn fetch(&self, instance: &str, include: Include<'_>) -> Result<Vec<u8>, String> {
        let path = self.remembered(instance, include.url);
        // What was fetched stands behind a line that says for whom and whence.
        let head = format!("{instance} {}\n", include.url);
        let remembered = || fs::read(&path).ok()?.strip_prefix(head.as_bytes()).map(<[u8]>::to_vec);
        if let Some(bytes) = remembered().filter(|_| include.once) {
            return Ok(bytes);
        }
        match self.ask(include.url) {
            Ok(bytes) => {
                let dir = path.parent().map_or(Ok(()), fs::create_dir_all);
                let written = dir.map_err(|error| error.to_string()).and_then(|()| {
                    write_atomically(&path, &[head.as_bytes(), &bytes].concat(), 0o600)
                        .map_err(|error| error.to_string())
                });
                if let Err(why) = written {
                    warning!("what user-data includes is not remembered: {why}");
                }
                Ok(bytes)
            }
            Err(why) => remembered().ok_or_else(|| why.clone()).inspect(|_| {
                warning!(
                    "what user-data includes cannot be fetched ({why}): using what was fetched at an earlier boot"
                );
            }),
        }
    }

    fn ask(&self, url: &str) -> Result<Vec<u8>, String> {
        self.shared.wait(NETWORK, |view| view.primary().map(drop)).ok_or("there is no network")?;
        let mut why = String::new();
        for _ in 0..TRIES {
            let changes = self.shared.view().changes;
            // The address may hold secrets: no message repeats it.
            why = match Get::default().get(url) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => return Err("status 404".into()),
                Err(HttpError::Status { status, .. }) if status < 500 && status != 429 => {
                    return Err(format!("status {status}"));
                }
                Err(HttpError::Status { status, .. }) => format!("status {status}"),
                Err(HttpError::Redirect { .. }) => return Err("redirected to another host".into()),
                Err(HttpError::TooLong { .. }) => return Err("longer than user-data may be".into()),
                Err(HttpError::Transport { source, .. }) => source.to_string(),
                Err(HttpError::Late(_) | HttpError::NoLink) => "no answer in time".into(),
            };
            self.shared.wait(PAUSE, |view| (view.changes != changes).then_some(()));
        }
        Err(why)
    }

    /// Where the text of an address is kept: the name is FNV-1a of instance and address, the file's head tells equal
    /// names apart.
    fn remembered(&self, instance: &str, url: &str) -> PathBuf {
        let hash = instance
            .bytes()
            .chain([b' '])
            .chain(url.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        self.root.join(STATE_DIR.trim_start_matches('/')).join("includes").join(format!("{hash:016x}"))
    }
}
