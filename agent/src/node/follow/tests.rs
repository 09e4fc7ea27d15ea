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
    /// Whom the variables of the turns name.
    holder: String,
    forbidden: bool,
    /// What the variables answer when the node has drained, if anything.
    leaderless: &'static str,
    eligible: bool,
    draining: bool,
    /// The message of the last drain, and what happened to the node since.
    drained: Value,
    /// Whether an operator ends the drain, as it ends in Nomad then.
    canceled: bool,
    events: Vec<String>,
    /// The words about versions, and the index of their variable.
    words: Value,
    index: u64,
    /// What another node writes when this one is about to.
    faster: Option<Value>,
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
        if !self.leaderless.is_empty() && !self.drained.is_null() && path.starts_with("/v1/var/") {
            return (500, self.leaderless.into());
        }
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
            ("var/steppe/update/server" | "var/steppe/update/client", "") if self.words.is_null() => {
                (404, "variable not found".into())
            }
            ("var/steppe/update/server" | "var/steppe/update/client", "") => {
                (200, json!({ "ModifyIndex": self.index, "Items": self.words }).to_string())
            }
            ("var/steppe/update/server" | "var/steppe/update/client", cas) => {
                if let Some(words) = self.faster.take() {
                    (self.words, self.index) = (words, self.index + 1);
                }
                if cas != format!("cas={}", self.index) {
                    return (409, "{}".into());
                }
                (self.words, self.index) = (body["Items"].clone(), self.index + 1);
                self.done.push("word".into());
                (200, "{}".into())
            }
            (path, _) if path.starts_with("var/") => {
                (200, json!({ "ModifyIndex": 7, "Items": { "holder": self.holder } }).to_string())
            }
            (path, _) if path == format!("node/{NODE}") && token == SECRET => {
                let eligible = if self.eligible { "eligible" } else { "ineligible" };
                let status = match (self.draining, self.canceled) {
                    (true, _) => "draining",
                    (false, true) => "canceled",
                    (false, false) => "complete",
                };
                let events: Vec<Value> = self.events.iter().map(|text| json!({ "Message": text })).collect();
                let node = json!({
                    "Drain": self.draining, "SchedulingEligibility": eligible, "ModifyIndex": 9, "Events": events,
                    "LastDrain": { "Meta": self.drained, "Status": status },
                });
                // The drain ends while it is waited for.
                self.draining = false;
                (200, node.to_string())
            }
            (path, _) if path == format!("node/{NODE}/drain") && token == SECRET => {
                self.draining = body["DrainSpec"].is_object();
                if self.draining {
                    self.drained = body["Meta"].clone();
                    let end = if self.canceled { "Node drain disabled" } else { "Node drain complete" };
                    self.events = vec!["Node drain strategy set".into(), end.into()];
                }
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
        let world = Arc::new(Mutex::new(World {
            eligible: true,
            tolerance: 1,
            holder: "server-vm-1".into(),
            ..World::default()
        }));
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
        let own =
            Own { role, profile: "cloud".into(), architecture: "x86_64".into(), version: "1.0".parse().unwrap(), key };
        Follower::new(Some(follow), own, local, "me".into(), Arc::default(), shared)
    }

    /// The channel names a version from now on, and the follower looks in the next round.
    fn offer(&mut self, version: &str) {
        let channel = Channel {
            role: self.follower.own.role,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            version: version.parse().unwrap(),
            file: "x.update".into(),
            size: 5000,
            sha256: [1; 32],
        };
        self.sign(channel.to_json());
    }

    /// The channel has this text.
    fn sign(&mut self, text: String) {
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
            profile: own.profile.clone(),
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
    assert!(scene.round().contains("permission to take turns: steppe.update.token needs a policy with"));
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
        assert!(scene.round().contains("not given back: waiting for permission to read the node"));
        scene.world.lock().unwrap().forbidden = false;
        scene.round();
        let back = format!("eligible {eligible}");
        let told = if outcome == Outcome::Failed { &["word"][..] } else { &[] };
        assert_eq!(scene.done(), [&[back.as_str()], told, &["release var/steppe/update/client-0"]].concat());
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

/// A client whose update is over, and whose node is as `change` makes it.
fn after_an_update(change: impl FnOnce(&mut World)) -> Scene {
    let mut scene = Scene::new(Role::Client);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.round();
    scene.done();
    change(&mut scene.world.lock().unwrap());
    scene.again();
    scene.record("2.0", Outcome::Good);
    scene.round();
    scene
}

#[test]
fn what_an_operator_does_with_a_client_meanwhile_stays() {
    let ineligible = ", and this client stays ineligible, as an operator wants it";
    let scene = after_an_update(|world| {
        world.draining = true;
        world.drained = Value::Null;
    });
    assert!(scene.said().ends_with(ineligible), "a drain of theirs: {}", scene.said());
    assert_eq!(scene.done(), ["release var/steppe/update/client-0"]);

    let scene = after_an_update(|world| {
        for state in ["eligible", "ineligible"] {
            world.events.push(format!("Node marked as {state} for scheduling"));
        }
    });
    assert!(scene.said().ends_with(ineligible), "a cordon of theirs: {}", scene.said());

    let scene = after_an_update(|world| world.canceled = true);
    assert!(scene.said().ends_with(ineligible), "the end of the drain, but not of that: {}", scene.said());

    let scene = after_an_update(|world| world.eligible = true);
    assert!(scene.said().ends_with(", and this client is eligible"), "{}", scene.said());
    assert_eq!(scene.done(), ["release var/steppe/update/client-0"]);

    let scene = after_an_update(|world| world.events.push("Node re-registered".into()));
    assert_eq!(scene.done(), ["eligible true", "release var/steppe/update/client-0"]);
}

/// A server whose trial of 2.0 ended like this, at its first round afterwards.
fn after_a_trial(record: &Record) -> Scene {
    let mut scene = Scene::new(Role::Server);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.round();
    scene.done();
    scene.again();
    record.write(&scene.follower.state).unwrap();
    scene
}

fn failed(why: &str, tries: u32) -> Record {
    Record { outcome: Outcome::Failed, why: why.into(), tries, ..Record::new("2.0".parse().unwrap(), Slot::B) }
}

#[test]
fn a_trial_that_fails_is_told_before_the_turn_is_given_back() {
    let mut scene = after_a_trial(&failed("no leader", 1));
    // Another node's word about another version is not lost, though it comes in between.
    scene.world.lock().unwrap().faster = Some(json!({ "1.9": "server-vm-7" }));
    assert!(scene.round().contains("waiting for a moment in which no other node leaves a word"), "{}", scene.said());
    assert!(scene.world.lock().unwrap().lock.is_some());
    assert_eq!(scene.round(), "the turn for 2.0 is given back, and the other nodes know that it failed");
    assert_eq!(scene.done(), ["word", "release var/steppe/update/server-0"]);
    let words = scene.world.lock().unwrap().words.clone();
    let word = words["2.0"].as_str().unwrap();
    assert!(word.starts_with("me at 20") && word.ends_with("2.0 in slot b: failed after 1 try: no leader"), "{word}");
    assert_eq!(words["1.9"], "server-vm-7");
    // It is left once: who takes it away wants the others to try.
    scene.world.lock().unwrap().words = Value::Null;
    scene.again();
    scene.round();
    assert_eq!(scene.done(), [""; 0]);
}

#[test]
fn only_a_trial_is_told() {
    for (record, told) in [
        (failed("", 1), true),
        (failed("", 0), true),
        (failed("root.verity was written wrong", 0), false),
        (Record { outcome: Outcome::Good, ..failed("", 1) }, false),
        (Record { version: "1.9".parse().unwrap(), ..failed("no leader", 1) }, false),
    ] {
        let mut scene = after_a_trial(&record);
        scene.round();
        let told = if told { &["word"][..] } else { &[] };
        assert_eq!(scene.done(), [told, &["release var/steppe/update/server-0"]].concat(), "{record:?}");
    }
    // Cut off before it was whole in its slot: there is no turn yet, whatever is found afterwards.
    let mut scene = Scene::new(Role::Server);
    scene.offer("2.0");
    scene.round();
    scene.job(UnitState::Ready, "100%");
    scene.record("2.0", Outcome::Installed);
    assert_eq!(scene.round(), "2.0 is being installed");
    scene.again();
    failed("", 1).write(&scene.follower.state).unwrap();
    scene.round();
    assert_eq!((scene.done(), Turn::read(&scene.follower.state)), (vec![], None));
}

#[test]
fn a_trial_without_a_turn_is_told_as_well() {
    let mut scene = Scene::new(Role::Server);
    scene.world.lock().unwrap().tolerance = 0;
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.round();
    // The power failed while it waited.
    scene.again();
    failed("", 1).write(&scene.follower.state).unwrap();
    scene.round();
    assert_eq!(scene.done(), ["word", "release var/steppe/update/server-0"]);
}

#[test]
fn what_failed_elsewhere_is_not_even_read() {
    let mut scene = Scene::new(Role::Server);
    scene.world.lock().unwrap().words = json!({ "2.0": "server-vm-1 at noon:\n no leader" });
    scene.offer("2.0");
    let held = "2.0 is held back: it failed on server-vm-1 at noon: no leader. A newer version in the channel is taken, or \
                this one after `nomad var purge steppe/update/server`";
    assert_eq!(scene.round(), held);
    assert_eq!(scene.asked(), "");
    // Nobody knows: a leader that is lost, a token without the right.
    scene.world.lock().unwrap().forbidden = true;
    let why = scene.round();
    assert!(why.contains("permission to take turns: steppe.update.token needs a policy with `namespace"), "{why}");
    assert_eq!(scene.asked(), "");
    scene.world.lock().unwrap().forbidden = false;
    // A newer one, and the same one once the word is gone.
    scene.offer("2.1");
    scene.round();
    assert!(scene.asked().contains("--named 2.1"));
    scene.again();
    scene.offer("2.0");
    scene.world.lock().unwrap().words = Value::Null;
    scene.round();
    assert!(scene.asked().contains("--named 2.0"));
}

#[test]
fn what_fails_elsewhere_while_it_waits_here_does_not_boot() {
    let mut scene = Scene::new(Role::Server);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().lock = Some("other".into());
    assert!(scene.round().contains("server-vm-1 has it"));
    {
        let mut world = scene.world.lock().unwrap();
        (world.lock, world.words) = (None, json!({ "2.0": "server-vm-1" }));
    }
    assert_eq!(scene.round(), "the turn for 2.0 is given back");
    assert_eq!(scene.asked(), WITHDRAWN);
    assert_eq!(Turn::read(&scene.follower.state), None);
    assert!(scene.round().starts_with("2.0 is held back: it failed on server-vm-1"));
    assert_eq!(scene.done(), ["release var/steppe/update/server-0"]);
    assert_eq!(scene.asked(), "", "nobody restarts");
}

#[test]
fn words_do_not_add_up_for_ever() {
    let mut scene = after_a_trial(&failed("", 3));
    let words: serde_json::Map<String, Value> = (1..=12).map(|n| (format!("0.{n}"), "x".into())).collect();
    scene.world.lock().unwrap().words = words.into();
    scene.round();
    let words = scene.world.lock().unwrap().words.clone();
    let mut kept: Vec<&str> = words.as_object().unwrap().keys().map(String::as_str).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["0.10", "0.11", "0.12", "0.6", "0.7", "0.8", "0.9", "2.0"]);
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
fn an_installation_that_fails_is_said_and_tried_again_later_and_later() {
    let mut scene = Scene::new(Role::Server);
    scene.offer("2.0");
    scene.round();
    scene.job(UnitState::Ready, "25%");
    scene.round();
    scene.job(UnitState::Stopped, "root.verity of the update has a wrong checksum");
    let said = "2.0 is not installed: root.verity of the update has a wrong checksum; tried again in";
    assert_eq!(scene.round(), format!("{said} 1 min"));
    assert!(scene.asked().contains("--named 2.0"));
    for minutes in [2, 4, 8, 16, 32, 64, 64] {
        // A look in between finds the same.
        scene.offer("2.0");
        assert!(scene.follower.round() > Duration::from_secs(20), "too soon");
        assert_eq!(scene.asked(), "");
        let (_, _, until) = scene.follower.failed.as_mut().unwrap();
        *until = Duration::ZERO;
        scene.round();
        assert!(scene.asked().contains("--named 2.0"));
        scene.follower.begun = Some((Duration::ZERO, true));
        assert_eq!(scene.round(), format!("{said} {minutes} min"));
    }
    // Another one is no repetition.
    scene.offer("2.1");
    scene.round();
    assert!(scene.asked().contains("--named 2.1"));
}

/// A server on which 2.0 boots next, and another has the turn.
fn waiting() -> Scene {
    let mut scene = Scene::new(Role::Server);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().lock = Some("other".into());
    assert!(scene.round().contains("server-vm-1 has it"));
    scene
}

const WITHDRAWN: &str = "X_STEPPE_UPDATE=update --withdraw";

#[test]
fn a_turn_for_what_the_channel_took_back_is_given_back() {
    for version in ["3.0", "1.0", "0.9"] {
        let mut scene = waiting();
        scene.offer(version);
        assert_eq!(scene.round(), "the turn for 2.0 is given back");
        assert_eq!((scene.asked().as_str(), scene.done().len()), (WITHDRAWN, 1), "{version}");
        assert_eq!(Turn::read(&scene.follower.state), None);
        assert_eq!(scene.world.lock().unwrap().lock.as_deref(), Some("other"));
        Record::forget(&scene.follower.state).unwrap();
        scene.round();
        assert_eq!(scene.asked().contains("--named 3.0"), version == "3.0");
    }
    // The word of the one that had the turn counts as well.
    let mut scene = waiting();
    scene.again();
    scene.world.lock().unwrap().words = json!({ "2.0": "server-vm-1" });
    assert_eq!(scene.round(), "the turn for 2.0 is given back");
    assert_eq!(scene.asked(), WITHDRAWN);
}

#[test]
fn what_is_not_wanted_any_more_when_it_is_installed_does_not_boot() {
    let changes: [fn(&mut Scene); 2] =
        [|scene| scene.offer("1.0"), |scene| scene.world.lock().unwrap().words = json!({ "2.0": "server-vm-1" })];
    for change in changes {
        let mut scene = Scene::new(Role::Server);
        scene.offer("2.0");
        scene.round();
        assert!(scene.asked().contains("--named 2.0"));
        scene.job(UnitState::Ready, "25%");
        change(&mut scene);
        assert_eq!(scene.round(), "2.0 is being installed");
        scene.job(UnitState::Stopped, "2.0 is installed");
        scene.record("2.0", Outcome::Installed);
        assert_eq!(scene.round(), "the turn for 2.0 is given back");
        assert_eq!((scene.asked().as_str(), Turn::read(&scene.follower.state)), (WITHDRAWN, None));
    }
}

#[test]
fn a_channel_that_is_refused_takes_nothing_back() {
    type Change = fn(&mut Scene);
    let changes: [(&str, Change); 4] = [
        ("the signature is not by the key", |scene| scene.world.lock().unwrap().channel.push(' ')),
        ("the channel cannot be read", |scene| scene.world.lock().unwrap().channel = " ".repeat(20_000)),
        ("the channel is for role client", |scene| {
            scene.follower.own.role = Role::Client;
            scene.offer("1.0");
            scene.follower.own.role = Role::Server;
        }),
        ("the channel is for profile metal", |scene| {
            let metal = scene.world.lock().unwrap().channel.replace("cloud", "metal");
            scene.sign(metal);
        }),
    ];
    for (why, change) in changes {
        let mut scene = waiting();
        scene.offer("1.0");
        change(&mut scene);
        scene.follower.round();
        assert_eq!((scene.asked(), scene.done()), (String::new(), vec![]), "{why}");
        assert!(Turn::read(&scene.follower.state).is_some(), "{why}");
    }
    // What an operator installed has no turn.
    let mut scene = Scene::new(Role::Server);
    scene.record("2.0", Outcome::Installed);
    scene.offer("1.0");
    scene.round();
    assert_eq!(scene.asked(), "");
}

#[test]
fn a_client_that_drained_for_what_the_channel_took_back_takes_work_again() {
    let mut scene = Scene::new(Role::Client);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().leaderless = "No cluster leader";
    assert!(scene.round().contains("waits for its turn: Nomad to take turns (it answers 500: No cluster leader)"));
    assert_eq!(scene.done(), ["acquire var/steppe/update/client-0", "drain"]);
    // Nothing boots that the channel took back, whoever answers.
    scene.offer("1.0");
    assert!(scene.round().contains("the turn for 2.0 is over, but not given back"), "{}", scene.said());
    assert_eq!(scene.asked(), WITHDRAWN);
    Record::forget(&scene.follower.state).unwrap();
    scene.world.lock().unwrap().leaderless = "";
    assert_eq!(scene.round(), "the turn for 2.0 is given back, and this client is eligible");
    assert_eq!(scene.done(), ["eligible true", "release var/steppe/update/client-0"]);
    assert_eq!(scene.asked(), "");
}

#[test]
fn nobody_restarts_for_what_another_update_took_the_place_of() {
    let mut scene = Scene::new(Role::Client);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().lock = Some("other".into());
    assert!(scene.round().contains("waits for its turn"), "{}", scene.said());
    // An operator's update, which does not get as far as being written.
    scene.job(UnitState::Ready, "25%");
    Record::forget(&scene.follower.state).unwrap();
    scene.world.lock().unwrap().lock = None;
    assert!(scene.round().starts_with("the turn for 2.0 is given back"), "{}", scene.said());
    scene.round();
    assert_eq!(scene.asked(), "", "it waits for that one's end");
    scene.job(UnitState::Stopped, "failed to read the update");
    assert_eq!(scene.round(), "2.0 is being installed");
    assert!(scene.asked().contains("update --named 2.0"));
    assert_eq!(scene.done(), ["release var/steppe/update/client-0"], "it is not drained");
}

#[test]
fn a_drain_that_an_operator_ends_is_no_turn() {
    let mut scene = Scene::new(Role::Client);
    scene.record("2.0", Outcome::Installed);
    scene.offer("2.0");
    scene.world.lock().unwrap().lock = Some("other".into());
    scene.round();
    {
        let mut world = scene.world.lock().unwrap();
        (world.lock, world.canceled) = (None, true);
    }
    // A look that was due meanwhile would not be another one.
    scene.follower.next_look = clock::now() + RETRY;
    let said = "2.0 is installed and waits for its turn: an operator ended the drain; tried again after the next look at \
                the channel";
    assert_eq!(scene.round(), said);
    let drained = ["acquire var/steppe/update/client-0", "drain", "release var/steppe/update/client-0"];
    assert_eq!((scene.asked(), scene.done()), (String::new(), drained.map(str::to_owned).into()));
    // Whatever boots it now is a trial, and the node is as the operator left it.
    let turn = Turn::read(&scene.follower.state).unwrap();
    assert_eq!(turn.eligible, None);
    assert!(scene.follower.next_look > clock::now() + RETRY);
    assert!(scene.follower.round() > SOON + RETRY);
    assert_eq!((scene.said().as_str(), scene.done()), (said, vec![]));
    scene.world.lock().unwrap().canceled = false;
    scene.offer("2.0");
    assert_eq!(scene.round(), "2.0 is installed and has its turn: restarting");
    assert_eq!(scene.done(), drained[..2]);
}

#[test]
fn a_drain_that_an_operator_ended_unseen_is_not_begun_again() {
    for ours in [true, false] {
        let mut scene = Scene::new(Role::Client);
        scene.record("2.0", Outcome::Installed);
        scene.offer("2.0");
        scene.world.lock().unwrap().leaderless = "No cluster leader";
        assert!(scene.round().contains("No cluster leader"));
        scene.done();
        {
            let mut world = scene.world.lock().unwrap();
            (world.leaderless, world.canceled) = ("", true);
            if !ours {
                world.drained = json!({ "message": "a year ago" });
            }
        }
        assert!(scene.round().contains("an operator ended the drain"), "{}", scene.said());
        let begun = if ours { &[][..] } else { &["drain"] };
        assert_eq!(scene.done(), [begun, &["release var/steppe/update/client-0"]].concat());
        assert_eq!(scene.asked(), "");
    }
}

#[test]
fn what_others_wrote_is_a_line_of_plain_text() {
    let mut scene = waiting();
    scene.world.lock().unwrap().holder = format!("b\n\u{1b}[2Jsteppe: {}", "all is well. ".repeat(1000));
    let said = scene.round();
    assert!(said.starts_with("2.0 is installed and waits for its turn: b[2Jsteppe: all is well. all"), "{said}");
    assert!(said.len() < 400, "{} bytes", said.len());
    // The channel, and whoever answers for Nomad.
    let text = scene.world.lock().unwrap().channel.replace("x86_64", "x\\n\\u001b[2J\\u009bm");
    scene.sign(text);
    let why = "the channel is for architecture x[2Jm, this node is architecture x86_64: follow one for x86_64";
    assert_eq!(scene.round(), why);
    let mut scene = waiting();
    scene.world.lock().unwrap().drained = json!({});
    scene.world.lock().unwrap().leaderless = "\r\u{1b}[2Jno leader";
    assert!(scene.round().ends_with("(it answers 500: [2Jno leader)"), "{}", scene.said());
}
