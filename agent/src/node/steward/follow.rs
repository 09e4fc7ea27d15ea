//! The channel of updates that the user-data names is followed by a thread of its own, from the first time that Nomad is well.

use std::{sync::Arc, thread};

use super::Steward;
use crate::{
    facts::ImageFacts,
    node::{
        follow::{Board, Follower, Local, Own},
        userdata::Plan,
    },
    paths, warning,
};

/// Stack of the thread.
const STACK: usize = 256 << 10;

impl Steward {
    /// Begins to follow, or to give back what an earlier update took.
    pub(super) fn begin_to_follow(&self, plan: &Plan, board: &Arc<Board>) {
        let key = std::fs::read_to_string(self.below_root(paths::UPDATE_KEY)).ok();
        let own = key.ok_or_else(|| "this image takes no updates: its recipe has no [update] key".to_owned());
        let own = own.and_then(|key| {
            let version = self.facts.image_version().parse().map_err(|why| format!("this image: {why}"))?;
            let ImageFacts { role, profile, architecture, .. } = &self.facts;
            Ok(Own { role: *role, profile: profile.clone(), architecture: architecture.clone(), version, key })
        });
        let own = match own {
            Ok(own) => own,
            Err(_) if plan.follow.is_none() => return,
            Err(why) => return board.say(&self.shared, why),
        };
        let nomad = Local {
            root: self.root.clone(),
            user: plan.nomad.clone(),
            client: self.places(plan).client().to_owned(),
            token: plan.follow.as_ref().and_then(|follow| follow.token.clone()),
            guarded: true,
            shared: Arc::clone(&self.shared),
        };
        let name = self.report.status().hostname.clone().unwrap_or_default();
        let follower =
            Follower::new(plan.follow.clone(), own, nomad, name, Arc::clone(board), Arc::clone(&self.shared));
        if !follower.is_needed() {
            return;
        }
        let thread = thread::Builder::new().name("channel".into()).stack_size(STACK);
        if let Err(why) = thread.spawn(move || follower.run()) {
            warning!("failed to start a thread for the channel: {why}");
        }
    }
}
