//! What the poll loop and the rest of the node tell each other.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{resolv::Resolver, view::View};
use crate::node::{clock, netconfig::NetworkMode};

/// An order to the poll loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// With its number.
    Apply(NetworkMode, u64),
    HostName(String),
    Resolver(Resolver),
    LinkLocal,
    /// A kernel module was asked for, and there is an answer.
    Module,
}

/// A [`View`] that one thread writes and others wait for, and orders to that thread.
#[derive(Debug, Default)]
pub struct Shared {
    view: Mutex<View>,
    changed: Condvar,
    orders: Mutex<Orders>,
    /// Ends the wait of the poll loop.
    wake: OnceLock<Arc<EventFd>>,
}

#[derive(Debug, Default)]
struct Orders {
    requests: Vec<Request>,
    /// How many modes were ordered.
    modes: u64,
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

    /// Orders a network; until the first order it is [`NetworkMode::Fallback`]. A plan that names no interface leaves
    /// them as they are, and only adds its name servers. Returns the value that [`View::applied`] reaches when the order was carried out once; what did
    /// not succeed stands in [`View::notes`] then, and is tried again.
    pub fn apply(&self, mode: NetworkMode) -> u64 {
        let order = {
            let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            orders.modes += 1;
            orders.modes
        };
        self.request(Request::Apply(mode, order));
        order
    }

    /// Tells DHCP servers the machine's name, from now on.
    pub fn set_host_name(&self, name: &str) {
        self.request(Request::HostName(name.to_owned()));
    }

    /// Fixes what `/etc/resolv.conf` says, whatever the network says.
    pub fn fix_resolver(&self, resolver: Resolver) {
        self.request(Request::Resolver(resolver));
    }

    /// Asks for an IPv4 link-local address on the first interface with a carrier, until it has a better one or a plan
    /// comes: some clouds answer for metadata, but have no DHCP.
    pub fn want_link_local(&self) {
        self.request(Request::LinkLocal);
    }

    pub(super) fn request(&self, request: Request) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).requests.push(request);
        // Before there is a loop there is nobody to wake: it looks when it begins.
        if let Some(wake) = self.wake.get() {
            let _ = wake.write(1);
        }
    }

    /// What was ordered since the last call.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner).requests)
    }

    /// The descriptor that becomes readable with every order.
    pub(super) fn wake(&self) -> io::Result<Arc<EventFd>> {
        let new = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        Ok(Arc::clone(self.wake.get_or_init(|| new)))
    }
}

#[cfg(test)]
mod tests {
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
    fn orders_wake_the_loop_and_are_numbered() {
        let shared = Shared::default();
        assert_eq!(shared.apply(NetworkMode::Fallback), 1);
        let wake = shared.wake().unwrap();
        assert!(wake.read().is_err(), "the first came before there was anybody to wake");
        shared.set_host_name("server-vm-0");
        assert_eq!(wake.read(), Ok(1));
        assert_eq!(shared.apply(NetworkMode::Plan(Box::default())), 2);
        assert_eq!(shared.take_requests().len(), 3);
        assert!(shared.take_requests().is_empty());
    }
}
