//! Which of the agent's jobs this process does.

use std::{ffi::OsString, path::Path, process::ExitCode};

use crate::{console, df, init, node, update};

const HELP: &str = "\
agent: the program inside a Steppe image

It is started by the kernel as PID 1 and starts itself for its other jobs:
  agent node            configure this machine from its metadata and watch Nomad
  agent console [TTY]   answer a person on a terminal
  agent update SOURCE   write a signed update into the idle slot; also: rollback, bless, settle
  df -kP PATH           report the size of a file system (when called as `df`)

Started like this it does nothing.
";

/// Looks at the process id and the arguments and does the job they ask for.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let name = args.first().and_then(|arg| Path::new(arg).file_name()).map(|n| n.to_string_lossy().into_owned());
    if std::process::id() == 1 {
        return init::run();
    }
    if name.as_deref() == Some("df") {
        return df::run(&args[1..]);
    }
    match args.get(1).map(String::as_str) {
        Some("node") => node::run(),
        Some(job) if job == update::SETTLE || update::JOBS.contains(&job) => update::run(job, &args[2..]),
        Some("console") => console::run(args.get(2).map(String::as_str)),
        Some("--version" | "-V") => {
            println!("agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("--help" | "-h") | None => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("agent: unknown job {other:?}: use --help to see what there is");
            ExitCode::from(2)
        }
    }
}
