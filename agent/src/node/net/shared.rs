//! What the poll loop tells the rest of the node.

use std::{
    net::Ipv4Addr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::dhcp::Lease;
use crate::node::clock;

/// The network and the devices, as last seen.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Interfaces with a lease, in the order of their numbers.
    pub leases: Vec<(String, Lease)>,
    /// Ethernet interfaces, with whether each has a carrier.
    pub links: Vec<(String, bool)>,
    /// Hardware address of the first interface.
    pub first_mac: Option<[u8; 6]>,
    /// Grows with every block device that comes, changes or goes.
    pub devices: u64,
    /// Grows with every change of the leases.
    pub changes: u64,
}

impl View {
    /// The lease that the node speaks from: the first with a default route, else the first.
    #[must_use]
    pub fn primary(&self) -> Option<&(String, Lease)> {
        let has_default = |lease: &Lease| lease.routes.iter().any(|route| route.prefix == 0);
        self.leases.iter().find(|(_, lease)| has_default(lease)).or_else(|| self.leases.first())
    }

    /// Whether every link with a carrier has a lease: then [`View::primary`] does not depend on which server answered
    /// first.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let has_lease = |name: &str| self.leases.iter().any(|(leased, _)| leased == name);
        self.links.iter().all(|(name, carrier)| !carrier || has_lease(name))
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.leases.iter().map(|(_, lease)| lease.address)
    }

    /// What an address is waited for on, for people.
    #[must_use]
    pub fn describe_wait(&self) -> String {
        match self.links.as_slice() {
            [] => "a network interface".into(),
            links => {
                let with: Vec<&str> = links.iter().filter(|(_, carrier)| *carrier).map(|(n, _)| n.as_str()).collect();
                if with.is_empty() {
                    let names: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
                    format!("a carrier on {}", names.join(", "))
                } else {
                    format!("a DHCP lease on {}", with.join(", "))
                }
            }
        }
    }
}

/// A [`View`] that one thread writes and others wait for.
#[derive(Debug, Default)]
pub struct Shared {
    view: Mutex<View>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, View> {
        // A panic ends the process, so a poisoned lock is never seen; if it were, the view would still be whole.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view as it is.
    #[must_use]
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Changes the view and wakes who waits.
    pub fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `done` says something about the view, or for `timeout`.
    pub fn wait<T>(&self, timeout: Duration, mut done: impl FnMut(&View) -> Option<T>) -> Option<T> {
        let end = clock::now() + timeout;
        let mut view = self.lock();
        loop {
            if let Some(value) = done(&view) {
                return Some(value);
            }
            let left = end.checked_sub(clock::now()).filter(|left| !left.is_zero())?;
            view = self.changed.wait_timeout(view, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_change_ends_the_wait() {
        let shared = Arc::new(Shared::default());
        let other = Arc::clone(&shared);
        let waiter = std::thread::spawn(move || {
            other.wait(Duration::from_secs(20), |view| (view.devices > 0).then_some(view.devices))
        });
        shared.update(|view| view.devices = 7);
        assert_eq!(waiter.join().unwrap(), Some(7));
        assert_eq!(shared.wait(Duration::ZERO, |_| None::<()>), None);
    }

    #[test]
    fn the_wait_is_described() {
        let mut view = View::default();
        assert_eq!(view.describe_wait(), "a network interface");
        view.links = vec![("eth0".into(), false), ("eth1".into(), false)];
        assert_eq!(view.describe_wait(), "a carrier on eth0, eth1");
        view.links[1].1 = true;
        assert_eq!(view.describe_wait(), "a DHCP lease on eth1");
    }
}
