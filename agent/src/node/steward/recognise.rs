//! Whether this machine is the one that wrote the state partition, and what that means for Nomad's data.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{Found, Steward};
use crate::{
    init::machine_id,
    node::{
        identity::{self, Identity, Standing, machine_key},
        nomad::{places::Places, remains},
        options::OnClone,
        seed::Seed,
        userdata::Plan,
    },
    notice, paths, warning,
};

/// Time that a network card gets to appear where only its address tells machines apart.
const CARD: Duration = Duration::from_secs(2);

/// Begins the finding about a disk that came from another machine.
const CLONE: &str = "clone: ";

impl Steward {
    /// What the machine calls itself.
    pub(super) fn machine_key(&self) -> Option<String> {
        machine_key(&self.platform.dmi, None).or_else(|| {
            let mac = self.shared.wait(CARD, |view| view.first_mac);
            machine_key(&self.platform.dmi, mac)
        })
    }

    fn who(&self, seed: &Seed) -> Identity {
        Identity {
            instance_id: seed.metadata.instance_id.clone(),
            machine_key: self.machine_key(),
            source: seed.source.clone(),
        }
    }

    /// Holds the machine against the one that was here before.
    ///
    /// # Errors
    /// Why Nomad must not be started, for people.
    pub(super) fn recognise(&mut self, plan: &Plan, found: &Found) -> Result<(), String> {
        if found.stale {
            // Whose it is was looked at before it was used.
            return Ok(());
        }
        let before = identity::identity(&self.root);
        let now = self.who(&found.seed);
        let standing = now.standing(before.as_ref());
        let id = |identity: Option<&Identity>| identity.and_then(|i| i.instance_id.clone()).unwrap_or("none".into());
        let ids = format!("the instance id was {} and is {}", id(before.as_ref()), id(Some(&now)));
        match standing {
            Standing::First | Standing::Same => {}
            Standing::Reconfigured => {
                notice!("reconfigured: {ids} on the same machine: files are written anew, all state is kept");
            }
            Standing::Moved => notice!("the disk is in another machine with the same instance id: all state is kept"),
            Standing::Clone => self.settle_clone(plan, &ids)?,
        }
        Ok(())
    }

    /// Remembers who the machine is, and the seed that was good for it.
    pub(super) fn remember(&self, found: &Found) {
        if found.stale {
            return;
        }
        let mut now = self.who(&found.seed);
        if now.machine_key.is_none() {
            now.machine_key = identity::identity(&self.root).and_then(|before| before.machine_key);
        }
        if let Err(error) = identity::remember(&self.root, &now, &found.seed) {
            warning!("{error}");
        }
    }

    /// Decides what becomes of the Nomad that a copied disk brought along.
    fn settle_clone(&mut self, plan: &Plan, ids: &str) -> Result<(), String> {
        // What is to be looked at may lie on one of them.
        self.apply_disks(plan)?;
        let places = self.places(plan);
        let remains = remains::find(&places);
        let what = format!("this disk is a copy of another machine's ({ids}, and the hardware is another)");
        let cluster = remains::hold_a_cluster(&places, &remains);
        let (on_clone, who) = match self.options.on_clone {
            OnClone::Auto => (plan.on_clone, "the user-data's steppe.clone"),
            chosen => (chosen, "steppe.clone=keep"),
        };
        let aside = match on_clone {
            _ if remains.is_empty() => {
                notice!("{what}: it holds no Nomad, so there is nothing to reset");
                return Ok(());
            }
            OnClone::Keep => {
                warning!("{what}: Nomad's data is kept, because of {who}");
                return Ok(());
            }
            OnClone::Auto if cluster => {
                return Err(format!(
                    "{what} and holds a Nomad server: two servers with one identity damage their cluster. Start this \
                     machine once with steppe.clone=reset on the kernel's command line, or give it `steppe: {{clone: \
                     reset}}` in its user-data, to set its Nomad data aside; keep instead of reset if the other machine \
                     is gone for good"
                ));
            }
            OnClone::Auto | OnClone::Reset => self.reset(&places).map_err(|why| {
                let data_dir = places.data_dir.display();
                format!("{what}, and its Nomad data cannot be set aside below {data_dir}: {why}")
            })?,
        };
        let finding = format!("{CLONE}{what}: the Nomad data of the other machine is in {}", aside.display());
        warning!("{finding}");
        self.find_out(CLONE, Some(finding));
        Ok(())
    }

    /// Sets aside who the machine was.
    fn reset(&self, places: &Places) -> std::io::Result<PathBuf> {
        let aside = remains::set_aside(places, SystemTime::now())?;
        let kept = self.below_root(paths::STATE_DIR).join("machine-id");
        if kept.exists() {
            std::fs::rename(&kept, aside.join("machine-id")).or_else(|_| std::fs::remove_file(&kept))?;
        }
        if let Err(why) = machine_id(&kept, &self.root.join("etc")) {
            warning!("failed to make a new machine id: {why}");
        }
        Ok(aside)
    }

    pub(super) fn places(&self, plan: &Plan) -> Places {
        let data_dir = plan.nomad.data_dir.as_deref().unwrap_or(paths::NOMAD_DATA);
        Places::new(&self.root, data_dir, &plan.nomad.elsewhere)
    }

    /// Puts a finding in the place of the one that begins in the same way, or takes that away.
    pub(super) fn find_out(&mut self, begin: &str, finding: Option<String>) {
        self.report.update(|status| {
            status.findings.retain(|old| !old.starts_with(begin));
            status.findings.extend(finding);
        });
    }
}
