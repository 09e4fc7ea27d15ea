//! The one program of a Steppe image. What it does depends on how it is started; see [`agent::personality`].

#[cfg(all(panic = "abort", target_env = "musl"))]
mod unwind;

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::personality::run(std::env::args_os())
}
