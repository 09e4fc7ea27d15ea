//! `make bench`: the figures of SPECIFICATION.md that depend on the clock, as ratios to a peer measured in the same run.
//! Ends with 1 when a budget is broken.

use std::process::ExitCode;

use anyhow::Context as _;
use tests::bench::{boot, builds, sizes, table::Table};

fn main() -> ExitCode {
    match measure() {
        Ok(table) => {
            print!("{table}");
            match table.broken() {
                0 => ExitCode::SUCCESS,
                broken => {
                    eprintln!("budgets broken: {broken}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(why) => {
            eprintln!("failed to measure: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> anyhow::Result<Table> {
    let scratch = tempfile::tempdir().context("failed to make a directory for builds")?;
    let mut table = Table::default();
    eprintln!("three builds, the first one cold");
    table.extend(builds::rows(scratch.path())?);
    eprintln!("six boots");
    table.extend(boot::rows(&builds::cache(scratch.path()), scratch.path())?);
    table.extend(sizes::rows()?);
    Ok(table)
}
