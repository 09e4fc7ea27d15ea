//! A follower against a Nomad and a web server that are functions.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    node::{
        nomad::{api::Secret, check::Summary},
        testing::{Request, Server, serve, serve_requests},
    },
    slots::Slot,
    status::{InitStatus, UnitState, UnitStatus},
};

const NODE: &str = "573ebc1a-265e-b0c5-b68c-3b3dc6c6a388";
const SECRET: &str = "e2797e11-1f55-bf5b-109d-e444a02b041c";

/// What the functions know.
#[derive(Default)]
struct World {
    channel: String,
    signature: String,
    tolerance: u64,
    lock: Option<String>,
    forbidden: bool,
    eligible: bool,
    draining: bool,
    /// What was asked of Nomad, besides reads.
    done: Vec<String>,
}

impl World {
    fn nomad(&mut self, request: &Request) -> (u16, String) {
        if self.forbidden {
            return (403, "Permission denied".into());
        }
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let id = body["Lock"]["ID"].as_str().map(str::to_owned);
        let ours = self.lock.is_some() && self.lock == id;
        let (path, what) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let token = request.header("x-nomad-token").unwrap_or_default();
        match (path.trim_start_matches("/v1/"), what) {
            ("operator/autopilot/health", _) => {
                let servers = json!([{ "Name": "a", "Healthy": true }, { "Name": "b", "Healthy": true }]);
                (200, json!({ "Healthy": true, "FailureTolerance": self.tolerance, "Servers": servers }).to_string())
            }
            (path, "lock-renew") if path.starts_with("var/") => {
                if ours {
                    (200, "{}".into())
                } else {
                    (409, "variable doesn't hold a lock".into())
                }
            }
            (path, "lock-acquire") if path.starts_with("var/") => {
                if self.lock.is_some() && !ours {
                    return (409, "{}".into());
                }
                self.done.push(format!("acquire {path}"));
                self.lock = id;
                (200, "{}".into())
            }
            (path, "lock-release") if path.starts_with("var/") => {
                self.done.push(format!("release {path}"));
                if ours {
                    self.lock = None;
                }
                (200, "{}".into())
            }
            (path, _) if path.starts_with("var/") => {
                (200, json!({ "ModifyIndex": 7, "Items": { "holder": "server-vm-1" } }).to_string())
            }
            (path, _) if path == format!("node/{NODE}") && token == SECRET => {
                let eligible = if self.eligible { "eligible" } else { "ineligible" };
                let node = json!({ "Drain": self.draining, "SchedulingEligibility": eligible, "ModifyIndex": 9 });
                // The drain ends while it is waited for.
                self.draining = false;
                (200, node.to_string())
            }
            (path, _) if path == format!("node/{NODE}/drain") && token == SECRET => {
                self.draining = body["DrainSpec"].is_object();
                self.eligible = body["MarkEligible"] == true;
                self.done.push(if self.draining { "drain".into() } else { format!("eligible {}", self.eligible) });
                (200, "{}".into())
            }
            _ => (404, String::new()),
        }
    }
}

struct Scene {
    world: Arc<Mutex<World>>,
    dir: tempfile::TempDir,
    init: UnixDatagram,
    web: Server,
    follower: Follower,
    _nomad: Server,
    signer: minisign::KeyPair,
}

impl Scene {
    fn new(role: Role) -> Self {
        let world = Arc::new(Mutex::new(World { eligible: true, tolerance: 1, ..World::default() }));
        let served = Arc::clone(&world);
        let nomad = serve_requests(move |request| served.lock().unwrap().nomad(request));
        let served = Arc::clone(&world);
        let web = serve(move |path| {
            let world = served.lock().unwrap();
            match path {
                "/server.json" => (200, world.channel.clone()),
                "/server.json.minisig" => (200, world.signature.clone()),
                _ => (404, String::new()),
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let state = below(dir.path(), paths::STATE_DIR);
        for path in [&state, &below(dir.path(), paths::RUN_DIR)] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(state.join("client-id"), NODE).unwrap();
        std::fs::write(state.join("secret-id"), SECRET).unwrap();
        let init = UnixDatagram::bind(below(dir.path(), paths::NOTIFY_SOCKET)).unwrap();
        init.set_nonblocking(true).unwrap();
        let signer = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let follower = Self::follower(role, dir.path(), &state, &nomad, &web, &signer);
        Self { world, dir, init, web, follower, _nomad: nomad, signer }
    }

    fn follower(
        role: Role,
        root: &Path,
        state: &Path,
        nomad: &Server,
        web: &Server,
        signer: &minisign::KeyPair,
    ) -> Follower {
        let shared = Arc::<Shared>::default();
        let user = Summary {
            server: role == Role::Server,
            client: role == Role::Client,
            http_port: Some(nomad.address().port()),
            ..Summary::default()
        };
        let local = Local {
            root: root.into(),
            user,
            client: state.into(),
            token: Some(Secret::new("t".into())),
            guarded: false,
            shared: Arc::clone(&shared),
        };
        let follow = Follow {
            channel: format!("http://{}/server.json", web.address()),
            every: Duration::from_secs(3600),
            token: None,
            at_once: 1,
            drain: Duration::from_secs(60),
        };
        let key = signer.pk.to_box().unwrap().to_string();
        let own = Own { role, architecture: "x86_64".into(), version: "1.0".parse().unwrap(), key };
        Follower::new(Some(follow), own, local, "me".into(), Arc::default(), shared)
    }

    /// The channel names a version from now on, and the follower looks in the next round.
    fn offer(&mut self, version: &str) {
        let channel = Channel {
            role: self.follower.own.role,
            architecture: "x86_64".into(),
            version: version.parse().unwrap(),
            file: "x.update".into(),
            size: 5000,
            sha256: [1; 32],
        };
        let text = channel.to_json();
        let mut world = self.world.lock().unwrap();
        world.signature = minisign::sign(None, &self.signer.sk, text.as_bytes(), None, None).unwrap().into_string();
        world.channel = text;
        self.follower.next_look = Duration::ZERO;
    }

    fn said(&self) -> String {
        self.follower.board.text().unwrap_or_default()
    }

    fn round(&mut self) -> String {
        self.follower.round();
        self.said()
    }

    /// What init was asked for.
    fn asked(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.init.recv(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().unwrap().done)
    }

    fn record(&self, version: &str, outcome: Outcome) {
        let record = Record { outcome, ..Record::new(version.parse().unwrap(), Slot::B) };
        record.write(&self.follower.state).unwrap();
    }

    /// What init says of the job.
    fn job(&self, state: UnitState, message: &str) {
        let message = Some(message.to_owned());
        let unit = UnitStatus { name: "update".into(), state, pid: None, restarts: 0, last_exit: None, message };
        let status = InitStatus { units: vec![unit], timeline: vec![] };
        std::fs::write(below(self.dir.path(), paths::INIT_STATUS), serde_json::to_vec(&status).unwrap()).unwrap();
    }

    /// As after a restart.
    fn again(&mut self) {
        let shared = Arc::clone(&self.follower.shared);
        let own = &self.follower.own;
        let own = Own {
            version: own.version.clone(),
            architecture: own.architecture.clone(),
            key: own.key.clone(),
            role: own.role,
        };
        let nomad = Local {
            root: self.follower.nomad.root.clone(),
            user: self.follower.nomad.user.clone(),
            client: self.follower.nomad.client.clone(),
            token: None,
            guarded: false,
            shared: Arc::clone(&shared),
        };
        self.follower = Follower::new(self.follower.follow.clone(), own, nomad, "me".into(), Arc::default(), shared);
    }
}

#[test]
fn a_server_installs_waits_for_its_turn_and_restarts() {
    let mut scene = Scene::new(Role::Server);
    scene.offer("2.0");
    assert_eq!(scene.round(), "2.0 is being installed");
    let asked = scene.asked();
    let url = format!("http://{}/x.update", scene.web.address());
    assert_eq!(asked, format!("X_STEPPE_UPDATE=update --named 2.0 5000 {} {url}", "01".repeat(32)));
    scene.job(UnitState::Ready, "50%");
    assert_eq!(scene.round(), "2.0 is being installed");
    assert_eq!(scene.asked(), "", "it is asked for once");

    scene.job(UnitState::Stopped, "2.0 is installed");
    scene.record("2.0", Outcome::Installed);
    scene.world.lock().unwrap().tolerance = 0;
    assert!(scene.round().ends_with("waits for its turn: more servers: the cluster cannot do without any now"));
    scene.world.lock().unwrap().tolerance = 1;
    scene.world.lock().unwrap().lock = Some("other".into());
    assert_eq!(scene.round(), "2.0 is installed and waits for its turn: server-vm-1 has it");
    scene.world.lock().unwrap().forbidden = true;
    assert!(scene.round().contains("permission to read the servers' health: steppe.update.token needs a policy with"));
    scene.world.lock().unwrap().forbidden = false;
    scene.world.lock().unwrap().lock = None;
    assert_eq!(scene.asked(), "");
    assert_eq!(scene.round(), "2.0 is installed and has its turn: restarting");
    assert_eq!(
        (scene.asked().as_str(), scene.done()),
        ("X_STEPPE_POWER=reboot", vec!["acquire var/steppe/update/server-0".into()])
    );
    scene.round();
    assert_eq!(scene.asked(), "", "it restarts once");

    // The new system is on trial, then good.
    scene.again();
    scene.record("2.0", Outcome::Trial);
    assert_eq!(scene.round(), "2.0 is on trial");
    assert!(scene.world.lock().unwrap().lock.is_some());
    scene.record("2.0", Outcome::Good);
    assert_eq!(scene.round(), "the turn for 2.0 is given back");
    assert_eq!(scene.done(), ["release var/steppe/update/server-0"]);
    assert_eq!(Turn::read(&scene.follower.state), None);
}

#[test]
fn a_client_drains_and_comes_back_wherever_it_was_cut_off() {
    for (eligible, outcome) in [(true, Outcome::Good), (true, Outcome::Failed), (false, Outcome::Good)] {
        let mut scene = Scene::new(Role::Client);
        scene.world.lock().unwrap().eligible = eligible;
        scene.record("2.0", Outcome::Installed);
        scene.offer("2.0");
        assert_eq!(scene.round(), "2.0 is installed and has its turn: restarting");
        assert_eq!(scene.done(), ["acquire var/steppe/update/client-0", "drain"]);
        scene.again();
        scene.record("2.0", outcome);
        // Nobody answers yet.
        scene.world.lock().unwrap().forbidden = true;
        assert!(scene.round().contains("not given back: waiting for permission to make the node eligible again"));
        scene.world.lock().unwrap().forbidden = false;
        scene.round();
        let back = format!("eligible {eligible}");
        assert_eq!(scene.done(), [back.as_str(), "release var/steppe/update/client-0"]);
    }
}

#[test]
fn a_client_that_loses_its_node_process_goes_on_with_the_turn_that_it_has() {
    let mut scene = Scene::new(Role::Client);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.round();
    assert_eq!(scene.asked(), "X_STEPPE_POWER=reboot");
    scene.done();
    scene.again();
    scene.offer("2.0");
    scene.round();
    assert_eq!(scene.asked(), "X_STEPPE_POWER=reboot");
    assert_eq!(scene.done(), ["drain"], "the lock is renewed");
    let turn = Turn::read(&scene.follower.state).unwrap();
    assert_eq!(turn.eligible, Some(true), "what it was before the first drain counts");
}

#[test]
fn what_is_refused_is_said() {
    let mut scene = Scene::new(Role::Server);
    scene.offer("1.0");
    assert_eq!(scene.round(), "1.0 is what the channel has");
    scene.offer("0.9");
    assert!(scene.round().contains("the channel has version 0.9, which is older than 1.0"));
    scene.record("2.0", Outcome::Failed);
    scene.offer("2.0");
    assert!(scene.round().contains("2.0 is not tried again: it failed here"));
    scene.offer("2.1");
    scene.world.lock().unwrap().channel.push(' ');
    assert!(scene.round().contains("the channel is refused: the signature is not by the key of this image"));
    scene.offer("2.1");
    scene.world.lock().unwrap().channel = " ".repeat(20_000);
    assert!(scene.round().contains("the channel cannot be read: failed to ask http://127.0.0.1"), "{}", scene.said());
    assert_eq!(scene.asked(), "");
}

#[test]
fn an_installation_that_fails_is_said_and_tried_at_the_next_look() {
    let mut scene = Scene::new(Role::Server);
    scene.offer("2.0");
    scene.round();
    scene.job(UnitState::Ready, "25%");
    scene.round();
    scene.job(UnitState::Stopped, "root.verity of the update has a wrong checksum");
    assert_eq!(scene.round(), "2.0 is not installed: root.verity of the update has a wrong checksum");
    assert!(scene.asked().contains("--named 2.0"));
    scene.round();
    assert_eq!(scene.asked(), "");
    scene.offer("2.0");
    scene.round();
    assert!(scene.asked().contains("--named 2.0"));
}

#[test]
fn a_turn_for_what_the_channel_took_back_is_given_back() {
    let mut scene = Scene::new(Role::Server);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().lock = Some("other".into());
    scene.round();
    scene.offer("3.0");
    scene.round();
    assert!(scene.asked().contains("--named 3.0"));
    assert_eq!(scene.round(), "the turn for 2.0 is given back");
    assert_eq!(scene.world.lock().unwrap().lock.as_deref(), Some("other"));
}
