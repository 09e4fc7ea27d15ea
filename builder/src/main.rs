//! The builder's program; see [`builder::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    builder::cli::run()
}
