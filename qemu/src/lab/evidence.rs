//! What a step that ends with an error leaves behind.
//!
//! A lab learns of a panic by itself. A step that gives back an error drops its labs first, while the error is on its way, and they
//! would take with them what explains it. So while a step runs, the last labs that it drops are kept aside until its end is known.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::RunDir;

/// How many labs are kept aside: what went wrong was in the last one, or in one of two that ran side by side. More would cost room
/// for disks.
const KEPT: usize = 2;

/// One step at a time, which is how suites run.
static STEP: Mutex<Step> = Mutex::new(Step { name: None, failures: 0, labs: VecDeque::new() });

struct Step {
    /// Of the step that runs.
    name: Option<String>,
    /// Steps that ended with an error so far.
    failures: u64,
    /// The last labs that were dropped in it, and what they have to say.
    labs: VecDeque<(RunDir, String)>,
}

/// Runs a step of a test; when it gives an error, the labs that it used report as those of a test that panics do: those that it
/// dropped now, those that outlive it when they are dropped.
///
/// # Errors
/// Those of the step.
pub fn reporting<T, E>(name: &str, step: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    step_now().name = Some(name.to_owned());
    let result = step();
    let mut now = step_now();
    now.name = None;
    let labs = std::mem::take(&mut now.labs);
    now.failures += u64::from(result.is_err());
    drop(now);
    if result.is_err() {
        for (mut run, text) in labs {
            run.keep();
            eprint!("{text}");
        }
    }
    result
}

/// Steps that ended with an error so far.
pub(crate) fn failures() -> u64 {
    step_now().failures
}

/// The step that runs.
pub(crate) fn step() -> Option<String> {
    step_now().name.clone()
}

/// Keeps a lab's directory aside until the end of the step is known. Outside of a step it is removed at once, unless it is kept anyway.
pub(crate) fn set_aside(run: RunDir, text: String) {
    let mut now = step_now();
    if now.name.is_some() {
        now.labs.push_back((run, text));
        if now.labs.len() > KEPT {
            let oldest = now.labs.pop_front();
            drop(now);
            drop(oldest);
        }
    }
}

fn step_now() -> MutexGuard<'static, Step> {
    STEP.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_that_fails_leaves_its_last_labs() {
        let step = |result: Result<(), ()>| {
            let mut paths = Vec::new();
            let ended = reporting("a_step", || {
                for _ in 0..=KEPT {
                    let run = RunDir::new().unwrap();
                    paths.push(run.path().to_owned());
                    set_aside(run, String::new());
                }
                assert_eq!(super::step().as_deref(), Some("a_step"));
                result
            });
            assert_eq!(ended, result);
            paths.into_iter().filter(|path| path.exists()).collect::<Vec<_>>()
        };
        let before = failures();
        assert_eq!((step(Ok(())).len(), failures()), (0, before));
        let left = step(Err(()));
        assert_eq!((left.len(), failures(), super::step()), (KEPT, before + 1, None));
        for path in left {
            std::fs::remove_dir_all(path).unwrap();
        }
        let run = RunDir::new().unwrap();
        let path = run.path().to_owned();
        set_aside(run, String::new());
        assert!(!path.exists(), "outside of a step");
    }
}
