//! One allocation on its node: its directory, its tasks, its status and its health.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::executor::Handle;
use super::task::TaskRunner;
use super::{Client, lock};
use crate::clock;
use crate::job::spec::TaskGroup;
use crate::server::objects::{Alloc, Health, TaskState};

/// Runs one allocation.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) id: String,
    client: Arc<Client>,
    inner: Mutex<Inner>,
    stopping: watch::Sender<bool>,
    over: watch::Sender<bool>,
    tasks: Mutex<BTreeMap<String, Arc<TaskRunner>>>,
}

#[derive(Debug)]
struct Inner {
    alloc: Alloc,
    handles: BTreeMap<String, Handle>,
    /// Counts changes, and the count that the servers know of.
    mark: u64,
    reported: u64,
}

impl Runner {
    /// Starts an allocation, or takes it up again where `handles` point to running tasks.
    pub(super) fn start(client: Arc<Client>, alloc: Alloc, handles: BTreeMap<String, Handle>) -> Arc<Self> {
        let runner = Arc::new(Self {
            id: alloc.id.clone(),
            client,
            stopping: watch::Sender::new(alloc.desired_status != "run"),
            over: watch::Sender::new(false),
            inner: Mutex::new(Inner { alloc, handles, mark: 1, reported: 0 }),
            tasks: Mutex::new(BTreeMap::new()),
        });
        tokio::spawn(runner.clone().run());
        runner
    }

    pub(super) fn alloc(&self) -> Alloc {
        lock(&self.inner).alloc.clone()
    }

    pub(super) fn handles(&self) -> BTreeMap<String, Handle> {
        lock(&self.inner).handles.clone()
    }

    pub(super) fn task(&self, name: &str) -> Option<Arc<TaskRunner>> {
        lock(&self.tasks).get(name).cloned()
    }

    pub(super) fn only_task(&self) -> Option<String> {
        let alloc = self.alloc();
        let group = group(&alloc)?;
        match group.tasks.as_slice() {
            [task] => Some(task.name.clone()),
            _ => None,
        }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.client.alloc_dir.join(&self.id)
    }

    /// The count of changes, if the servers do not know the last one.
    pub(super) fn unreported(&self) -> Option<u64> {
        let inner = lock(&self.inner);
        (inner.mark > inner.reported).then_some(inner.mark)
    }

    pub(super) fn reported(&self, mark: u64) {
        lock(&self.inner).reported = mark;
    }

    /// Takes in what the servers say.
    pub(super) fn update(&self, news: Alloc) {
        let stop = news.desired_status != "run";
        {
            let mut inner = lock(&self.inner);
            // A new deployment asks for health anew.
            if news.deployment_id != inner.alloc.deployment_id {
                inner.alloc.deployment_id.clone_from(&news.deployment_id);
                inner.alloc.deployment_status = None;
            }
            inner.alloc.job = news.job;
            inner.alloc.desired_status = news.desired_status;
            inner.alloc.alloc_modify_index = news.alloc_modify_index;
        }
        if stop {
            self.stop();
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until all tasks have ended.
    pub(super) async fn ended(&self) {
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    fn change(&self, change: impl FnOnce(&mut Alloc, &mut BTreeMap<String, Handle>)) {
        {
            let mut inner = lock(&self.inner);
            let Inner { alloc, handles, mark, .. } = &mut *inner;
            change(alloc, handles);
            *mark += 1;
        }
        self.client.changed(self);
    }

    /// Notes the state of a task and with it the allocation's.
    pub(super) fn note(&self, task: &str, state: TaskState, handle: Option<Handle>) {
        self.change(|alloc, handles| {
            match handle {
                Some(handle) => drop(handles.insert(task.to_owned(), handle)),
                None => drop(handles.remove(task)),
            }
            alloc.task_states.insert(task.to_owned(), state);
            let total = group(alloc).map_or(0, |group| group.tasks.len());
            let (status, text) = summary(&alloc.task_states, total);
            alloc.client_status = status.into();
            alloc.client_description = text.into();
        });
    }

    async fn run(self: Arc<Self>) {
        let alloc = self.alloc();
        let Some(group) = group(&alloc).cloned() else {
            self.change(|alloc, _| alloc.client_status = "failed".into());
            self.over.send_replace(true);
            return;
        };
        if let Err(error) = self.build(&group) {
            crate::log::error(format!(
                "client.alloc_runner: failed to build allocation directory: alloc_id={} error={error:?}",
                self.id
            ));
        }
        let handles = self.handles();
        let limit = crate::config::duration::parse(&self.client.settings.client.max_kill_timeout)
            .unwrap_or(Duration::from_secs(30));
        let mut waits = Vec::new();
        for task in &group.tasks {
            let runner = TaskRunner::new(
                self.client.node.clone(),
                alloc.clone(),
                group.clone(),
                task.clone(),
                self.dir(),
                limit,
            );
            lock(&self.tasks).insert(task.name.clone(), runner.clone());
            let me = self.clone();
            let handle = handles.get(&task.name).cloned();
            let stopping = self.stopping.subscribe();
            let leader = task.leader;
            waits.push(tokio::spawn(async move {
                let failed = runner.run(&me, handle, stopping).await;
                // A failed task ends its group, and so does the end of a leader.
                if failed || leader {
                    me.stop();
                }
            }));
        }
        let health = tokio::spawn(self.clone().judge());
        for wait in waits {
            let _ = wait.await;
        }
        health.abort();
        self.change(|_, _| {});
        self.over.send_replace(true);
    }

    fn build(&self, group: &TaskGroup) -> std::io::Result<()> {
        let dir = self.dir();
        let make = |path: &Path, mode: u32| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        make(&dir, 0o755)?;
        for part in ["alloc/logs", "alloc/data", "alloc/tmp"] {
            make(&dir.join(part), 0o777)?;
        }
        for task in &group.tasks {
            for part in ["local", "secrets", "tmp", "private"] {
                make(&dir.join(&task.name).join(part), 0o777)?;
            }
        }
        Ok(())
    }

    /// Judges the allocation for its deployment: healthy once all tasks have run for a while without a restart.
    async fn judge(self: Arc<Self>) {
        let mut since: Option<(Instant, u64)> = None;
        let mut asked = (String::new(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let alloc = self.alloc();
            let Some(update) = group(&alloc).and_then(|group| group.update.clone()) else { return };
            if alloc.deployment_id.is_empty()
                || alloc.deployment_status.as_ref().is_some_and(|health| health.healthy.is_some())
            {
                continue;
            }
            if asked.0 != alloc.deployment_id {
                asked = (alloc.deployment_id.clone(), Instant::now());
            }
            let restarts = alloc.task_states.values().map(|state| state.restarts).sum();
            if alloc.client_status == "running" {
                since = since.filter(|(_, seen)| *seen == restarts).or(Some((Instant::now(), restarts)));
            } else {
                since = None;
            }
            let time = |nanos: Option<i64>, default: u64| {
                nanos
                    .and_then(|nanos| u64::try_from(nanos).ok())
                    .map_or(Duration::from_secs(default), Duration::from_nanos)
            };
            let healthy = since.is_some_and(|(at, _)| at.elapsed() >= time(update.min_healthy_time, 10));
            let late = asked.1.elapsed() >= time(update.healthy_deadline, 300);
            if healthy || late || alloc.client_status == "failed" {
                self.change(|alloc, _| {
                    alloc.deployment_status = Some(Health {
                        healthy: Some(healthy),
                        timestamp: clock::precise(clock::now()),
                        ..Health::default()
                    });
                });
            }
        }
    }
}

pub(super) fn group(alloc: &Alloc) -> Option<&TaskGroup> {
    alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group)
}

fn summary(states: &BTreeMap<String, TaskState>, total: usize) -> (&'static str, &'static str) {
    if states.values().any(|state| state.state == "dead" && state.failed) {
        return ("failed", "Failed tasks");
    }
    if states.values().any(|state| state.state == "running") {
        return ("running", "Tasks are running");
    }
    if states.len() == total && states.values().all(|state| state.state == "dead") {
        return ("complete", "All tasks have completed");
    }
    ("pending", "No tasks have started")
}
