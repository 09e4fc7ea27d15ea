//! The poll loop.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_KOBJECT_UEVENT};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};

use super::{
    configure::Progress,
    netlink::{Events, Netlink, Resolvers},
    nic::{Nic, Outcome},
    resolv::Resolver,
    shared::{Request, Shared},
};
use crate::node::{clock, netconfig::NetworkMode};

/// The kernel's own uevents, not udev's.
const KERNEL_EVENTS: u32 = 1;

/// All interfaces.
#[derive(Debug)]
pub struct Network {
    pub(super) netlink: Netlink,
    events: Events,
    devices: Socket,
    wake: Arc<EventFd>,
    pub(super) nics: BTreeMap<u32, Nic>,
    pub(super) shared: Arc<Shared>,
    /// Where the file system begins.
    pub(super) root: PathBuf,
    /// Pairs of virtual Ethernet interfaces pass for hardware; for tests, whose wires are of that kind.
    pub(super) virtual_links: bool,
    /// What was ordered.
    pub(super) mode: NetworkMode,
    pub(super) host_name: Option<String>,
    pub(super) link_local: bool,
    /// What user-data says instead of the network.
    pub(super) resolver: Option<Resolver>,
    /// How far that is carried out.
    pub(super) progress: Progress,
}

impl Network {
    /// Opens the sockets. `root` is where `/etc/resolv.conf` is written, and `/sys` and `/proc` are read.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open(root: &Path, shared: Arc<Shared>, virtual_links: bool) -> io::Result<Self> {
        let mut devices = Socket::new(NETLINK_KOBJECT_UEVENT)?;
        devices.bind(&SocketAddr::new(0, KERNEL_EVENTS))?;
        devices.set_non_blocking(true)?;
        Ok(Self {
            netlink: Netlink::open()?,
            events: Events::open()?,
            devices,
            wake: shared.wake()?,
            nics: BTreeMap::new(),
            shared,
            root: root.to_owned(),
            virtual_links,
            mode: NetworkMode::default(),
            host_name: None,
            link_local: false,
            resolver: None,
            progress: Progress::default(),
        })
    }

    /// Runs for ever.
    pub fn run(mut self) -> ! {
        self.begin();
        loop {
            self.step(None);
        }
    }

    /// Looks at the links for the first time, then works until `done` or the end of `timeout`. For tests.
    pub fn run_until(&mut self, timeout: Duration, mut done: impl FnMut(&Shared) -> bool) -> bool {
        let end = clock::now() + timeout;
        self.begin();
        while !done(&self.shared) {
            if clock::now() >= end {
                return false;
            }
            self.step(Some(end));
        }
        true
    }

    fn begin(&mut self) {
        self.take_orders();
        self.reconcile();
    }

    /// Waits for the next event or deadline and deals with it.
    fn step(&mut self, end: Option<Duration>) {
        let own = self.progress.deadline();
        let deadline = self.nics.values().filter_map(Nic::deadline).chain(own).chain(end).min();
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                // Rounded up, so that the deadline has come when poll returns.
                let wait = deadline.saturating_sub(clock::now()).as_millis() + 1;
                PollTimeout::try_from(wait.min(60_000)).unwrap_or(PollTimeout::MAX)
            }
        };
        let (fixed, readable) = {
            let mut fds: Vec<PollFd<'_>> = [self.events.fd(), self.devices.as_fd(), self.wake.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .into();
            let mut owners = Vec::new();
            for (index, nic) in &self.nics {
                for fd in nic.fds() {
                    owners.push(*index);
                    fds.push(PollFd::new(fd, PollFlags::POLLIN));
                }
            }
            if poll(&mut fds, timeout).is_err() {
                return;
            }
            let hit = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            let readable: Vec<u32> =
                owners.into_iter().zip(&fds[3..]).filter(|(_, fd)| hit(fd)).map(|(index, _)| index).collect();
            ([hit(&fds[0]), hit(&fds[1]), hit(&fds[2])], readable)
        };
        let mut reconcile = self.progress.deadline().is_some_and(|due| due <= clock::now());
        if fixed[0] {
            let seen = self.events.read();
            reconcile |= seen.links || seen.addresses || !seen.resolvers.is_empty();
            let now = clock::now();
            for Resolvers { index, servers } in &seen.resolvers {
                self.nics.get_mut(index).into_iter().for_each(|nic| nic.take_resolvers(servers, now));
            }
        }
        if fixed[1] {
            self.read_devices();
        }
        if fixed[2] {
            let _ = self.wake.read();
            reconcile |= self.take_orders();
        }
        let now = clock::now();
        let mut outcome = Outcome::default();
        for (index, nic) in &mut self.nics {
            outcome = outcome.and(nic.work(readable.contains(index), now));
        }
        if reconcile || outcome.install {
            self.reconcile();
        }
    }

    /// Takes over what the rest of the node ordered. Returns whether there was anything.
    fn take_orders(&mut self) -> bool {
        let requests = self.shared.take_requests();
        let now = clock::now();
        for request in &requests {
            match request {
                Request::Apply(mode, order) => {
                    self.mode = mode.clone();
                    self.link_local = false;
                    self.progress.begin(*order, now);
                }
                Request::HostName(name) => {
                    self.host_name = Some(name.clone());
                    self.nics.values_mut().for_each(|nic| nic.set_host_name(name, now));
                }
                Request::Resolver(resolver) => self.resolver = Some(resolver.clone()),
                Request::LinkLocal => self.link_local = true,
                Request::Module => self.progress.hurry(now),
            }
        }
        !requests.is_empty()
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
