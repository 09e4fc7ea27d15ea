//! Small things of the plan that no file of `write_files` is: authorities, the time zone, random bytes, and files whose
//! content is fetched.

use std::{fs, io::Write as _, path::Path, time::Duration};

use super::Steward;
use crate::{
    node::{
        datasource::Get,
        files::{FileError, write_atomically},
        userdata::{Contents, Plan},
        volumes, zone,
    },
    notice, paths, warning,
};

/// The bundle that Nomad and its tasks are told of.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// The image's zones.
const ZONES: &str = "usr/share/zoneinfo.zip";
/// Tries for a file's content, and the pause between them (`cc_write_files.py`).
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);

impl Steward {
    /// What comes before files are written.
    pub(super) fn apply_system(&mut self, plan: &Plan) -> Result<(), FileError> {
        if !plan.ca_certs.is_empty() {
            let template =
                self.root.join(paths::ETC_TEMPLATE.trim_start_matches('/')).join("ssl/certs/ca-certificates.crt");
            let defaults = fs::read(template).unwrap_or_default();
            let place = self.root.join(BUNDLE);
            let dir = place.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(dir).map_err(FileError::io("create the directory", dir))?;
            write_atomically(&place, &plan.ca_certs.bundle(&defaults), 0o644)?;
            notice!("certificates of authorities added: {}", plan.ca_certs.trusted.len());
        }
        if let Some(name) = &plan.timezone {
            self.set_zone(name)?;
        }
        if !plan.random_seed.0.is_empty() {
            self.stir(&plan.random_seed);
        }
        Ok(())
    }

    /// What comes before everything else that is written: files may belong onto these disks.
    pub(super) fn apply_disks(&mut self, plan: &Plan) -> Result<(), String> {
        if plan.disks.is_empty() {
            return Ok(());
        }
        let root = self.root.clone();
        let shared = &self.shared;
        let wait = |time: Duration| {
            let devices = shared.view().devices;
            shared.wait(time, |view| (view.devices != devices).then_some(()));
        };
        let machine = volumes::Machine {
            root: &root,
            wait: &wait,
            load_module: &|name| {
                // Built in or absent: the mount itself tells.
                let _ = super::commands::load_module(&root, name);
            },
            now: &crate::node::clock::now,
        };
        let notes = volumes::apply(&machine, &plan.disks).map_err(|error| error.to_string())?;
        for note in notes {
            warning!("{note}");
            self.report.update(|status| status.findings.push(note));
        }
        Ok(())
    }

    fn set_zone(&mut self, name: &str) -> Result<(), FileError> {
        let zip = fs::read(self.root.join(ZONES)).unwrap_or_default();
        let Some(zone) = zone::stored(&zip, name) else {
            let note = format!("timezone: the image has no zone {name}: the clock shows UTC");
            warning!("{note}");
            self.report.update(|status| status.findings.push(note));
            return Ok(());
        };
        write_atomically(&self.root.join("etc/localtime"), zone, 0o644)?;
        write_atomically(&self.root.join("etc/timezone"), format!("{name}\n").as_bytes(), 0o644)
    }

    /// Mixes bytes into the kernel's pool; they count for nothing.
    fn stir(&self, bytes: &Contents) {
        let pool = fs::OpenOptions::new().write(true).open(self.root.join("dev/urandom"));
        if let Err(error) = pool.and_then(|mut pool| pool.write_all(&bytes.0)) {
            warning!("failed to stir the random number generator: {error}");
        }
    }

    /// Fetches what files are to hold. What cannot be fetched keeps the content beside it; without any the file is left
    /// out and said.
    pub(super) fn fetch_files(&mut self, plan: &mut Plan) {
        if plan.files.iter().all(|file| file.source.is_none()) {
            return;
        }
        self.await_address();
        let mut left_out = Vec::new();
        for file in &mut plan.files {
            let Some(source) = &file.source else { continue };
            let headers: Vec<(&str, &str)> = source.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut why = String::new();
            for attempt in 0..TRIES {
                if attempt > 0 {
                    let changes = self.shared.view().changes;
                    self.shared.wait(PAUSE, |view| (view.changes != changes).then_some(()));
                }
                match Get::default().get_with(&source.uri, &headers) {
                    Ok(Some(bytes)) => {
                        file.content = Contents(bytes);
                        why.clear();
                        break;
                    }
                    Ok(None) => why = "status 404".into(),
                    // The address may hold secrets: no message repeats it.
                    Err(error) => why = error.status().map_or("no answer".into(), |status| format!("status {status}")),
                }
            }
            if !why.is_empty() {
                let stays = !file.content.0.is_empty();
                let then = if stays { "the content beside it is used" } else { "the file is left out" };
                left_out.push((file.path.clone(), stays, format!("{}: its source gave {why}: {then}", file.path)));
            }
        }
        for (path, stays, note) in left_out {
            if !stays {
                plan.files.retain(|file| file.path != path || file.source.is_none());
            }
            warning!("{note}");
            self.report.update(|status| status.findings.push(note));
        }
    }
}
