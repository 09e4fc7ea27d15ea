//! Who is there: membership by pings over UDP and exchanges of whole lists over TCP, both on the gossip port.
//!
//! Every server pings every other one. That costs messages with the square of their number, and a cluster has three or five servers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{log, rpc};

/// Between two rounds of pings.
const PING: Duration = Duration::from_millis(2500);
/// Silence after which a member has failed; the contract says about 36 s.
const SILENCE: Duration = Duration::from_secs(34);
/// For one exchange of lists.
const EXCHANGE: Duration = Duration::from_secs(5);

/// What a member's state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Answers, or has not been silent for long.
    Alive,
    /// Is about to leave.
    Leaving,
    /// Is silent.
    Failed,
    /// Has left.
    Left,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

/// A server, as others know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    /// `<node>.<region>`
    pub(crate) name: String,
    /// Address and port of its gossip.
    pub(crate) address: SocketAddr,
    /// Everything else.
    pub(crate) tags: BTreeMap<String, String>,
    /// State.
    pub(crate) status: Status,
    /// Grows with every start; a higher one is news.
    pub(crate) incarnation: u64,
}

impl Member {
    /// A tag, or nothing.
    #[must_use]
    pub(crate) fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// Address of its RPC.
    #[must_use]
    pub(crate) fn rpc(&self) -> String {
        format!("{}:{}", self.tag("rpc_addr"), self.tag("port"))
    }
}

#[derive(Debug, Clone)]
struct Known {
    member: Member,
    heard: Instant,
}

#[derive(Serialize, Deserialize)]
enum Packet {
    Ping(Member),
    Pong(Member),
}

/// Gossip of one server; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    own: String,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
    socket: Arc<UdpSocket>,
    changed: watch::Sender<u64>,
}

impl Gossip {
    /// Starts gossip for `own` on sockets that are bound already.
    #[must_use]
    pub(crate) fn start(own: Member, udp: UdpSocket, tcp: TcpListener) -> Self {
        joined(&own);
        let known = BTreeMap::from([(own.name.clone(), Known { member: own.clone(), heard: Instant::now() })]);
        let gossip = Self {
            own: own.name,
            known: Arc::new(Mutex::new(known)),
            socket: Arc::new(udp),
            changed: watch::Sender::new(0),
        };
        tokio::spawn(gossip.clone().hear());
        tokio::spawn(gossip.clone().ping());
        tokio::spawn(gossip.clone().accept(tcp));
        gossip
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All members that are known, by name.
    #[must_use]
    pub(crate) fn members(&self) -> Vec<Member> {
        self.lock().values().map(|known| known.member.clone()).collect()
    }

    /// This server.
    #[must_use]
    pub(crate) fn me(&self) -> Member {
        // The own entry is put in by `start` and never removed.
        self.lock()[&self.own].member.clone()
    }

    /// A receiver that sees every change.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in what another member says about `news`.
    fn learn(&self, news: Vec<Member>, direct: bool) {
        let mut fresh = Vec::new();
        let mut changed = false;
        let mut refuted = false;
        {
            let mut known = self.lock();
            for member in news {
                let now = Instant::now();
                match known.get_mut(&member.name) {
                    Some(mine) if member.name == self.own => {
                        if member.incarnation >= mine.member.incarnation
                            && mine.member.status == Status::Alive
                            && member.status > Status::Leaving
                        {
                            // Somebody believes that we are gone: be newer than that belief.
                            mine.member.incarnation = member.incarnation + 1;
                            refuted = true;
                        }
                    }
                    Some(old) => {
                        let newer = member.incarnation > old.member.incarnation;
                        let further = member.incarnation == old.member.incarnation
                            && member.status > old.member.status
                            && member.status != Status::Failed;
                        let alive_again =
                            direct && member.status == Status::Alive && old.member.status == Status::Failed;
                        if direct {
                            old.heard = now;
                        }
                        if newer || further || alive_again {
                            event(&old.member, &member);
                            changed |= old.member.status != member.status || newer;
                            if newer {
                                fresh.push(member.address);
                                old.heard = now;
                            }
                            old.member = member;
                        }
                    }
                    None => {
                        joined(&member);
                        fresh.push(member.address);
                        changed = true;
                        known.insert(member.name.clone(), Known { member, heard: now });
                    }
                }
            }
        }
        if refuted {
            fresh.extend(self.members().into_iter().filter(|other| other.name != self.own).map(|other| other.address));
        }
        for address in fresh {
            self.send(address, Packet::Ping);
        }
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn send(&self, to: SocketAddr, packet: impl FnOnce(Member) -> Packet) {
        if let Ok(bytes) = serde_json::to_vec(&packet(self.me())) {
            let _ = self.socket.try_send_to(&bytes, to);
        }
    }

    async fn hear(self) {
        let mut buffer = vec![0; 65536];
        loop {
            let Ok((size, _)) = self.socket.recv_from(&mut buffer).await else { continue };
            match serde_json::from_slice(&buffer[..size]) {
                Ok(Packet::Ping(member)) => {
                    let address = member.address;
                    self.learn(vec![member], true);
                    self.send(address, Packet::Pong);
                }
                Ok(Packet::Pong(member)) => self.learn(vec![member], true),
                Err(_) => {}
            }
        }
    }

    async fn ping(self) {
        let mut rounds = tokio::time::interval(PING);
        loop {
            rounds.tick().await;
            let mut failed = Vec::new();
            let mut others = Vec::new();
            for (name, known) in self.lock().iter_mut().filter(|(name, _)| **name != self.own) {
                match known.member.status {
                    Status::Alive | Status::Leaving if known.heard.elapsed() > SILENCE => {
                        known.member.status =
                            if known.member.status == Status::Leaving { Status::Left } else { Status::Failed };
                        failed.push((name.clone(), known.member.address.ip()));
                    }
                    Status::Left => continue,
                    _ => {}
                }
                // Failed ones too: that is how both sides learn that a partition is over.
                others.push(known.member.address);
            }
            for address in others {
                self.send(address, Packet::Ping);
            }
            for (name, ip) in &failed {
                log::info(format!("nomad: serf: EventMemberFailed: {name} {ip}"));
            }
            if !failed.is_empty() {
                self.changed.send_modify(|count| *count += 1);
            }
        }
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let gossip = self.clone();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(EXCHANGE, gossip.answer(stream)).await;
            });
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let theirs: Vec<Member> = serde_json::from_slice(&rpc::read(&mut stream).await?)?;
        rpc::write(&mut stream, &serde_json::to_vec(&self.members())?).await?;
        self.learn(theirs, false);
        Ok(())
    }

    /// Exchanges lists with whoever listens at `address`.
    ///
    /// # Errors
    /// If nobody does, or it is no server.
    pub(crate) async fn exchange(&self, address: SocketAddr) -> io::Result<()> {
        let talk = async {
            let mut stream = TcpStream::connect(address).await?;
            rpc::write(&mut stream, &serde_json::to_vec(&self.members())?).await?;
            let theirs: Vec<Member> = serde_json::from_slice(&rpc::read(&mut stream).await?)?;
            self.learn(theirs, false);
            Ok(())
        };
        tokio::time::timeout(EXCHANGE, talk)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")))
    }

    /// Joins every address of `names`; the number of those that answered, oneself included, and the reasons of the others.
    pub(crate) async fn join(&self, names: &[String], port: u16) -> (usize, Vec<String>) {
        let mut count = 0;
        let mut errors = Vec::new();
        for name in names {
            match resolve(name, port).await {
                Ok(addresses) => {
                    for address in addresses {
                        match self.exchange(address).await {
                            Ok(()) => count += 1,
                            Err(error) => errors.push(format!(
                                "failed to join {address}: dial tcp {address}: connect: {}",
                                crate::config::words(&error)
                            )),
                        }
                    }
                }
                Err(error) => errors.push(format!("failed to resolve {name}: lookup {name}: {error}")),
            }
        }
        (count, errors)
    }

    /// Tells everybody that this server's state is `status`.
    pub(crate) async fn announce(&self, status: Status) {
        self.tell(&self.own.clone(), status).await;
    }

    /// Tells everybody that `name` is on its way out; whether such a member exists.
    pub(crate) async fn force_leave(&self, name: &str) -> bool {
        let status = match self.lock().get(name).map(|known| known.member.status) {
            Some(Status::Failed | Status::Left) => Status::Left,
            Some(_) => Status::Leaving,
            None => return false,
        };
        self.tell(name, status).await;
        true
    }

    async fn tell(&self, name: &str, status: Status) {
        let mut others = Vec::new();
        {
            let mut known = self.lock();
            if let Some(one) = known.get_mut(name) {
                let old = one.member.clone();
                one.member.status = status;
                event(&old, &one.member);
            }
            let asks = |known: &&Known| {
                known.member.name != self.own && known.member.name != name && known.member.status == Status::Alive
            };
            others.extend(known.values().filter(asks).map(|known| known.member.address));
        }
        self.changed.send_modify(|count| *count += 1);
        let calls: Vec<_> = others
            .into_iter()
            .map(|address| {
                let gossip = self.clone();
                tokio::spawn(async move { gossip.exchange(address).await })
            })
            .collect();
        for call in calls {
            let _ = call.await;
        }
    }
}

/// Addresses behind a name with or without a port.
///
/// # Errors
/// What the resolver says.
pub(crate) async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let target = if name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        name.to_owned()
    } else {
        format!("{name}:{port}")
    };
    let mut addresses: Vec<SocketAddr> = lookup_host(target).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

fn joined(member: &Member) {
    event_line("Join", &member.name, member.address.ip());
}

fn event(old: &Member, new: &Member) {
    match (old.status, new.status) {
        (Status::Alive | Status::Leaving, Status::Left | Status::Leaving) if old.status != new.status => {
            event_line("Leave", &new.name, new.address.ip());
        }
        (Status::Failed | Status::Left, Status::Alive) => joined(new),
        _ => {}
    }
}

fn event_line(what: &str, name: &str, ip: IpAddr) {
    log::info(format!("nomad: serf: EventMember{what}: {name} {ip}"));
}
