//! Telling the cloud how the boot went: some kill a machine that does not say that it is ready, and most show what a
//! machine says is wrong with it. Nothing waits for it: a cloud that does not listen holds up no Nomad.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::Steward;
use crate::node::{
    datasource::{self, Datasource, Detection, Look, Platform, ReportState},
    net::{Shared, View},
    seed::Seed,
};

/// How long an announcement waits for an address before it is given up.
const ADDRESS: Duration = Duration::from_secs(3600);

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    Ready,
    Failed(Vec<String>),
}

/// The announcements of a boot, in order: a newer one makes an older one void that was not made yet.
#[derive(Debug, Clone, Default)]
pub struct Announcer(Arc<AtomicU64>);

impl Steward {
    /// The plan is applied and Nomad is healthy, for the first time in this boot.
    pub(super) fn announce_ready(&self, platform: &str) {
        self.announce(platform, News::Ready);
    }

    /// Nomad is not started; `reasons` show no secrets.
    pub(super) fn announce_failed(&self, seed: &Seed, reasons: &[String]) {
        self.announce(&seed.platform, News::Failed(reasons.to_vec()));
    }

    /// A datasource found that this machine cannot become a node.
    pub(super) fn announce_refused(&self, platform: &str, why: String) {
        self.announce(platform, News::Failed(vec![why]));
    }

    fn announce(&self, platform: &str, news: News) {
        let turn = self.announcer.0.fetch_add(1, Ordering::SeqCst) + 1;
        let (last, shared) = (Arc::clone(&self.announcer.0), Arc::clone(&self.shared));
        let from = From { root: self.root.clone(), platform: self.platform.clone(), seed: platform.to_owned() };
        thread::spawn(move || {
            let valid = || last.load(Ordering::SeqCst) == turn;
            if await_address(&shared, valid) && valid() {
                from.tell(&datasource::all(), &shared.view(), &news);
            }
        });
    }
}

/// Waits for an address; false when none came or the announcement is void.
fn await_address(shared: &Shared, valid: impl Fn() -> bool) -> bool {
    let came = shared.wait(ADDRESS, |view| if valid() { view.primary().map(|_| true) } else { Some(false) });
    came.unwrap_or(false)
}

/// Who announces.
#[derive(Debug)]
struct From {
    root: PathBuf,
    platform: Platform,
    /// [`Seed::platform`] of the seed that the node was made from.
    seed: String,
}

impl From {
    /// Tells the datasource of the seed, and each that the machine is certain to have: a cloud wants to know how its
    /// machine does even when the user-data came on a volume.
    fn tell(&self, sources: &[Box<dyn Datasource>], view: &View, news: &News) {
        let look = Look::new(&self.root, &self.platform, view);
        let state = match news {
            News::Ready => ReportState::Ready,
            News::Failed(reasons) => ReportState::Failed(reasons),
        };
        for source in sources {
            if source.name() == self.seed || source.detect(&self.platform) == Detection::Named {
                source.report(&look, state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::node::datasource::Outcome;

    struct Cloud(&'static str, Detection, Arc<Mutex<Vec<String>>>);

    impl Datasource for Cloud {
        fn name(&self) -> &'static str {
            self.0
        }

        fn detect(&self, _: &Platform) -> Detection {
            self.1
        }

        fn is_local(&self, _: &Platform) -> bool {
            false
        }

        fn look(&self, _: &Look<'_>) -> Outcome {
            Outcome::Nothing(String::new())
        }

        fn report(&self, _: &Look<'_>, state: ReportState<'_>) {
            self.2.lock().unwrap().push(format!("{} {state:?}", self.0));
        }
    }

    #[test]
    fn the_seeds_source_and_the_machines_own_cloud_are_told() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let cloud = |name, detection| Box::new(Cloud(name, detection, Arc::clone(&heard))) as Box<dyn Datasource>;
        let sources = [
            cloud("volume", Detection::Possible),
            cloud("azure", Detection::Named),
            cloud("other", Detection::Possible),
            cloud("absent", Detection::Absent),
        ];
        let from = From { root: "/".into(), platform: Platform::default(), seed: "volume".into() };
        from.tell(&sources, &View::default(), &News::Ready);
        from.tell(&sources, &View::default(), &News::Failed(vec!["a: b".into()]));
        let failed = "Failed([\"a: b\"])";
        let want = ["volume Ready", "azure Ready", &format!("volume {failed}"), &format!("azure {failed}")];
        assert_eq!(*heard.lock().unwrap(), want);
    }

    #[test]
    fn a_void_announcement_ends_its_wait() {
        assert!(!await_address(&Shared::default(), || false));
    }
}
