//! Setting the clock: before Nomad starts when somebody named a time server, beside everything else otherwise.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Steward;
use crate::{
    info,
    node::{
        time::{self, Servers},
        userdata::Plan,
    },
    notice, warning,
};

/// Time that the clock may take before Nomad starts anyway.
const BEFORE: Duration = Duration::from_secs(4);
/// Time that it may take beside everything else.
const BESIDE: Duration = Duration::from_secs(10);

impl Steward {
    /// Certificates and Nomad's garbage collection need a clock that is about right.
    pub(super) fn set_clock(&self, plan: &Plan) {
        let epoch = self.epoch();
        match self.time_servers(plan) {
            Servers::None => {}
            // A clock before the image was made is wrong for certain, and worth the wait.
            Servers::Public(servers) if SystemTime::now() >= epoch => beside(servers, epoch),
            Servers::Named(servers) | Servers::Public(servers) => {
                match time::ask(&servers, None, BEFORE).and_then(|answer| time::set(&answer, epoch)) {
                    Ok(Some(off)) => notice!("the clock was off by {:.1} s", -off),
                    Ok(None) => {}
                    Err(why) => warning!("the clock is not set: {why}"),
                }
            }
        }
    }

    /// Looks at the clock again without holding anything up.
    pub(super) fn check_clock(&self, plan: &Plan) {
        match self.time_servers(plan) {
            Servers::None => {}
            Servers::Named(servers) | Servers::Public(servers) => beside(servers, self.epoch()),
        }
    }

    fn epoch(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.facts.epoch)
    }

    fn time_servers(&self, plan: &Plan) -> Servers {
        let view = self.shared.view();
        let mut dhcp = Vec::new();
        for server in view.leases.iter().flat_map(|(_, lease)| &lease.ntp) {
            if !dhcp.contains(server) {
                dhcp.push(*server);
            }
        }
        time::servers(&plan.ntp, &dhcp, !view.name_servers.is_empty())
    }
}

fn beside(servers: Vec<String>, epoch: SystemTime) {
    thread::spawn(move || match time::ask(&servers, None, BESIDE).and_then(|answer| time::set(&answer, epoch)) {
        Ok(Some(off)) => notice!("the clock was off by {:.1} s", -off),
        Ok(None) => {}
        Err(why) => info!("the clock is not checked: {why}"),
    });
}
