//! The stand-in: a verified fake of Nomad's observable contract, for machines where no Nomad is at hand.
//!
//! It is not Nomad and shares no code with it. What it does, and how far, is decided by the contract suite in `tests/tests`, which runs
//! against this program and against a real Nomad alike; where the two differ, the real one is right. What it does not do it refuses by name.

mod agent;
mod cli;
mod client;
mod clock;
mod config;
mod http;
mod job;
mod log;
mod rpc;
mod server;
mod sys;

use std::process::ExitCode;

/// The version whose contract this honours.
const VERSION: &str = "2.0.5";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    quiet_pipes();
    cli::main(&args)
}

/// Ends like any other program when the reader of its output has gone: with the code of SIGPIPE and without a word.
fn quiet_pipes() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.contains("Broken pipe") {
            #[allow(clippy::exit, reason = "there is nobody left to tell, and nothing to clean up")]
            std::process::exit(141);
        }
        usual(info);
    }));
}
