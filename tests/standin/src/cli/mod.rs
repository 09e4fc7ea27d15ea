//! The command line: which command, and what all commands share.

mod agent_info;
mod alloc;
pub(crate) mod args;
pub(crate) mod http;
mod job;
mod job_run;
mod job_status;
mod node;
mod operator;
mod server;
pub(crate) mod table;

use std::process::ExitCode;

use crate::{VERSION, agent, client, config};
use args::{Flags, Usage};
use http::Api;

/// A failed command: what goes to standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
    /// For standard output: the usage.
    usage: Option<String>,
}

impl Failure {
    /// With exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1, usage: None }
    }

    /// With another exit code.
    pub(crate) fn code(text: impl Into<String>, code: u8) -> Self {
        Self { text: text.into(), code, usage: None }
    }
}

/// A finished command: the exit code.
pub(crate) type Done = Result<u8, Failure>;

/// A command with its flags and a client.
#[derive(Debug)]
pub(crate) struct Command {
    /// Flags.
    pub(crate) flags: Flags,
    /// Client.
    pub(crate) api: Api,
}

const VALUES: [&str; 5] = ["address", "region", "namespace", "token", "t"];
const SWITCHES: [&str; 1] = ["no-color"];

/// Parses the flags of `nomad <name>`.
///
/// # Errors
/// A flag that is not one.
pub(crate) fn command(name: &str, args: &[String], switches: &[&str], values: &[&str]) -> Result<Command, Failure> {
    let switches: Vec<&str> = switches.iter().copied().chain(SWITCHES).collect();
    let values: Vec<&str> = values.iter().copied().chain(VALUES).collect();
    let mut flags = Flags::parse(args, &switches, &values).map_err(|Usage(text)| Failure {
        text,
        code: 1,
        usage: Some(format!("Usage: nomad {name} [options]")),
    })?;
    if !switches.contains(&"t") && flags.value("t").is_some() {
        return Err(Failure::new("-t is not supported by the stand-in"));
    }
    let api = Api::new(flags.value("address"), flags.value("region"), flags.value("namespace"), flags.value("token"))
        .map_err(Failure::new)?;
    Ok(Command { flags, api })
}

impl Command {
    /// Refuses arguments.
    ///
    /// # Errors
    /// If there are any.
    pub(crate) fn no_arguments(&self, name: &str) -> Result<(), Failure> {
        if self.flags.rest.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("This command takes no arguments\nFor additional help try 'nomad {name} -help'")))
    }

    /// The one argument.
    ///
    /// # Errors
    /// If there is none, or more.
    pub(crate) fn argument(&self, name: &str, what: &str) -> Result<String, Failure> {
        match self.flags.rest.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(Failure::new(format!(
                "This command takes one argument: <{what}>\nFor additional help try 'nomad {name} -help'"
            ))),
        }
    }
}

/// An error of the API, with what was being done.
pub(crate) fn doing(what: &str) -> impl Fn(String) -> Failure + '_ {
    move |error| Failure::new(format!("{what}: {error}"))
}

/// Runs the program.
#[must_use]
pub(crate) fn main(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let rest = |from: usize| args.get(from..).unwrap_or_default();
    match words.as_slice() {
        ["agent", ..] => return agent::main(rest(1)),
        ["executor", order] => return client::executor::main(order),
        _ => {}
    }
    let done = match words.as_slice() {
        ["version" | "-version" | "--version" | "-v", ..] => {
            println!("Nomad v{VERSION}");
            Ok(0)
        }
        ["-help" | "--help" | "-h", ..] => {
            usage();
            Ok(0)
        }
        ["config", "validate", ..] => validate(rest(2)),
        ["server", "members", ..] => server::members(rest(2)),
        ["server", "join", ..] => server::join(rest(2)),
        ["server", "force-leave", ..] => server::force_leave(rest(2)),
        ["node", "status", ..] => node::status(rest(2)),
        ["node", "eligibility", ..] => node::eligibility(rest(2)),
        ["node", "drain", ..] => node::drain(rest(2)),
        ["job", "status", ..] => job_status::main(rest(2)),
        ["status", ..] => job_status::main(rest(1)),
        ["job", "run", ..] => job_run::run(rest(2)),
        ["run", ..] => job_run::run(rest(1)),
        ["job", "plan", ..] => job_run::plan(rest(2)),
        ["job", "validate", ..] => job_run::validate(rest(2)),
        ["job", "init", ..] => job::init(rest(2)),
        ["job", "stop", ..] => job::stop(rest(2)),
        ["stop", ..] => job::stop(rest(1)),
        ["job", "inspect", ..] => job::inspect(rest(2)),
        ["job", "allocs", ..] => job_status::allocs(rest(2)),
        ["job", "deployments", ..] => job_status::deployments(rest(2)),
        ["alloc", "status", ..] => alloc::status(rest(2)),
        ["alloc", "logs", ..] | ["logs", ..] => alloc::logs(rest(if words[0] == "alloc" { 2 } else { 1 })),
        ["alloc", "exec", ..] => alloc::exec(rest(2)),
        ["exec", ..] => alloc::exec(rest(1)),
        ["alloc", "stop", ..] => alloc::stop(rest(2)),
        ["alloc", "signal", ..] => alloc::signal(rest(2)),
        ["alloc", "restart", ..] => alloc::restart(rest(2)),
        ["agent-info", ..] => agent_info::main(rest(1)),
        ["operator", "raft", "list-peers", ..] => operator::list_peers(rest(3)),
        ["operator", "autopilot", "health", ..] => operator::health(rest(3)),
        ["operator", "autopilot", "get-config", ..] => operator::get_config(rest(3)),
        ["operator", "api", ..] => operator::api(rest(2)),
        ["operator", "gossip", "keyring", "generate"] => operator::generate(),
        ["acl", "bootstrap", ..] => operator::bootstrap(rest(2)),
        ["system", "gc", ..] => operator::gc(rest(2)),
        [
            "ui" | "acl" | "tls" | "deployment" | "eval" | "namespace" | "operator" | "volume" | "var" | "scaling"
            | "service" | "plugin" | "quota" | "alloc" | "job" | "node" | "server" | "system" | "config" | "setup"
            | "fmt",
            ..,
        ] => {
            let name: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).take(2).collect();
            Err(Failure::new(format!("nomad {} is not supported by the stand-in", name.join(" "))))
        }
        _ => {
            usage();
            return ExitCode::from(127);
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Some(usage) = failure.usage {
                println!("{usage}\n\n  This is the stand-in's part of the command.");
            }
            if !failure.text.is_empty() {
                eprintln!("{}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn usage() {
    println!("Usage: nomad [-version] [-help] [-autocomplete-(un)install] <command> [args]\n");
    println!("This is not Nomad: it is the stand-in that tests use where no Nomad is at hand.\n\nCommands:");
    for line in [
        "agent",
        "acl bootstrap",
        "agent-info",
        "alloc exec|logs|restart|signal|status|stop",
        "config validate",
        "job allocs|deployments|init|inspect|plan|run|status|stop|validate",
        "node drain|eligibility|status",
        "operator api",
        "operator autopilot get-config|health",
        "operator gossip keyring generate",
        "operator raft list-peers",
        "server force-leave|join|members",
        "system gc",
        "version",
    ] {
        println!("    {line}");
    }
}

/// `config validate`
fn validate(args: &[String]) -> Done {
    if args.is_empty() {
        return Err(Failure::new("Must specify at least one config file or directory"));
    }
    let loaded = config::load(args, serde_json::Map::new())
        .map_err(|failure| Failure::new(format!("1 error occurred:\n\t* {failure}\n")))?;
    for path in &loaded.empty {
        eprintln!("No configuration loaded from {path}");
    }
    let verdict = config::verify(&loaded.settings);
    for warning in &verdict.warnings {
        eprintln!("{warning}");
    }
    match verdict.error {
        Some(error) => Err(Failure::new(format!("{error}\nConfiguration is invalid"))),
        None => {
            println!("Configuration is valid!");
            Ok(0)
        }
    }
}
