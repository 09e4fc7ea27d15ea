//! The agent's life, from the command line to the exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Agent;
use super::flags;
use super::notify::Notify;
use crate::client::Client;
use crate::config::{self, Addresses, Settings};
use crate::server::{Server, Sockets, lock_directory};
use crate::{VERSION, http, log};

/// Between two tries to get a directory that another server holds.
const LOCKED: Duration = Duration::from_millis(200);

/// A lone error line, as the agent prints it.
fn refuse(text: &str) -> ExitCode {
    eprintln!("==> {text}");
    ExitCode::FAILURE
}

/// `nomad agent ...`
#[must_use]
pub(crate) fn main(args: &[String]) -> ExitCode {
    let given = match flags::read(args) {
        Ok(given) => given,
        Err(usage) => {
            eprintln!(
                "{}\n==> Usage: nomad agent [options]\n\n  Starts the stand-in for a Nomad agent and runs until an interrupt is received.",
                usage.0
            );
            return ExitCode::FAILURE;
        }
    };
    let loaded = match config::load(&given.paths, given.settings.clone()) {
        Ok(loaded) => loaded,
        Err(failure) => return refuse(&failure.to_string()),
    };
    for path in &loaded.empty {
        eprintln!("No configuration loaded from {path}");
    }
    let verdict = config::verify(&loaded.settings);
    for warning in &verdict.warnings {
        eprintln!("==> {warning}");
    }
    if let Some(error) = verdict.error {
        return refuse(&error);
    }
    if loaded.settings.tls.http || loaded.settings.tls.rpc {
        return refuse("tls is not supported by the stand-in");
    }
    let advertise = match config::advertise(&loaded.settings) {
        Ok(advertise) => advertise,
        Err(error) => return refuse(&error),
    };
    log::set_level(&loaded.settings.log_level);
    // One thread: a small guest has one processor, and nothing here computes for long.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("Error starting agent: {error}")),
    };
    let code = runtime.block_on(run(&given, loaded, advertise));
    // Threads that wait for a resolver or a disk must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run(given: &flags::Given, loaded: config::Loaded, advertise: Addresses) -> ExitCode {
    let settings = Arc::new(loaded.settings);
    let name = if settings.name.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        settings.name.clone()
    };
    if !loaded.files.is_empty() {
        log::plain(&format!("==> Loaded configuration from {}", loaded.files.join(", ")));
    }
    log::plain("==> Starting Nomad agent... (stand-in for tests, not Nomad)");
    let Ok(mut signals) = Signals::new() else { return refuse("Error starting agent: failed to listen for signals") };
    let (give_up, mut given_up) = mpsc::channel(1);
    let start = start(settings.clone(), &name, &advertise, loaded.files.clone(), give_up);
    let agent = tokio::select! {
        agent = start => agent,
        _ = signals.stop() => return ExitCode::FAILURE,
    };
    let agent = match agent {
        Ok(agent) => agent,
        Err(error) => {
            log::error(format!("agent: error starting agent: error={error:?}"));
            return refuse(&format!("Error starting agent: {error}"));
        }
    };
    let notify = Notify::from_env();
    notify.say("READY=1");
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Caught::Hangup => reload(given, &settings, &notify),
                Caught::Quit => {
                    log::plain("SIGQUIT: quit\n\nthe stand-in has no goroutines to dump");
                    return ExitCode::from(2);
                }
                Caught::Usr1 => {}
                caught @ (Caught::Interrupt | Caught::Terminate) => {
                    log::plain(&format!("==> Caught signal: {}", if matches!(caught, Caught::Interrupt) { "interrupt" } else { "terminated" }));
                    let graceful = if matches!(caught, Caught::Interrupt) { settings.leave_on_interrupt } else { settings.leave_on_terminate };
                    if !graceful {
                        return ended(&agent, ExitCode::FAILURE);
                    }
                    log::plain("==> Gracefully shutting down agent...");
                    notify.say("STOPPING=1");
                    return tokio::select! {
                        () = leave(&agent) => ended(&agent, ExitCode::SUCCESS),
                        _ = signals.stop() => ended(&agent, ExitCode::FAILURE),
                    };
                }
            },
            Some(()) = given_up.recv() => return ended(&agent, ExitCode::FAILURE),
        }
    }
}

fn ended(agent: &Agent, code: ExitCode) -> ExitCode {
    log::info("agent: requesting shutdown");
    if agent.client.is_some() {
        log::info("client: shutting down");
    }
    if agent.server.is_some() {
        log::info("nomad: shutting down server");
    }
    log::info("agent: shutdown complete");
    code
}

async fn leave(agent: &Agent) {
    if let (Some(client), Some(drain)) = (&agent.client, &agent.settings.client.drain_on_shutdown) {
        client.drain(drain.deadline).await;
    }
    if let Some(server) = &agent.server {
        server.leave().await;
    }
}

/// SIGHUP: only the log level is taken over; everything else needs a restart, and nothing says so.
fn reload(given: &flags::Given, _settings: &Settings, notify: &Notify) {
    log::plain("==> Caught signal: hangup");
    notify.reloading();
    log::plain("==> Reloading configuration...");
    match config::load(&given.paths, given.settings.clone()) {
        Ok(loaded) => {
            let verdict = config::verify(&loaded.settings);
            for warning in &verdict.warnings {
                eprintln!("==> {warning}");
            }
            match verdict.error {
                None => log::set_level(&loaded.settings.log_level),
                Some(error) => eprintln!("==> {error}\n==> Failed to reload configs"),
            }
        }
        Err(failure) => eprintln!("==> {failure}\n==> Failed to reload configs"),
    }
    notify.say("READY=1");
}

async fn start(
    settings: Arc<Settings>,
    name: &str,
    advertise: &Addresses,
    files: Vec<String>,
    give_up: mpsc::Sender<()>,
) -> Result<Arc<Agent>, String> {
    let bind = |own: &str| if own.is_empty() { settings.bind_addr.clone() } else { own.to_owned() };
    let http_bind = format!("{}:{}", bind(&settings.addresses.http), settings.ports.http);
    let rpc_bind = format!("{}:{}", bind(&settings.addresses.rpc), settings.ports.rpc);
    let serf_bind = format!("{}:{}", bind(&settings.addresses.serf), settings.ports.serf);
    let id = if settings.server.enabled { Some(Server::prepare(&settings)?) } else { None };
    let mut sockets = if settings.server.enabled { Some(bind_server(&rpc_bind, &serf_bind).await?) } else { None };
    let raft = std::path::Path::new(&settings.data_dir).join("server/raft");
    if sockets.is_some() && !lock_directory(&raft) {
        // Another server lives on this directory: wait for its end, in silence and without a port.
        drop(sockets.take());
        while !lock_directory(&raft) {
            tokio::time::sleep(LOCKED).await;
        }
        sockets = Some(bind_server(&rpc_bind, &serf_bind).await?);
    }
    let client = if settings.client.enabled {
        // Blocks for as long as `df` takes, which nothing waits for yet.
        Some(Arc::new(Client::prepare(settings.clone(), name, advertise)?))
    } else {
        None
    };
    let listener = TcpListener::bind(&http_bind)
        .await
        .map_err(|error| taken("failed to start HTTP listener", &http_bind, &error))?;
    banner(&settings, advertise, id.map(|id| id.to_string()), &http_bind, &rpc_bind, &serf_bind);
    let server = match (sockets, id) {
        (Some(sockets), Some(id)) => Some(Server::start(settings.clone(), id, name, advertise, sockets).await?),
        _ => None,
    };
    if let Some(server) = &server {
        let join = server.joining();
        if !join.start_join.is_empty() {
            let (count, errors) = server.join(&join.start_join).await;
            if count == 0 {
                return Err(format!("failed joining: {}", errors.join("; ")));
            }
        }
        if !join.retry_join.is_empty() {
            let server = server.clone();
            tokio::spawn(async move {
                if server.retry_join(&join).await.is_err() {
                    let _ = give_up.send(()).await;
                }
            });
        }
    }
    if let Some(client) = &client {
        client.run(server.as_ref().map(|server| server.gossip.me().rpc()));
    }
    let headers =
        settings.http_api_response_headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let agent = Arc::new(Agent { settings, advertise: advertise.clone(), files, server, client, headers });
    tokio::spawn(http::serve(listener, agent.clone()));
    Ok(agent)
}

fn taken(what: &str, address: &str, error: &std::io::Error) -> String {
    format!("{what}: listen tcp {address}: bind: {}", config::words(error))
}

async fn bind_server(rpc: &str, serf: &str) -> Result<Sockets, String> {
    let setup =
        |address: &str, error: std::io::Error| taken("server setup failed: failed to start RPC layer", address, &error);
    Ok(Sockets {
        rpc: TcpListener::bind(rpc).await.map_err(|error| setup(rpc, error))?,
        serf: TcpListener::bind(serf).await.map_err(|error| setup(serf, error))?,
        pings: UdpSocket::bind(serf).await.map_err(|error| setup(serf, error))?,
    })
}

fn banner(settings: &Settings, advertise: &Addresses, id: Option<String>, http: &str, rpc: &str, serf: &str) {
    let (mut told, mut bound) = (format!("HTTP: {}", advertise.http), format!("HTTP: [{http}]"));
    if settings.server.enabled {
        told += &format!("; RPC: {}; Serf: {}", advertise.rpc, advertise.serf);
        bound += &format!("; RPC: {rpc}; Serf: {serf}");
    }
    let mut lines = vec![
        ("Advertise Addrs", told),
        ("Bind Addrs", bound),
        ("Client", settings.client.enabled.to_string()),
        ("Log Level", settings.log_level.to_uppercase()),
    ];
    if let Some(id) = id {
        lines.push(("Node Id", id));
    }
    lines.push(("Region", format!("{} (DC: {})", settings.region, settings.datacenter)));
    lines.push(("Server", settings.server.enabled.to_string()));
    lines.push(("Version", VERSION.to_owned()));
    log::plain("==> Nomad agent configuration:\n");
    for (key, value) in lines {
        log::plain(&format!("{key:>22}: {value}"));
    }
    log::plain("\n==> Nomad agent started! Log data will stream in below:\n");
}

/// What a signal means.
enum Caught {
    Interrupt,
    Terminate,
    Hangup,
    Quit,
    Usr1,
}

/// All signals that are not left to their defaults.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    usr1: Signal,
    _ignored: [Signal; 2],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            usr1: signal(SignalKind::user_defined1())?,
            _ignored: [signal(SignalKind::user_defined2())?, signal(SignalKind::pipe())?],
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.hangup.recv() => Caught::Hangup,
            _ = self.quit.recv() => Caught::Quit,
            _ = self.usr1.recv() => Caught::Usr1,
        }
    }

    /// A signal that ends the agent at once.
    async fn stop(&mut self) -> Duration {
        tokio::select! {
            _ = self.interrupt.recv() => Duration::ZERO,
            _ = self.terminate.recv() => Duration::ZERO,
        }
    }
}
