//! `make bench`: the figures of SPECIFICATION.md that depend on the clock, as ratios to a peer measured in the same run.
//! Ends with 1 when a budget is broken. With names of parts as arguments it measures only those.

use std::{env, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use tests::bench::{
    absent, boot, builds, sizes,
    table::{Row, Table},
    together,
};

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

/// A part of the table, by the name that selects it, and what it does.
type Part = (&'static str, &'static str, fn(&Path) -> anyhow::Result<Vec<Row>>);

const PARTS: [Part; 5] = [
    ("builds", "four builds, the first one cold", builds::rows),
    ("boots", "one server, booted again and again", boot::rows),
    ("together", "six machines at once", |_| together::rows()),
    ("absent", "metadata among absent sources", absent::rows),
    ("sizes", "sizes, of a build in every format", sizes::rows),
];

fn measure() -> anyhow::Result<Table> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, ..)| part != name)) {
        bail!("there is no part {unknown:?}; there are {}", PARTS.map(|(part, ..)| part).join(", "));
    }
    let scratch = tempfile::tempdir().context("failed to make a directory for builds")?;
    let mut table = Table::default();
    for (part, what, rows) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|name| name == part) {
            eprintln!("{what}");
            table.extend(rows(scratch.path())?);
        }
    }
    Ok(table)
}
