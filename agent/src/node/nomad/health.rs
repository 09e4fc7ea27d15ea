//! Whether Nomad does what its role is for.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;

use super::{
    api::{Answer, Api, Secret, Silence},
    check::Summary,
};

/// What was proven of a Nomad that is called well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// That it does what its role is for: a server sits among the peers of a leader, a client's node is ready.
    Role,
    /// That its agent calls itself healthy: ACLs hide whether a server knows its node.
    Agent,
    /// That its process is ready and listens: its HTTP speaks TLS and lets the agent not in.
    Process,
}

impl Proof {
    /// The word for it in the `READY` line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Agent => "agent",
            Self::Process => "process",
        }
    }

    /// What is not proven, for people.
    #[must_use]
    pub const fn lacks(self) -> Option<&'static str> {
        match self {
            Self::Role => None,
            Self::Agent => {
                Some("that the servers know its node is not proven: ACLs hide it, and its secret cannot be read")
            }
            Self::Process => Some(
                "only that its process is ready and listens is proven: Nomad's HTTP asks for a certificate that the \
                 agent does not have",
            ),
        }
    }
}

/// What one look gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does what its role is for.
    Well {
        /// The leader's address, when a server said it.
        leader: Option<String>,
        /// How much of that was seen.
        proof: Proof,
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

/// Whom a look is about.
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Subject<'a> {
    /// Where it is asked.
    pub api: &'a Api,
    /// What the user's files say of it.
    pub user: &'a Summary,
    /// The machine's addresses.
    pub own: &'a [IpAddr],
    /// Whether the address is Nomad's for sure: at a guessed one silence is no reason to start it anew.
    pub known: bool,
    /// The id and the secret of the client's node, for a Nomad with ACLs; none when they cannot be had, or when it is
    /// not certain that it is Nomad that listens.
    pub node: &'a dyn Fn() -> Option<(String, Secret)>,
    /// Whether Nomad's process says that it is ready, and listens.
    pub process: &'a dyn Fn() -> bool,
}

/// Looks once. A server is well when a leader is known and this server is one of the raft peers; a client when a
/// server calls its node ready.
#[must_use]
pub fn look(subject: &Subject<'_>) -> Health {
    let mut well = Health::Well { leader: None, proof: Proof::Role };
    if subject.user.server {
        well = subject.server();
        if !well.is_well() {
            return well;
        }
    }
    if subject.user.client {
        return match (subject.client(), well) {
            (Health::Well { proof, .. }, Health::Well { leader, .. }) => Health::Well { leader, proof },
            (unwell, _) => unwell,
        };
    }
    well
}

const HTTP: &str = "an answer of Nomad's HTTP interface";

impl Subject<'_> {
    /// What silence says.
    fn silent(&self, silence: Silence, restart_helps: bool) -> Health {
        match silence {
            Silence::Closed if (self.process)() => Health::Well { leader: None, proof: Proof::Process },
            _ => Health::awaits(HTTP, self.known && restart_helps),
        }
    }

    fn server(&self) -> Health {
        // Both are anonymous, even with ACLs on.
        let answer = match self.api.ask("/v1/status/leader") {
            Ok(answer) => answer,
            // A server that is slow has work to do (a restore, an emulated processor): a new start begins it again.
            Err(silence) => return self.silent(silence, silence == Silence::Nobody),
        };
        let leader = match answer.json() {
            Some(Value::String(leader)) if !leader.is_empty() => leader,
            _ => return Health::awaits("a leader of the servers", false),
        };
        let peers = self.api.get("/v1/status/peers").and_then(|answer| answer.json());
        let peers: Vec<&str> = peers.iter().flat_map(|p| p.as_array()).flatten().filter_map(Value::as_str).collect();
        let is_own = |peer: &&str| peer.parse::<SocketAddr>().is_ok_and(|peer| self.own.contains(&peer.ip()));
        if peers.iter().any(is_own) {
            Health::Well { leader: Some(leader), proof: Proof::Role }
        } else {
            Health::awaits("this server among the raft peers", false)
        }
    }

    fn client(&self) -> Health {
        let answer = match self.api.ask("/v1/agent/self") {
            Ok(answer) => answer,
            Err(silence) => return self.silent(silence, true),
        };
        if answer.status == 403 {
            return self.client_behind_acls();
        }
        let Some(json) = answer.json() else { return Health::awaits(HTTP, self.known) };
        let Some(id) = json["stats"]["client"]["node_id"].as_str().filter(|id| !id.is_empty()) else {
            return Health::awaits("Nomad's client to start", true);
        };
        registration(self.api.get(&format!("/v1/node/{id}")))
    }

    /// With ACLs on, the node's own secret may read its own node, as soon as a server knows it.
    fn client_behind_acls(&self) -> Health {
        if let Some((id, secret)) = (self.node)() {
            return registration(self.api.get_with(&format!("/v1/node/{id}"), &secret));
        }
        // That it knows servers is all there is.
        match self.api.get("/v1/agent/health?type=client") {
            Some(answer) if answer.status == 200 => Health::Well { leader: None, proof: Proof::Agent },
            _ => Health::awaits("a server", true),
        }
    }
}

/// What a server says of a node.
fn registration(answer: Option<Answer>) -> Health {
    // Forwarded to a server: no answer at all when none is reachable, and then a new start would not reach one either.
    let Some(answer) = answer else { return Health::awaits("a server that answers", false) };
    match (answer.status, answer.json()) {
        (_, Some(node)) if node["Status"] == "ready" => Health::Well { leader: None, proof: Proof::Role },
        (_, Some(node)) => {
            let status = node["Status"].as_str().unwrap_or("unknown");
            Health::awaits(format!("its node to be ready (it is {status})"), true)
        }
        // 403: no server knows the secret.
        (403 | 404, None) => Health::awaits("its registration with the servers", true),
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
    use crate::node::{
        nomad::cli::Cli,
        testing::{serve, serve_requests},
    };

    const OWN: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 5, 10))];

    fn with(answer: impl Fn(&str) -> (u16, String) + Send + 'static, user: &Summary) -> Health {
        let server = serve(answer);
        let api = Api::new(&server.address().to_string(), Duration::from_secs(5));
        look(&Subject { api: &api, user, own: &OWN, known: true, node: &|| None, process: &|| true })
    }

    fn asked(api: &Api, user: &Summary, known: bool) -> Health {
        look(&Subject { api, user, own: &OWN, known, node: &|| None, process: &|| true })
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
            Health::Well { leader: Some("10.0.5.11:4647".into()), proof: Proof::Role }
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

    /// A Nomad with ACLs: `node` is what a server says to the node's own secret.
    fn with_acls(node: (u16, &'static str), secret: bool) -> Health {
        let server = serve_requests(move |request| match request.path.as_str() {
            "/v1/agent/health?type=client" => (200, "{}".into()),
            "/v1/node/abc" if request.header("x-nomad-token") == Some("s3cret") => (node.0, node.1.into()),
            _ => (403, "Permission denied".into()),
        });
        let api = Api::new(&server.address().to_string(), Duration::from_secs(5));
        let credentials = || secret.then(|| ("abc".to_owned(), Secret::new("s3cret".into())));
        let user = client_user();
        look(&Subject { api: &api, user: &user, own: &OWN, known: true, node: &credentials, process: &|| true })
    }

    /// Without the secret, a client that no server knows would be called well.
    #[test]
    fn with_acls_the_nodes_own_secret_proves_its_registration() {
        let role = Health::Well { leader: None, proof: Proof::Role };
        assert_eq!(with_acls((200, r#"{"Status":"ready"}"#), true), role);
        assert!(!with_acls((200, r#"{"Status":"down"}"#), true).is_well());
        let unknown = Health::awaits("its registration with the servers", true);
        assert_eq!(with_acls((403, "Permission denied"), true), unknown);
        let unproven = Health::Well { leader: None, proof: Proof::Agent };
        assert_eq!(with_acls((200, r#"{"Status":"ready"}"#), false), unproven);
        assert!(Proof::Agent.lacks().is_some() && Proof::Role.lacks().is_none());
    }

    /// A Nomad that wants a certificate, by a program in the place of its command.
    #[test]
    fn behind_tls_only_the_process_may_be_seen() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("nomad");
        let look_with = |script: &str, runs: bool| {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let user = Summary { http_tls: true, ..server_user() };
            let api = Api::tls(Cli::new(program.clone(), "127.0.0.1:4646", &user, Duration::from_secs(20)));
            let process = || runs;
            look(&Subject { api: &api, user: &user, own: &OWN, known: true, node: &|| None, process: &process })
        };
        let closed = "echo 'remote error: tls: certificate required' >&2; exit 1";
        assert_eq!(look_with(closed, true), Health::Well { leader: None, proof: Proof::Process });
        assert_eq!(look_with(closed, false), Health::awaits(HTTP, false));
        let open = r#"echo '< HTTP/1.1 200 OK' >&2; case "$*" in *leader) echo '"10.0.5.11:4647"';; *) echo '["10.0.5.10:4647"]';; esac"#;
        let well = Health::Well { leader: Some("10.0.5.11:4647".into()), proof: Proof::Role };
        assert_eq!(look_with(open, true), well);
    }

    #[test]
    fn silence_at_a_guessed_address_is_no_reason_to_start_anew() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let api = Api::new(&nobody.to_string(), Duration::from_secs(1));
        for user in [server_user(), client_user()] {
            for known in [false, true] {
                let want = Health::awaits("an answer of Nomad's HTTP interface", known);
                assert_eq!(asked(&api, &user, known), want);
            }
        }
    }

    #[test]
    fn a_slow_server_is_left_to_its_work() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::new(&listener.local_addr().unwrap().to_string(), Duration::from_millis(300));
        let health = asked(&api, &server_user(), true);
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
        patience.judge(&Health::Well { leader: None, proof: Proof::Role }, s(300));
        assert!(!patience.judge(&unwell, s(301)));
        assert!(patience.judge(&unwell, s(391)));
        let no_quorum = Health::awaits("a leader of the servers", false);
        assert!(!(0..100).any(|n| Patience::default().judge(&no_quorum, s(n * 100))));
    }
}
