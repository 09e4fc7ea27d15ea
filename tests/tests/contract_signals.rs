//! Signals: which end an agent and with what exit code, what a reload takes, and what the notify socket is told.

use std::time::Duration;

use tests::contract::{Agent, NotifySocket, Setup, Signal, Site};
use tests::wait::until;

/// What takes 0.3 s at most, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A server that need not lead, or a client that need not register: for facts about the process.
fn alone(site: &Site, role: &str) -> Setup {
    if role == "server" { site.server("a1", 3) } else { site.client("a1", &[site.address()]) }
}

fn exits(mut agent: Agent, signal: Signal, code: i32) {
    agent.signal(signal);
    let (ended, took) = agent.ends(Duration::from_secs(20));
    assert!(ended == code && took < Duration::from_secs(8), "{signal:?}: {ended} after {took:?}\n{}", agent.stdout());
}

#[test]
fn c078_by_default_a_signal_ends_the_agent_with_exit_1() {
    for role in ["server", "client"] {
        for signal in [Signal::TERM, Signal::INT] {
            exits(alone(&Site::new(), role).start(), signal, 1);
        }
    }
}

#[test]
fn c079_a_graceful_leave_ends_it_with_exit_0() {
    for role in ["server", "client"] {
        exits(alone(&Site::new(), role).hcl("leave_on_terminate = true").start(), Signal::TERM, 0);
        exits(alone(&Site::new(), role).hcl("leave_on_interrupt = true").start(), Signal::INT, 0);
        // The other signal is not graceful.
        exits(alone(&Site::new(), role).hcl("leave_on_terminate = true").start(), Signal::INT, 1);
    }
}

#[test]
fn c080_a_second_signal_ends_a_graceful_leave() {
    let mut agent = alone(&Site::new(), "server").hcl("leave_on_terminate = true").start();
    agent.signal(Signal::TERM);
    until("the leave", AT_ONCE, || {
        let out = agent.stdout();
        if out.contains("Gracefully shutting down agent") { Ok(()) } else { Err(out) }
    })
    .unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(AT_ONCE).0, 1);
}

#[test]
fn c081_quit_ends_it_and_others_are_ignored() {
    let mut agent = alone(&Site::new(), "server").start();
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE] {
        agent.signal(signal);
    }
    agent.api.get("/v1/agent/self").unwrap();
    assert!(agent.is_running());
    exits(agent, Signal::QUIT, 2);
}

#[test]
fn c082_ready_is_sent_before_there_is_a_leader_or_a_server() {
    for role in ["server", "client"] {
        let site = Site::new();
        let socket = NotifySocket::new(&site);
        let agent = alone(&site, role).env("NOTIFY_SOCKET", &socket.name).launch();
        assert_eq!(socket.next(Duration::from_secs(20)).as_deref(), Some("READY=1"), "{role}");
        agent.api.get("/v1/agent/self").unwrap();
    }
}

#[test]
fn c083_a_reload_is_told_and_then_ready_again() {
    for role in ["server", "client"] {
        let site = Site::new();
        let socket = NotifySocket::new(&site);
        let mut agent = alone(&site, role).env("NOTIFY_SOCKET", &socket.name).start();
        assert_eq!(socket.next(AT_ONCE).as_deref(), Some("READY=1"), "{role}");
        agent.signal(Signal::HUP);
        let reloading = socket.next(AT_ONCE).expect("RELOADING=1");
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("RELOADING=1 and a time");
        assert!(time.trim_end().parse::<u64>().is_ok(), "{reloading}");
        assert_eq!(socket.next(AT_ONCE).as_deref(), Some("READY=1"), "{role}");
        assert!(agent.is_running() && agent.stdout().contains("Caught signal: hangup"), "{}", agent.stdout());
    }
}

#[test]
fn c076_a_reload_of_a_broken_file_changes_nothing() {
    let site = Site::new();
    let mut agent = alone(&site, "server").start();
    site.write("a1.d/30-broken.hcl", "server {\n");
    agent.signal(Signal::HUP);
    until("the refusal", Duration::from_secs(10), || {
        let said = agent.stdout() + &agent.stderr();
        if said.contains("==> Failed to reload configs") { Ok(()) } else { Err(said) }
    })
    .unwrap();
    assert!(agent.is_running());
    agent.api.get("/v1/agent/self").unwrap();
}

#[test]
fn c076_a_reload_takes_the_log_level_and_no_role() {
    let site = Site::new();
    let mut agent = alone(&site, "server").start();
    site.write("a1.d/30-more.hcl", "log_level = \"WARN\"\nregion = \"other\"\nleave_on_terminate = true\n");
    agent.signal(Signal::HUP);
    until("the log level", Duration::from_secs(10), || {
        let config = agent.api.get("/v1/agent/self")?["config"].take();
        if config["LogLevel"] == "WARN" { Ok(()) } else { Err(config["LogLevel"].to_string()) }
    })
    .unwrap();
    assert!(agent.is_running());
    assert_eq!(agent.api.members().unwrap()[0].0, "a1.global");
    exits(agent, Signal::TERM, 1);
}

#[test]
fn c084_stopping_is_told_on_a_graceful_leave_only() {
    for (hcl, last) in [("leave_on_terminate = true", Some("STOPPING=1")), ("", None)] {
        let site = Site::new();
        // The abstract form works as well.
        let socket = NotifySocket::abstract_name(&site);
        let mut agent = alone(&site, "server").hcl(hcl).env("NOTIFY_SOCKET", &socket.name).start();
        assert_eq!(socket.next(AT_ONCE).as_deref(), Some("READY=1"));
        agent.signal(Signal::TERM);
        agent.ends(Duration::from_secs(20));
        assert_eq!(socket.next(Duration::from_millis(200)).as_deref(), last, "{hcl}");
    }
}

#[test]
fn c084_a_failed_start_sends_nothing_and_a_dead_socket_is_ignored() {
    let site = Site::new();
    let socket = NotifySocket::new(&site);
    let ran = alone(&site, "server").hcl("log_level = \"LOUD\"").env("NOTIFY_SOCKET", &socket.name).refused();
    assert_eq!((ran.code, socket.next(Duration::from_millis(200))), (1, None), "{ran:#?}");
    let mut agent = alone(&site, "server").env("NOTIFY_SOCKET", "/nonexistent/socket").start();
    assert!(agent.is_running());
}
