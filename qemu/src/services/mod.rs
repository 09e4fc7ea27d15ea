//! The cloud that the machines live in: addresses, names, time, files, and ways between them and this host.

mod bridge;
mod datagram;
mod device;
pub mod dhcp;
pub mod dns;
pub mod http;
pub mod metadata;
pub mod ntp;
mod service;
mod stack;

pub use datagram::Datagram;
pub use dhcp::{Dhcp, DhcpConfig, DhcpMode, Lease, MessageType, Route};
pub use dns::{Dns, DnsMode};
pub use http::{HttpFault, Response, Site};
pub use ntp::{Ntp, NtpMode};

use crate::switch::{Mac, Switch, SwitchError};
use crate::wake::Wake;
use service::Service;
use stack::{Order, Stack};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where clouds have their metadata service.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where Scaleway has it.
pub const SCALEWAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 42);

/// Where Azure's machines report to, and learn what they are to do.
pub const WIRE_SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The services' names and addresses.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// The name of the port on the switch, for faults.
    pub name: String,
    /// The station.
    pub mac: Mac,
    /// The address, which is the machines' router and server of everything.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The domain of the machines' names.
    pub domain: String,
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            name: "services".to_owned(),
            mac: Mac([0x52, 0x54, 0x00, 0x05, 0xff, 0x01]),
            address: Ipv4Addr::new(10, 0, 5, 1),
            prefix: 24,
            domain: "steppe.test".to_owned(),
        }
    }
}

/// Why the services cannot do something.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ServicesError {
    #[error("failed to start the network's services: {0}")]
    Start(io::Error),
    #[error("failed to start the network's services: {0}")]
    Switch(#[from] SwitchError),
    #[error("failed to open a port of this host for {target}: {source}")]
    Forward { target: SocketAddrV4, source: io::Error },
}

/// The running services of one network. Dropping them ends their thread and all connections through them.
#[derive(Debug)]
pub struct Services {
    config: ServicesConfig,
    shared: Arc<Shared>,
    site: Arc<Site>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dhcp: Dhcp,
    pub(crate) dns: Dns,
    pub(crate) ntp: Ntp,
    pub(crate) wake: Wake,
    orders: Mutex<Vec<Order>>,
}

impl Shared {
    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.wake.ring();
    }
}

impl Services {
    /// Starts the services on a port of their own: DHCP, DNS and NTP, and HTTP on port 80 of [`ServicesConfig::address`], of
    /// 169.254.169.254, of 169.254.42.42 and of 168.63.129.16.
    ///
    /// # Errors
    /// When the switch has a port of that name, and what making a thread can give.
    pub fn start(switch: &Switch, config: ServicesConfig) -> Result<Self, ServicesError> {
        let router = config.address;
        let dhcp = Dhcp::new(DhcpConfig {
            server: router,
            prefix: config.prefix,
            router: Some(router),
            dns: vec![router],
            domain: Some(config.domain.clone()),
            mtu: None,
            ntp: vec![router],
            lease_time: Duration::from_secs(3600),
            routes: vec![
                Route { destination: METADATA_ADDRESS, prefix: 32, router },
                Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router },
            ],
            more: Vec::new(),
        });
        let wake = Wake::new().map_err(ServicesError::Start)?;
        let dns = Dns::new(&config.domain);
        let shared = Arc::new(Shared { dhcp, dns, ntp: Ntp::default(), wake, orders: Mutex::default() });
        let (ours, theirs) = UnixStream::pair().map_err(ServicesError::Start)?;
        // A machine that has no address yet asks from one of 169.254.0.0/16.
        let addresses =
            [(router, config.prefix), (METADATA_ADDRESS, 16), (SCALEWAY_ADDRESS, 32), (WIRE_SERVER_ADDRESS, 32)];
        let stack = Stack::new(Arc::clone(&shared), ours, config.mac, &addresses).map_err(ServicesError::Start)?;
        switch.attach(&config.name, theirs)?;
        let thread = std::thread::Builder::new().name(config.name.clone()).spawn(move || stack.run());
        let thread = thread.map_err(ServicesError::Start)?;
        let services = Self { config, shared, site: Arc::new(Site::default()), thread: Some(thread) };
        services.serve_http(80, &services.site);
        Ok(services)
    }

    /// How they were started.
    #[must_use]
    pub fn config(&self) -> &ServicesConfig {
        &self.config
    }

    /// The DHCP server.
    #[must_use]
    pub fn dhcp(&self) -> &Dhcp {
        &self.shared.dhcp
    }

    /// The name server.
    #[must_use]
    pub fn dns(&self) -> &Dns {
        &self.shared.dns
    }

    /// The time server.
    #[must_use]
    pub fn ntp(&self) -> &Ntp {
        &self.shared.ntp
    }

    /// What HTTP on port 80 serves.
    #[must_use]
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Serves a site on a port of the services' addresses, in place of what was there.
    pub fn serve_http(&self, port: u16, site: &Arc<Site>) {
        self.shared.order(Order::Listen(port, Service::Http(Arc::clone(site))));
    }

    /// Lets the machines reach a port of this host at a port of the services' addresses.
    pub fn expose_host(&self, port: u16, host: SocketAddr) {
        self.shared.order(Order::Listen(port, Service::Host(host)));
    }

    /// Refuses connections to a port from now on.
    pub fn close(&self, port: u16) {
        self.shared.order(Order::Unlisten(port));
    }

    /// Opens a port on this host's loopback address whose connections go to a machine. They stay in order whatever the machine does:
    /// it need not even be running yet; a connection that it refuses is reset.
    ///
    /// # Errors
    /// What opening a port can give.
    pub fn forward(&self, target: SocketAddrV4) -> Result<SocketAddr, ServicesError> {
        let open = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = open().map_err(|source| ServicesError::Forward { target, source })?;
        self.shared.order(Order::Forward(listener, target));
        Ok(address)
    }

    /// Closes the ports of this host that lead to a machine's port. Connections that exist stay.
    pub fn unforward(&self, target: SocketAddrV4) {
        self.shared.order(Order::Unforward(target));
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.shared.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}
