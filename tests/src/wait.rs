//! Waiting for a state that can only be asked for.
//!
//! Consoles, QMP and the switch tell of their events; Nomad's API has to be asked. This is the one place that pauses
//! between two questions.

use std::time::{Duration, Instant};

/// Pause between two questions. Short against everything that is waited for, long against the cost of a question.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks until the answer is `Ok`; gives up at the deadline with the last answer.
///
/// # Errors
/// What was waited for, how long, and the last `Err` of `ask`.
pub fn until<T>(what: &str, limit: Duration, ask: impl FnMut() -> Result<T, String>) -> anyhow::Result<T> {
    until_every(PAUSE, what, limit, ask)
}

/// As [`until`], with another pause: for who measures.
///
/// # Errors
/// As [`until`].
pub fn until_every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(why) if start.elapsed() >= limit => {
                anyhow::bail!("waited {:.0} s for {what}: {why}", start.elapsed().as_secs_f64())
            }
            Err(_) => std::thread::sleep(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_with_the_last_answer() {
        let error = until::<()>("the moon", Duration::ZERO, || Err("still dark".into())).unwrap_err().to_string();
        assert!(error.contains("the moon") && error.contains("still dark"), "{error}");
    }

    #[test]
    fn asks_again() {
        let mut asked = 0;
        let answer = until("three", Duration::from_secs(9), || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err(String::new()) }
        });
        assert_eq!(answer.unwrap(), 3);
    }
}
