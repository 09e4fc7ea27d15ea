//! The time of locks on variables, which only the leader counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::objects::Variable;
use super::state::{Change, State};
use crate::config::duration;

/// Until when locks live.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Instant>>);

impl Locks {
    fn lives(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new leader counts from the beginning.
    pub(super) fn begin(&self, state: &State) {
        self.lives().clear();
        for (path, variable) in &state.variables {
            self.note(path, Some(variable));
        }
    }

    /// The variable's lock was acquired, renewed or released.
    pub(crate) fn note(&self, path: &str, variable: Option<&Variable>) {
        match variable.and_then(|variable| variable.lock.as_ref()) {
            Some(lock) => {
                // Twice, as a holder that is late is no dead one; and the delay before anybody else gets it.
                let until = Instant::now() + 2 * length(&lock.ttl) + length(&lock.delay);
                self.lives().insert(path.to_owned(), until);
            }
            None => drop(self.lives().remove(path)),
        }
    }

    /// The variables whose lock is over, without it; and when the next one will be.
    pub(super) fn over(&self, state: &State) -> (Vec<Change>, Option<Instant>) {
        let now = Instant::now();
        let lives = self.lives();
        let over = lives.iter().filter(|(_, until)| **until <= now).filter_map(|(path, _)| state.variables.get(path));
        let changes = over.filter(|variable| variable.lock.is_some());
        let changes = changes.map(|old| Change::Variable(Box::new(Variable { lock: None, ..old.clone() }))).collect();
        (changes, lives.values().filter(|until| **until > now).min().copied())
    }
}

fn length(text: &str) -> Duration {
    duration::parse(text).unwrap_or_default()
}
