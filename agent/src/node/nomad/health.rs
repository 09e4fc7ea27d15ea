//! Whether Nomad does what its role is for.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::Value;

use super::{
    api::{Api, Silence},
    check::Summary,
};

/// What one look gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does what its role is for.
    Well {
        /// The leader's address, when a server said it.
        leader: Option<String>,
    },
    /// It does not; what it awaits, and whether starting it anew could help.
    Awaits {
        /// What.
        what: String,
        /// A client that is refused registers at once when it starts anew; a server without quorum gains nothing.
        restart_helps: bool,
    },
}

impl Health {
    fn awaits(what: impl Into<String>, restart_helps: bool) -> Self {
        Self::Awaits { what: what.into(), restart_helps }
    }

    /// The same, where a new start is no help.
    #[must_use]
    pub fn without_restart(self) -> Self {
        match self {
            Self::Awaits { what, .. } => Self::Awaits { what, restart_helps: false },
            well @ Self::Well { .. } => well,
        }
    }

    /// Whether all is well.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        matches!(self, Self::Well { .. })
    }
}

/// Looks once. A server is well when a leader is known and this server is one of the raft peers; a client when a
/// server calls its node ready. `known` says that the address is Nomad's for sure: at a guessed one silence is no
/// reason to start it anew.
#[must_use]
pub fn look(api: &Api, user: &Summary, own: &[Ipv4Addr], known: bool) -> Health {
    if user.http_tls {
        return Health::awaits("nothing: Nomad's HTTP interface speaks TLS, which the agent cannot ask", false);
    }
    let mut leader = None;
    if user.server {
        match server(api, own, known) {
            Health::Well { leader: known } => leader = known,
            unwell @ Health::Awaits { .. } => return unwell,
        }
    }
    if user.client {
        return match client(api, known) {
            Health::Well { .. } => Health::Well { leader },
            unwell @ Health::Awaits { .. } => unwell,
        };
    }
    Health::Well { leader }
}

fn server(api: &Api, own: &[Ipv4Addr], known: bool) -> Health {
    // Both are anonymous, even with ACLs on.
    let answer = match api.ask("/v1/status/leader") {
        Ok(answer) => answer,
        // A server that is slow has work to do (a restore, an emulated processor): a new start begins it again.
        Err(silence) => {
            return Health::awaits("an answer of Nomad's HTTP interface", known && silence == Silence::Nobody);
        }
    };
    let leader = match answer.json() {
        Some(Value::String(leader)) if !leader.is_empty() => leader,
        _ => return Health::awaits("a leader of the servers", false),
    };
    let peers = api.get("/v1/status/peers").and_then(|answer| answer.json());
    let peers: Vec<&str> = peers.iter().flat_map(|p| p.as_array()).flatten().filter_map(Value::as_str).collect();
    let is_own =
        |peer: &&str| own.iter().any(|ip| peer.rsplit_once(':').is_some_and(|(host, _)| host == ip.to_string()));
    if peers.iter().any(is_own) {
        Health::Well { leader: Some(leader) }
    } else {
        Health::awaits("this server among the raft peers", false)
    }
}

fn client(api: &Api, known: bool) -> Health {
    let Some(answer) = api.get("/v1/agent/self") else {
        return Health::awaits("an answer of Nomad's HTTP interface", known);
    };
    if answer.status == 403 {
        // ACLs: registration cannot be seen without a token. That it knows servers is all there is.
        return match api.get("/v1/agent/health?type=client") {
            Some(answer) if answer.status == 200 => Health::Well { leader: None },
            _ => Health::awaits("a server", true),
        };
    }
    let Some(json) = answer.json() else { return Health::awaits("an answer of Nomad's HTTP interface", known) };
    let Some(id) = json["stats"]["client"]["node_id"].as_str().filter(|id| !id.is_empty()) else {
        return Health::awaits("Nomad's client to start", true);
    };
    // Forwarded to a server: no answer at all when none is reachable, and then a new start would not reach one either.
    let Some(answer) = api.get(&format!("/v1/node/{id}")) else {
        return Health::awaits("a server that answers", false);
    };
    match (answer.status, answer.json()) {
        (_, Some(node)) if node["Status"] == "ready" => Health::Well { leader: None },
        (_, Some(node)) => {
            let status = node["Status"].as_str().unwrap_or("unknown");
            Health::awaits(format!("its node to be ready (it is {status})"), true)
        }
        (404, None) => Health::awaits("its registration with the servers", true),
        (status, None) => Health::awaits(format!("a leader of the servers (they answer {status})"), false),
    }
}

/// When an unhealthy Nomad is started anew: after a limit, then after twice that, and so on.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    until: Option<Duration>,
}

/// A client that stays unregistered for this long is started anew. Its own next try comes after at most 30 s.
const FIRST_LIMIT: Duration = Duration::from_secs(90);
/// The longest limit.
const LONGEST_LIMIT: Duration = Duration::from_secs(1800);

impl Default for Patience {
    fn default() -> Self {
        Self { limit: FIRST_LIMIT, until: None }
    }
}

impl Patience {
    /// Takes a look's result; says whether Nomad is to be started anew now.
    pub fn judge(&mut self, health: &Health, now: Duration) -> bool {
        match health {
            Health::Well { .. } => *self = Self::default(),
            Health::Awaits { restart_helps: false, .. } => self.until = None,
            Health::Awaits { restart_helps: true, .. } => match self.until {
                None => self.until = Some(now + self.limit),
                Some(until) if now >= until => {
                    self.limit = (self.limit * 2).min(LONGEST_LIMIT);
                    self.until = Some(now + self.limit);
                    return true;
                }
                Some(_) => {}
            },
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::serve;

    const OWN: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 0, 5, 10)];

    fn with(answer: impl Fn(&str) -> (u16, String) + Send + 'static, user: &Summary) -> Health {
        let server = serve(answer);
        look(&Api::new(&server.address().to_string(), Duration::from_secs(5)), user, &OWN, true)
    }

    fn server_user() -> Summary {
        Summary { server: true, ..Summary::default() }
    }

    fn client_user() -> Summary {
        Summary { client: true, ..Summary::default() }
    }

    #[test]
    fn a_server_needs_a_leader_and_its_own_seat() {
        let answer = |peers: &'static str| {
            move |path: &str| match path {
                "/v1/status/leader" => (200, "\"10.0.5.11:4647\"".to_owned()),
                _ => (200, peers.to_owned()),
            }
        };
        assert_eq!(
            with(answer(r#"["10.0.5.11:4647","10.0.5.10:4647"]"#), &server_user()),
            Health::Well { leader: Some("10.0.5.11:4647".into()) }
        );
        assert!(!with(answer(r#"["10.0.5.11:4647","10.0.5.101:4647"]"#), &server_user()).is_well());
        let lost = with(|_| (500, "No cluster leader".into()), &server_user());
        assert_eq!(lost, Health::awaits("a leader of the servers", false));
    }

    #[test]
    fn a_client_needs_a_server_that_calls_it_ready() {
        let answer = |status: &'static str| {
            move |path: &str| match path {
                "/v1/agent/self" => (200, r#"{"stats":{"client":{"node_id":"abc"}}}"#.to_owned()),
                "/v1/node/abc" => match status {
                    "" => (404, "node not found".to_owned()),
                    status => (200, format!(r#"{{"Status":"{status}"}}"#)),
                },
                _ => (400, String::new()),
            }
        };
        assert!(with(answer("ready"), &client_user()).is_well());
        assert!(!with(answer("initializing"), &client_user()).is_well());
        assert_eq!(with(answer(""), &client_user()), Health::awaits("its registration with the servers", true));
        let leaderless = |path: &str| match path {
            "/v1/agent/self" => (200, r#"{"stats":{"client":{"node_id":"abc"}}}"#.to_owned()),
            _ => (500, "No cluster leader".to_owned()),
        };
        let health = with(leaderless, &client_user());
        assert!(matches!(health, Health::Awaits { restart_helps: false, .. }), "a new start elects nobody: {health:?}");
    }

    #[test]
    fn acls_hide_the_registration() {
        let health = with(
            |path| {
                if path.starts_with("/v1/agent/health") {
                    (200, "{}".into())
                } else {
                    (403, "Permission denied".into())
                }
            },
            &client_user(),
        );
        assert!(health.is_well());
    }

    #[test]
    fn silence_at_a_guessed_address_is_no_reason_to_start_anew() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let api = Api::new(&nobody.to_string(), Duration::from_secs(1));
        for user in [server_user(), client_user()] {
            for known in [false, true] {
                let want = Health::awaits("an answer of Nomad's HTTP interface", known);
                assert_eq!(look(&api, &user, &OWN, known), want);
            }
        }
    }

    #[test]
    fn a_slow_server_is_left_to_its_work() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::new(&listener.local_addr().unwrap().to_string(), Duration::from_millis(300));
        let health = look(&api, &server_user(), &OWN, true);
        assert_eq!(health, Health::awaits("an answer of Nomad's HTTP interface", false));
    }

    /// Without it, an unregistered client would stay as it is.
    #[test]
    fn patience_ends_and_grows_and_is_given_back() {
        let s = Duration::from_secs;
        let unwell = Health::awaits("x", true);
        let mut patience = Patience::default();
        assert!(!patience.judge(&unwell, s(0)));
        assert!(!patience.judge(&unwell, s(89)));
        assert!(patience.judge(&unwell, s(90)));
        assert!(!patience.judge(&unwell, s(91 + 89)));
        assert!(patience.judge(&unwell, s(90 + 180)));
        patience.judge(&Health::Well { leader: None }, s(300));
        assert!(!patience.judge(&unwell, s(301)));
        assert!(patience.judge(&unwell, s(391)));
        let no_quorum = Health::awaits("a leader of the servers", false);
        assert!(!(0..100).any(|n| Patience::default().judge(&no_quorum, s(n * 100))));
    }
}
