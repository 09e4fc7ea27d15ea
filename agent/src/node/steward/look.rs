//! One look at every datasource that may be the right one.

use std::{cmp::Reverse, path::Path, thread};

use crate::node::{
    datasource::{self, Datasource, Detection, Look, Outcome, Platform},
    net::Shared,
    seed::Seed,
};

/// Asks every datasource that may be the right one, once: those on media one by one, then those on the network all at
/// once, so that a silent one makes no other wait for its turn. What is known to be absent is not asked and costs no
/// time. The error says what is waited for.
pub(super) fn look(root: &Path, platform: &Platform, shared: &Shared) -> Result<Seed, String> {
    let view = shared.view();
    let look = Look::new(root, platform, &view);
    let mut sources = datasource::all();
    sources.retain(|source| source.detect(platform) != Detection::Absent);
    sources.sort_by_key(|source| Reverse(source.detect(platform)));
    let (local, distant): (Vec<&dyn Datasource>, Vec<_>) =
        sources.iter().map(AsRef::as_ref).partition(|source| source.is_local(platform));
    ask(&local, &distant, &look)
}

fn ask(local: &[&dyn Datasource], distant: &[&dyn Datasource], look: &Look<'_>) -> Result<Seed, String> {
    let mut reasons = Vec::new();
    for source in local {
        match judge(*source, look) {
            Ok(seed) => return Ok(seed),
            Err(why) => reasons.push(why),
        }
    }
    let answers: Vec<Result<Seed, String>> = match distant {
        [only] => vec![judge(*only, look)],
        several => thread::scope(|scope| {
            let asked: Vec<_> = several.iter().map(|source| scope.spawn(move || judge(*source, look))).collect();
            // A panic ends the process before it gets here.
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        }),
    };
    for answer in answers {
        match answer {
            Ok(seed) => return Ok(seed),
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join(", or "))
}

/// The seed, or what is missing.
fn judge(source: &dyn Datasource, look: &Look<'_>) -> Result<Seed, String> {
    match source.look(look) {
        Outcome::Found(seed) => Ok(*seed),
        Outcome::Nothing(what) => Err(what),
        Outcome::Failed(why) => Err(format!("{} metadata that can be read: {why}", source.name())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::node::net::View;

    /// Answers only when all of its kind are asked at the same time.
    struct Together<'a>(&'static str, Option<&'a Barrier>, bool);

    impl Datasource for Together<'_> {
        fn name(&self) -> &'static str {
            self.0
        }

        fn look(&self, _: &Look<'_>) -> Outcome {
            if let Some(barrier) = self.1 {
                barrier.wait();
            }
            let seed = Seed { platform: self.0.into(), ..Seed::default() };
            if self.2 { Outcome::Found(Box::new(seed)) } else { Outcome::Nothing(format!("{} is empty", self.0)) }
        }
    }

    #[test]
    fn media_come_first_and_the_network_is_asked_at_once() {
        let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
        let (platform, view) = (Platform::default(), View::default());
        let look = Look::new(Path::new("/nonexistent"), &platform, &view);
        let volume: &[Together<'_>] = vec![Together("volume", None, true)].leak();
        let empty: &[Together<'_>] = vec![Together("volume", None, false)].leak();
        let clouds = [Together("one", Some(barrier), false), Together("two", Some(barrier), true)];
        let clouds: &[Together<'_>] = Vec::from(clouds).leak();
        let refs = |list: &'static [Together<'static>]| list.iter().map(|s| s as &dyn Datasource).collect::<Vec<_>>();
        let ask = |local, distant| ask(&refs(local), &refs(distant), &look).map(|seed| seed.platform);
        assert_eq!(ask(empty, clouds).unwrap(), "two");
        assert_eq!(ask(volume, clouds).unwrap(), "volume", "the others are not asked");
        assert_eq!(ask(empty, &[]).unwrap_err(), "volume is empty");
    }
}
