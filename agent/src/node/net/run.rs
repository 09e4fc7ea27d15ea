//! The poll loop.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_KOBJECT_UEVENT, NETLINK_ROUTE},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{netlink::Netlink, nic::Nic, resolv::resolv_conf, shared::Shared};
use crate::{
    info,
    node::{clock, files::write_atomically},
    warning,
};

/// `RTMGRP_LINK`.
const LINK_EVENTS: u32 = 1;
/// The kernel's own uevents, not udev's.
const KERNEL_EVENTS: u32 = 1;

/// All interfaces.
#[derive(Debug)]
pub struct Network {
    netlink: Netlink,
    links: Socket,
    devices: Socket,
    nics: BTreeMap<u32, Nic>,
    shared: Arc<Shared>,
    resolv_conf: PathBuf,
    /// Interfaces made of software take part; for tests, whose wires are of that kind.
    virtual_links: bool,
}

impl Network {
    /// Opens the sockets. `root` is where `/etc/resolv.conf` is written.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open(root: &Path, shared: Arc<Shared>, virtual_links: bool) -> io::Result<Self> {
        let netlink = Netlink::open()?;
        let mut links = Socket::new(NETLINK_ROUTE)?;
        links.bind(&SocketAddr::new(0, LINK_EVENTS))?;
        links.set_non_blocking(true)?;
        let mut devices = Socket::new(NETLINK_KOBJECT_UEVENT)?;
        devices.bind(&SocketAddr::new(0, KERNEL_EVENTS))?;
        devices.set_non_blocking(true)?;
        let resolv_conf = root.join("etc/resolv.conf");
        Ok(Self { netlink, links, devices, nics: BTreeMap::new(), shared, resolv_conf, virtual_links })
    }

    /// Runs for ever.
    pub fn run(mut self) -> ! {
        self.refresh();
        loop {
            self.step(None);
        }
    }

    /// Looks at the links for the first time, then works until `done` or the end of `timeout`. For tests.
    pub fn run_until(&mut self, timeout: Duration, mut done: impl FnMut(&Shared) -> bool) -> bool {
        let end = clock::now() + timeout;
        self.refresh();
        while !done(&self.shared) {
            if clock::now() >= end {
                return false;
            }
            self.step(Some(end));
        }
        true
    }

    /// Waits for the next event or deadline and deals with it.
    fn step(&mut self, end: Option<Duration>) {
        let deadline = self.nics.values().filter_map(Nic::deadline).chain(end).min();
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                // Rounded up, so that the deadline has come when poll returns.
                let wait = deadline.saturating_sub(clock::now()).as_millis() + 1;
                PollTimeout::try_from(wait.min(60_000)).unwrap_or(PollTimeout::MAX)
            }
        };
        let ready = {
            let order: Vec<u32> = self.nics.keys().copied().collect();
            let mut fds = vec![
                PollFd::new(self.links.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.devices.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(self.nics.values().map(|nic| PollFd::new(nic.fd(), PollFlags::POLLIN)));
            if poll(&mut fds, timeout).is_err() {
                return;
            }
            let hit = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            let nics: Vec<u32> = order.into_iter().zip(&fds[2..]).filter(|(_, fd)| hit(fd)).map(|(n, _)| n).collect();
            (hit(&fds[0]), hit(&fds[1]), nics)
        };
        if ready.1 {
            self.read_devices();
        }
        if ready.0 {
            drain(&self.links);
            self.refresh();
        }
        let now = clock::now();
        let mut changed = false;
        for (index, nic) in &mut self.nics {
            if ready.2.contains(index) {
                changed |= nic.receive(&mut self.netlink, now);
            }
            if nic.deadline().is_some_and(|deadline| deadline <= now) {
                changed |= nic.poll(&mut self.netlink, now);
            }
        }
        if changed {
            self.publish(true);
        }
    }

    /// Asks the kernel for all links: an event may have been lost, the answer never is.
    fn refresh(&mut self) {
        let links = match self.netlink.links() {
            Ok(links) => links,
            Err(error) => return warning!("{error}"),
        };
        let now = clock::now();
        let mut gone: Vec<u32> = self.nics.keys().copied().collect();
        for link in links.into_iter().filter(|link| self.virtual_links || !link.virtual_) {
            gone.retain(|index| *index != link.index);
            if !link.up
                && let Err(error) = self.netlink.bring_up(&link)
            {
                warning!("{error}");
            }
            match self.nics.get_mut(&link.index) {
                Some(nic) => nic.update(link, now),
                None => match Nic::new(link.clone(), now) {
                    Ok(nic) => {
                        info!("{}: {}", link.name, mac(link.mac));
                        self.nics.insert(link.index, nic);
                    }
                    Err(error) => warning!("failed to open a packet socket on {}: {error}", link.name),
                },
            }
        }
        let lost = gone.iter().any(|index| self.nics.remove(index).is_some_and(|nic| nic.lease().is_some()));
        self.publish(lost);
    }

    /// Tells the rest of the node, and the resolver.
    fn publish(&self, leases_changed: bool) {
        let leases: Vec<_> =
            self.nics.values().filter_map(|nic| Some((nic.link.name.clone(), nic.lease()?.clone()))).collect();
        if leases_changed {
            let text = resolv_conf(leases.iter().map(|(_, lease)| lease));
            if let Err(error) = write_atomically(&self.resolv_conf, text.as_bytes(), 0o644) {
                warning!("{error}");
            }
        }
        self.shared.update(|view| {
            view.links = self.nics.values().map(|nic| (nic.link.name.clone(), nic.link.carrier)).collect();
            view.first_mac = self.nics.values().next().map(|nic| nic.link.mac);
            if leases_changed {
                view.leases = leases;
                view.changes += 1;
            }
        });
    }

    fn read_devices(&self) {
        let mut block = 0;
        while let Ok((event, _)) = self.devices.recv_from_full() {
            if event.split(|byte| *byte == 0).any(|field| field == b"SUBSYSTEM=block") {
                block += 1;
            }
        }
        if block > 0 {
            self.shared.update(|view| view.devices += block);
        }
    }
}

fn drain(socket: &Socket) {
    while socket.recv_from_full().is_ok() {}
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
