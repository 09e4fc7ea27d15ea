//! One look at every datasource that may be the right one.

use std::{cmp::Reverse, path::Path, thread};

use crate::node::{
    datasource::{self, Datasource, Detection, Look, Outcome, Platform},
    net::Shared,
    seed::Seed,
};

/// Why there is no seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// What is waited for.
    pub(super) what: String,
    /// A datasource that will not make a node of this machine, and why.
    pub(super) refused: Option<(&'static str, String)>,
}

impl Missing {
    fn add(&mut self, other: Self) {
        if !self.what.is_empty() {
            self.what += ", or ";
        }
        self.what += &other.what;
        self.refused = self.refused.take().or(other.refused);
    }
}

/// Asks every datasource that may be the right one, once: those on media one by one, then those on the network all at
/// once, so that a silent one makes no other wait for its turn. What is known to be absent is not asked and costs no
/// time. The error says what is waited for.
pub(super) fn look(root: &Path, platform: &Platform, shared: &Shared) -> Result<Seed, Missing> {
    let view = shared.view();
    let look = Look::new(root, platform, &view);
    let mut sources = datasource::all();
    sources.retain(|source| source.detect(platform) != Detection::Absent);
    sources.sort_by_key(|source| Reverse(source.detect(platform)));
    let (local, distant): (Vec<&dyn Datasource>, Vec<_>) =
        sources.iter().map(AsRef::as_ref).partition(|source| source.is_local(platform));
    ask(&local, &distant, &look)
}

fn ask(local: &[&dyn Datasource], distant: &[&dyn Datasource], look: &Look<'_>) -> Result<Seed, Missing> {
    let mut missing = Missing::default();
    for source in local {
        match judge(*source, look) {
            Ok(seed) => return Ok(seed),
            Err(why) => missing.add(why),
        }
    }
    let answers: Vec<Result<Seed, Missing>> = match distant {
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
            Err(why) => missing.add(why),
        }
    }
    Err(missing)
}

/// The seed, or what is missing.
fn judge(source: &dyn Datasource, look: &Look<'_>) -> Result<Seed, Missing> {
    let name = source.name();
    let (what, refused) = match source.look(look) {
        Outcome::Found(seed) => return Ok(*seed),
        Outcome::Nothing(what) => (what, None),
        Outcome::Failed(why) => (format!("{name} metadata that can be read: {why}"), None),
        Outcome::Refused(why) => (format!("another machine: {why}"), Some((name, why))),
    };
    Err(Missing { what, refused })
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

    struct Refusing;

    impl Datasource for Refusing {
        fn name(&self) -> &'static str {
            "azure"
        }

        fn look(&self, _: &Look<'_>) -> Outcome {
            Outcome::Refused("a pool".into())
        }
    }

    #[test]
    fn a_refusal_is_told_apart() {
        let (platform, view) = (Platform::default(), View::default());
        let look = Look::new(Path::new("/nonexistent"), &platform, &view);
        let missing = ask(&[&Together("volume", None, false)], &[&Refusing], &look).unwrap_err();
        assert_eq!(missing.what, "volume is empty, or another machine: a pool");
        assert_eq!(missing.refused, Some(("azure", "a pool".into())));
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
        assert_eq!(ask(empty, &[]).unwrap_err().what, "volume is empty");
    }
}
