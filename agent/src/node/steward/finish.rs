//! What is done once on an instance, when Nomad is healthy: the final message, phoning home, and a reboot or power-off.

use std::{fs, io::Write as _, path::PathBuf, sync::Arc, thread, time::Duration};

use super::Steward;
use crate::{
    info,
    node::{
        clock,
        datasource::Get,
        net::Shared,
        seed::Metadata,
        userdata::{PhoneHome, Plan, PowerState, substitute},
    },
    notice,
    notify::{self, Message},
    paths, warning,
};

/// Pause between two tries to phone home (`cc_phone_home.py`).
const PAUSE: Duration = Duration::from_secs(3);

impl Steward {
    /// Nomad is healthy, for the first time in this boot.
    pub(super) fn finish(&self, plan: &Plan, metadata: &Metadata, source: &str) {
        if let Some(message) = &plan.finish.message {
            let uptime = format!("{:.2}", clock::now().as_secs_f64());
            let version = env!("CARGO_PKG_VERSION");
            let seconds =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
            let values = [
                ("uptime", uptime.as_str()),
                ("version", version),
                ("datasource", source),
                ("timestamp", &seconds.to_string()),
            ];
            for line in substitute(message, &values).lines() {
                notice!("{line}");
            }
        }
        let instance = metadata.instance_id.clone().unwrap_or_default();
        let due = |name: &str| !self.is_done(name, &instance);
        let home = plan.finish.phone_home.as_ref().filter(|_| due("phone-home"));
        let call = home.map(|home| self.call(home, plan, metadata, &instance));
        let end = plan.finish.power.clone().filter(|_| due("power-state")).and_then(|power| self.end(power, &instance));
        if call.is_some() || end.is_some() {
            // One after the other, as in cloud-init: a machine that is off phones nobody.
            thread::spawn(move || {
                call.inspect(|call| call());
                end.inspect(|end| end());
            });
        }
    }

    /// Where it is noted that something was done for an instance.
    fn stamp(&self, name: &str) -> PathBuf {
        self.root.join(paths::STATE_DIR.trim_start_matches('/')).join("done").join(name)
    }

    fn is_done(&self, name: &str, instance: &str) -> bool {
        fs::read_to_string(self.stamp(name)).is_ok_and(|done| done == instance)
    }

    /// Phoning home, to be done by a thread.
    fn call(&self, home: &PhoneHome, plan: &Plan, metadata: &Metadata, instance: &str) -> impl Fn() + Send + 'static {
        let names = (self.report.status().hostname.clone(), plan.fqdn.clone());
        let key = |kind: &str| metadata.public_keys.iter().find(|key| key.starts_with(kind)).cloned();
        let value = |field: &str| match field {
            "instance_id" => metadata.instance_id.clone(),
            "hostname" => names.0.clone(),
            "fqdn" => names.1.clone().or_else(|| names.0.clone()),
            "pub_key_rsa" => key("ssh-rsa"),
            "pub_key_ecdsa" => key("ecdsa-"),
            "pub_key_ed25519" => key("ssh-ed25519"),
            _ => None,
        };
        let pair = |field: &&str| format!("{field}={}", encode(&value(field).unwrap_or_else(|| "N/A".into())));
        let body = home.fields.iter().map(pair).collect::<Vec<_>>().join("&");
        let url = substitute(&home.url, &[("instance_id", instance)]);
        let (shared, stamp, tries) = (Arc::clone(&self.shared), self.stamp("phone-home"), home.tries);
        let instance = instance.to_owned();
        move || {
            if call(&shared, &url, &body, tries) {
                info!("phoned home");
                if let Err(error) = note(&stamp, &instance) {
                    warning!("failed to remember that this machine has phoned home: {error}");
                }
            } else {
                warning!("phone_home: no answer after {tries} tries");
            }
        }
    }

    /// Ending the machine, to be done by a thread. The stamp is on the disk before the machine ends: a reboot must not lead to the next one.
    fn end(&self, power: PowerState, instance: &str) -> Option<impl Fn() + Send + 'static> {
        if let Err(error) = note(&self.stamp("power-state"), instance) {
            warning!("power_state: not done, because it cannot be remembered that it was: {error}");
            return None;
        }
        let what = if power.power == notify::Power::Reboot { "reboots" } else { "switches off" };
        notice!("power_state: the machine {what} in {} s", power.delay.as_secs());
        let (shared, socket) = (Arc::clone(&self.shared), self.root.join(paths::NOTIFY_SOCKET.trim_start_matches('/')));
        Some(move || {
            let end = clock::now() + power.delay;
            while let Some(left) = end.checked_sub(clock::now()).filter(|left| !left.is_zero()) {
                shared.wait(left, |_| None::<()>);
            }
            if let Some(message) = &power.message {
                notice!("{message}");
            }
            if let Err(error) = notify::send(&socket, &[Message::Power(power.power)]) {
                warning!("power_state: failed to tell init: {error}");
            }
        })
    }
}

fn call(shared: &Shared, url: &str, body: &str, tries: u32) -> bool {
    for attempt in 0..tries {
        if attempt > 0 {
            let changes = shared.view().changes;
            shared.wait(PAUSE, |view| (view.changes != changes).then_some(()));
        }
        if Get::default().post_form(url, body).is_ok() {
            return true;
        }
    }
    false
}

fn note(path: &std::path::Path, instance: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = fs::File::create(path)?;
    file.write_all(instance.as_bytes())?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

/// `application/x-www-form-urlencoded`.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encode("a b/c=ä"), "a+b%2Fc%3D%C3%A4");
    }

    #[test]
    fn a_stamp_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("done/x");
        note(&path, "i-1").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "i-1");
    }
}
