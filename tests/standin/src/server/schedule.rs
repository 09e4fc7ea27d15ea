//! The scheduler: from the state and an evaluation to the changes that bring a job to what it asks for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::objects::{Alloc, Deployment, Eval, Health, Metric, Node, Progress};
use super::place::{Place, Room};
use super::state::{Change, State};
use crate::clock;
use crate::job::spec::{Job, TaskGroup};

const NOT_NEEDED: &str = "alloc not needed due to job update";
const UPDATED: &str = "alloc is being updated due to job update";
const MIGRATED: &str = "alloc is being migrated";
const LOST: &str = "alloc is lost since its node is down";
const RESCHEDULED: &str = "alloc was rescheduled because it failed";

/// A new evaluation of a job.
#[must_use]
pub(crate) fn eval(job: &Job, triggered_by: &str) -> Eval {
    let now = clock::now();
    Eval {
        id: Uuid::new_v4().to_string(),
        namespace: job.namespace.clone(),
        priority: job.priority,
        kind: job.kind.clone(),
        triggered_by: triggered_by.to_owned(),
        job_id: job.id.clone(),
        job_modify_index: job.job_modify_index,
        status: "pending".into(),
        create_time: now,
        modify_time: now,
        ..Eval::default()
    }
}

/// Carries out one evaluation.
#[must_use]
pub(crate) fn run(state: &State, eval: &Eval, now: i64) -> Vec<Change> {
    let mut plan = Plan::new(state, eval, now);
    match state.jobs.get(&eval.job_id) {
        Some(job) if !job.stop => plan.job(job),
        job => plan.stop_all(job),
    }
    plan.finish()
}

struct Plan<'a> {
    state: &'a State,
    eval: Eval,
    now: i64,
    room: Room<'a>,
    allocs: BTreeMap<String, Alloc>,
    deployment: Option<Deployment>,
    touched: bool,
    failed: BTreeMap<String, Metric>,
    later: Option<i64>,
}

impl<'a> Plan<'a> {
    fn new(state: &'a State, eval: &Eval, now: i64) -> Self {
        Self {
            state,
            eval: eval.clone(),
            now,
            room: Room::of(state),
            allocs: BTreeMap::new(),
            deployment: None,
            touched: false,
            failed: BTreeMap::new(),
            later: None,
        }
    }

    fn stop_all(&mut self, job: Option<&Job>) {
        let (state, id) = (self.state, self.eval.job_id.clone());
        for alloc in state.allocs_of(&id).filter(|alloc| alloc.desired_status == "run") {
            self.stop(alloc, NOT_NEEDED, None);
        }
        if let Some(old) =
            job.and_then(|job| self.state.latest_deployment(&job.id)).filter(|deployment| deployment.active())
        {
            let mut old = old.clone();
            old.status = "cancelled".into();
            old.status_description = "Cancelled because job is stopped".into();
            self.deployment = Some(old);
            self.touched = true;
        }
    }

    fn job(&mut self, job: &'a Job) {
        let current = self.state.latest_deployment(&job.id);
        self.deployment = current
            .filter(|deployment| {
                deployment.job_version == job.version && deployment.job_create_index == job.create_index
            })
            .cloned();
        // Groups that the job no longer has.
        for alloc in self.state.allocs_of(&job.id).filter(|alloc| alloc.live()) {
            if !job.task_groups.iter().any(|group| group.name == alloc.task_group) {
                self.stop(alloc, NOT_NEEDED, None);
            }
        }
        for group in &job.task_groups {
            if job.kind == "system" { self.system(job, group) } else { self.group(job, group) }
        }
    }

    fn node(&self, alloc: &Alloc) -> Option<&'a Node> {
        self.state.nodes.get(&alloc.node_id)
    }

    fn gone(&self, alloc: &Alloc) -> bool {
        self.node(alloc).is_none_or(|node| node.status == "down")
    }

    fn group(&mut self, job: &'a Job, group: &'a TaskGroup) {
        let mut mine: Vec<&Alloc> = self
            .state
            .allocs_of(&job.id)
            .filter(|alloc| alloc.task_group == group.name && alloc.desired_status == "run")
            .collect();
        mine.sort_by_key(|alloc| (alloc.number(), alloc.create_index));
        let batch = job.kind == "batch";
        let mut keep: Vec<&Alloc> = Vec::new();
        let mut replace: Vec<(&Alloc, &str)> = Vec::new();
        let mut done = BTreeSet::new();
        for alloc in mine {
            if alloc.client_status == "complete" {
                if batch && alloc.job.version == job.version {
                    done.insert(alloc.number());
                }
            } else if alloc.client_status == "failed" {
                if let Some(at) = self.retry_at(group, alloc) {
                    if at <= self.now {
                        replace.push((alloc, RESCHEDULED));
                    } else {
                        self.later = Some(self.later.map_or(at, |later| later.min(at)));
                        done.insert(alloc.number());
                    }
                } else {
                    done.insert(alloc.number());
                }
            } else if alloc.client_status == "lost" {
                continue;
            } else if self.gone(alloc) {
                replace.push((alloc, LOST));
            } else if self.node(alloc).is_some_and(|node| node.drain) {
                replace.push((alloc, MIGRATED));
            } else {
                keep.push(alloc);
            }
        }
        // Too many: the highest numbers go.
        while keep.len() + done.len() > group.count() {
            let Some(alloc) = keep.pop() else { break };
            self.stop(alloc, NOT_NEEDED, None);
        }
        let (stale, fresh): (Vec<&Alloc>, Vec<&Alloc>) = keep.into_iter().partition(|alloc| {
            alloc.job.version != job.version
                && !alloc.job.task_groups.iter().any(|old| old.name == group.name && old.same_tasks(group))
                || alloc.job.create_index != job.create_index
        });
        for alloc in &fresh {
            if alloc.job.version != job.version {
                self.update_in_place(job, group, alloc);
            }
        }
        // A destructive update goes on as fast as the new allocations become healthy.
        let unhealthy = fresh
            .iter()
            .filter(|alloc| {
                alloc.job.version == job.version
                    && alloc.deployment_status.as_ref().is_none_or(|health| health.healthy != Some(true))
            })
            .count();
        let parallel = match &group.update {
            Some(update) => usize::try_from(update.max_parallel.unwrap_or(1)).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let halted = self.deployment.as_ref().is_some_and(|deployment| deployment.status == "failed");
        let allowed = if halted {
            0
        } else if parallel == 0 {
            usize::MAX
        } else {
            parallel.saturating_sub(unhealthy)
        };
        let mut names: BTreeSet<usize> =
            fresh.iter().chain(&stale).map(|alloc| alloc.number()).chain(done.iter().copied()).collect();
        for (at, alloc) in stale.iter().enumerate() {
            if at < allowed {
                replace.push((alloc, UPDATED));
            }
        }
        let running = fresh.len() + stale.len().saturating_sub(stale.len().min(allowed)) + done.len();
        let mut missing = group.count().saturating_sub(running);
        for (alloc, why) in replace {
            names.remove(&alloc.number());
            if missing == 0 {
                self.stop(alloc, NOT_NEEDED, None);
                continue;
            }
            missing -= 1;
            self.room.free(alloc);
            let number = if alloc.number() < group.count() { alloc.number() } else { lowest(&names) };
            names.insert(number);
            let avoid = (why == RESCHEDULED).then_some(alloc.node_id.as_str());
            match self.room.place(job, group, None, avoid) {
                Ok(place) => {
                    let id = self.start(job, group, number, &place, Some((alloc, why)));
                    self.stop(alloc, why, Some(id));
                }
                Err(metric) => {
                    if why != UPDATED && why != MIGRATED {
                        self.stop(alloc, why, None);
                    }
                    self.fail(group, metric);
                }
            }
        }
        for _ in 0..missing {
            let number = lowest(&names);
            names.insert(number);
            match self.room.place(job, group, None, None) {
                Ok(place) => drop(self.start(job, group, number, &place, None)),
                Err(metric) => self.fail(group, metric),
            }
        }
    }

    /// One copy on every node that qualifies.
    fn system(&mut self, job: &'a Job, group: &'a TaskGroup) {
        let mut covered = BTreeSet::new();
        for alloc in self.state.allocs_of(&job.id).filter(|alloc| {
            alloc.task_group == group.name && alloc.desired_status == "run" && alloc.client_status != "lost"
        }) {
            if self.gone(alloc) {
                self.stop(alloc, LOST, None);
            } else if self.node(alloc).is_some_and(|node| node.drain) {
                self.stop(alloc, MIGRATED, None);
            } else if alloc.job.version == job.version || alloc.ended() && alloc.client_status == "complete" {
                covered.insert(alloc.node_id.clone());
            } else {
                self.room.free(alloc);
                self.stop(alloc, UPDATED, None);
            }
        }
        for node in self.state.nodes.values().filter(|node| node.takes_work() && !covered.contains(&node.id)) {
            match self.room.place(job, group, Some(&node.id), None) {
                Ok(place) => drop(self.start(job, group, 0, &place, None)),
                // A node that does not qualify is not meant; one that is full is a failure.
                Err(metric) if metric.nodes_exhausted > 0 => self.fail(group, metric),
                Err(_) => {}
            }
        }
    }

    fn retry_at(&self, group: &TaskGroup, alloc: &Alloc) -> Option<i64> {
        let policy = group.reschedule_policy.as_ref()?;
        let unlimited = policy.unlimited.unwrap_or(false);
        if !unlimited && alloc.reschedules >= policy.attempts.unwrap_or(0) {
            return None;
        }
        let delay = policy.delay.unwrap_or(30 * clock::SECOND);
        let most = policy.max_delay.filter(|max| *max > 0).unwrap_or(i64::MAX);
        let steps = u32::try_from(alloc.reschedules).unwrap_or(u32::MAX).min(30);
        let grown =
            if policy.delay_function.as_deref() == Some("constant") { delay } else { delay.saturating_mul(1 << steps) };
        Some(alloc.failed_at + grown.min(most))
    }

    fn start(
        &mut self,
        job: &Job,
        group: &TaskGroup,
        number: usize,
        place: &Place<'a>,
        previous: Option<(&Alloc, &str)>,
    ) -> String {
        let mut alloc = Alloc {
            id: Uuid::new_v4().to_string(),
            eval_id: self.eval.id.clone(),
            name: format!("{}.{}[{number}]", job.id, group.name),
            namespace: job.namespace.clone(),
            node_id: place.node.id.clone(),
            node_name: place.node.name.clone(),
            job_id: job.id.clone(),
            job: job.clone(),
            task_group: group.name.clone(),
            desired_status: "run".into(),
            client_status: "pending".into(),
            ports: place.ports.clone(),
            address: place.node.address.clone(),
            create_time: self.now,
            modify_time: self.now,
            ..Alloc::default()
        };
        if let Some((old, why)) = previous {
            alloc.previous_allocation.clone_from(&old.id);
            alloc.reschedules = old.reschedules + u64::from(why == RESCHEDULED);
        }
        if let Some(progress) = self.progress(job, group) {
            progress.placed_allocs += 1;
            alloc.deployment_id = self.deployment.as_ref().map(|deployment| deployment.id.clone()).unwrap_or_default();
        }
        self.room.take(&place.node.id, &alloc);
        let id = alloc.id.clone();
        self.allocs.insert(id.clone(), alloc);
        id
    }

    fn update_in_place(&mut self, job: &Job, group: &TaskGroup, old: &Alloc) {
        let mut alloc = old.clone();
        alloc.job = job.clone();
        alloc.eval_id.clone_from(&self.eval.id);
        alloc.modify_time = self.now;
        if let Some(progress) = self.progress(job, group) {
            progress.placed_allocs += 1;
            alloc.deployment_id = self.deployment.as_ref().map(|deployment| deployment.id.clone()).unwrap_or_default();
            alloc.deployment_status = None;
        }
        self.allocs.insert(alloc.id.clone(), alloc);
    }

    fn stop(&mut self, old: &Alloc, why: &str, next: Option<String>) {
        self.room.free(old);
        let mut alloc = old.clone();
        alloc.desired_status = "stop".into();
        alloc.desired_description = why.to_owned();
        if !alloc.ended() && self.gone(old) {
            alloc.client_status = "lost".into();
        }
        if let Some(next) = next {
            alloc.next_allocation = next;
        }
        alloc.modify_time = self.now;
        self.allocs.insert(alloc.id.clone(), alloc);
    }

    fn fail(&mut self, group: &TaskGroup, metric: Metric) {
        match self.failed.get_mut(&group.name) {
            Some(first) => first.coalesced_failures += 1,
            None => drop(self.failed.insert(group.name.clone(), metric)),
        }
    }

    /// The progress to count into, in a deployment that is made when it is needed first.
    fn progress(&mut self, job: &Job, group: &TaskGroup) -> Option<&mut Progress> {
        let update = group.update.as_ref()?;
        let active = match &self.deployment {
            Some(deployment) => deployment.active(),
            None => {
                self.deployment = Some(deployment(job, self.now));
                true
            }
        };
        self.touched |= active;
        let deadline = update.progress_deadline.unwrap_or(0);
        let by = clock::rfc3339(self.now + deadline);
        let entry = self.deployment.as_mut().filter(|_| active)?.task_groups.get_mut(&group.name)?;
        if entry.require_progress_by.is_empty() {
            entry.require_progress_by = by;
        }
        Some(entry)
    }

    fn finish(mut self) -> Vec<Change> {
        let job = self.state.jobs.get(&self.eval.job_id);
        let mut changes = Vec::new();
        // An older deployment ends when a newer version takes over.
        if let (Some(new), Some(old)) = (&self.deployment, self.state.latest_deployment(&self.eval.job_id))
            && old.id != new.id
            && old.active()
        {
            let mut old = old.clone();
            old.status = "cancelled".into();
            old.status_description = "Cancelled due to newer version of job".into();
            changes.push(Change::Deployment(Box::new(old)));
        }
        let mut eval = self.eval;
        if let Some(deployment) = self.deployment {
            eval.deployment_id.clone_from(&deployment.id);
            if self.touched {
                changes.push(Change::Deployment(Box::new(deployment)));
            }
        }
        changes.extend(self.allocs.into_values().map(|alloc| Change::Alloc(Box::new(alloc))));
        // Room for what failed is waited for by one blocked evaluation.
        for old in self.state.evals.values().filter(|old| old.status == "blocked" && old.job_id == eval.job_id) {
            let mut old = old.clone();
            old.status = "cancelled".into();
            old.status_description = format!("evaluation {:?} successful", eval.id);
            changes.push(Change::Eval(Box::new(old)));
        }
        let follow = |eval: &Eval, why: &str| Eval {
            id: Uuid::new_v4().to_string(),
            triggered_by: why.to_owned(),
            previous_eval: eval.id.clone(),
            create_time: self.now,
            modify_time: self.now,
            ..eval.clone()
        };
        if !self.failed.is_empty() && job.is_some() {
            let mut blocked = follow(&eval, "queued-allocs");
            blocked.status = "blocked".into();
            blocked.status_description = "created to place remaining allocations".into();
            eval.blocked_eval.clone_from(&blocked.id);
            changes.push(Change::Eval(Box::new(blocked)));
        }
        if let Some(at) = self.later {
            let known =
                self.state.evals.values().any(|other| {
                    other.status == "pending" && other.job_id == eval.job_id && other.wait_until > self.now
                });
            if !known {
                let mut later = follow(&eval, "alloc-failure");
                later.status = "pending".into();
                later.wait_until = at;
                later.status_description = "created for delayed rescheduling".into();
                changes.push(Change::Eval(Box::new(later)));
            }
        }
        eval.queued_allocations = job
            .map(|job| {
                job.task_groups
                    .iter()
                    .map(|group| {
                        (
                            group.name.clone(),
                            self.failed.get(&group.name).map_or(0, |metric| metric.coalesced_failures + 1),
                        )
                    })
                    .collect()
            })
            .unwrap_or_default();
        eval.failed = std::mem::take(&mut self.failed);
        eval.status = "complete".into();
        eval.modify_time = self.now;
        changes.push(Change::Eval(Box::new(eval)));
        changes
    }
}

fn lowest(names: &BTreeSet<usize>) -> usize {
    (0..).find(|number| !names.contains(number)).unwrap_or(0)
}

fn deployment(job: &Job, now: i64) -> Deployment {
    let groups = job.task_groups.iter().filter_map(|group| {
        let update = group.update.as_ref()?;
        let progress = Progress {
            desired_total: u64::try_from(group.count()).unwrap_or(0),
            progress_deadline: update.progress_deadline.unwrap_or(0),
            auto_revert: update.auto_revert.unwrap_or(false),
            ..Progress::default()
        };
        Some((group.name.clone(), progress))
    });
    Deployment {
        id: Uuid::new_v4().to_string(),
        namespace: job.namespace.clone(),
        job_id: job.id.clone(),
        job_version: job.version,
        job_modify_index: job.modify_index,
        job_spec_modify_index: job.job_modify_index,
        job_create_index: job.create_index,
        task_groups: groups.collect(),
        status: "running".into(),
        status_description: "Deployment is running".into(),
        create_time: now,
        ..Deployment::default()
    }
}

/// Whether an allocation counts as healthy in its deployment.
#[must_use]
pub(crate) fn is_healthy(health: Option<&Health>) -> Option<bool> {
    health.and_then(|health| health.healthy)
}
