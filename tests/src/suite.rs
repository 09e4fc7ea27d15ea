//! Suites of virtual machines: named steps, one after the other, on machines that they share.
//!
//! Machines are expensive, so a suite starts its own once, for the first step that runs, and ends them after the last.
//! Each step is reported like a test. Without images (`STEPPE_IMAGES`) every step is reported as ignored.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Failed, Trial};

/// Variable that names the directory with the images of `make image`.
pub const IMAGES_VARIABLE: &str = "STEPPE_IMAGES";

/// A step: its name says the behaviour that it shows.
pub type Step<T> = (&'static str, fn(&mut T) -> anyhow::Result<()>);

enum Shared<T> {
    NotStarted(fn() -> anyhow::Result<T>),
    Started(T),
    Failed(String),
}

/// Runs the steps in their order; a name or part of one on the command line selects among them.
#[must_use]
pub fn run<T: Send + 'static>(start: fn() -> anyhow::Result<T>, steps: &[Step<T>]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The steps share machines.
    arguments.test_threads = Some(1);
    let images = images_directory();
    let shared = Arc::new(Mutex::new(Shared::NotStarted(start)));
    let trials = steps
        .iter()
        .map(|&(name, step)| {
            let shared = Arc::clone(&shared);
            Trial::test(name, move || {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                qemu::lab::reporting(name, || run_step(&mut shared, step))
            })
            .with_ignored_flag(images.is_none())
        })
        .collect();
    if images.is_none() {
        eprintln!(
            "no images: run `make qemu-test`, or set {IMAGES_VARIABLE} to the directory that `make image` filled"
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(shared);
    conclusion.exit_code()
}

fn run_step<T>(shared: &mut Shared<T>, step: fn(&mut T) -> anyhow::Result<()>) -> Result<(), Failed> {
    if let Shared::NotStarted(start) = shared {
        *shared = match start() {
            Ok(machines) => Shared::Started(machines),
            Err(why) => Shared::Failed(format!("{why:#}")),
        };
    }
    match shared {
        Shared::Started(machines) => step(machines).map_err(|why| Failed::from(format!("{why:#}"))),
        Shared::Failed(why) => Err(Failed::from(format!("the machines could not be started: {why}"))),
        Shared::NotStarted(_) => Err(Failed::from("not started")),
    }
}

/// The directory with the images, when one is named.
#[must_use]
pub fn images_directory() -> Option<PathBuf> {
    std::env::var_os(IMAGES_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}
