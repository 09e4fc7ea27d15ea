//! Watching deployments: health counted, deadlines kept, the end declared. And the status of jobs, which follows from everything else.

use super::objects::{Alloc, Deployment, Health};
use super::schedule;
use super::state::{Change, State};
use crate::clock;
use crate::job::spec::Job;

/// The first thing that has to be said about a deployment or a job's status, and when there may be something again.
pub(super) fn watch(state: &State, now: i64) -> (Vec<Change>, Option<i64>) {
    let mut next: Option<i64> = None;
    for deployment in state.deployments.values().filter(|deployment| deployment.active()) {
        let Some(job) = state.jobs.get(&deployment.job_id) else { continue };
        let changes = advance(state, deployment, job, now, &mut next);
        if !changes.is_empty() {
            return (changes, None);
        }
    }
    for job in state.jobs.values() {
        let status = status(state, job);
        if job.status != status {
            let job = Job { status: status.into(), ..job.clone() };
            return (vec![Change::Job(Box::new(job))], None);
        }
    }
    (Vec::new(), next)
}

fn soonest(next: &mut Option<i64>, at: i64) {
    *next = Some(next.map_or(at, |next| next.min(at)));
}

fn advance(state: &State, deployment: &Deployment, job: &Job, now: i64, next: &mut Option<i64>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut new = deployment.clone();
    let members: Vec<&Alloc> = state.allocs_of(&job.id).filter(|alloc| alloc.deployment_id == deployment.id).collect();
    let mut complete = true;
    let mut failure = None;
    let mut healthier = false;
    for (name, progress) in &mut new.task_groups {
        let mut healthy = 0;
        let mut unhealthy = 0;
        for alloc in members.iter().filter(|alloc| alloc.task_group == *name) {
            match schedule::is_healthy(alloc.deployment_status.as_ref()) {
                Some(true) if !matches!(alloc.client_status.as_str(), "failed" | "lost") => healthy += 1,
                Some(true) => {}
                Some(false) => unhealthy += 1,
                None if alloc.client_status == "failed" => {
                    unhealthy += 1;
                    let mut failed = (*alloc).clone();
                    failed.deployment_status =
                        Some(Health { healthy: Some(false), timestamp: clock::precise(now), ..Health::default() });
                    changes.push(Change::AllocReport(Box::new(failed)));
                }
                None => {}
            }
        }
        if healthy > progress.healthy_allocs {
            healthier = true;
            progress.require_progress_by = clock::rfc3339(now + progress.progress_deadline);
        }
        progress.healthy_allocs = healthy;
        progress.unhealthy_allocs = unhealthy;
        if healthy < progress.desired_total {
            complete = false;
            if let Some(by) = clock::parse(&progress.require_progress_by)
                && progress.progress_deadline > 0
            {
                if by <= now {
                    failure = Some("Failed due to progress deadline");
                } else {
                    soonest(next, by);
                }
            }
            if unhealthy > 0 && progress.progress_deadline == 0 {
                failure = Some("Failed due to unhealthy allocations");
            }
        }
    }
    if complete {
        new.status = "successful".into();
        new.status_description = "Deployment completed successfully".into();
        if !job.stable && job.version == deployment.job_version {
            changes.push(Change::Job(Box::new(Job { stable: true, ..job.clone() })));
        }
    } else if let Some(why) = failure {
        new.status = "failed".into();
        new.status_description = why.into();
    }
    let same = new.status == deployment.status
        && new.task_groups.iter().all(|(name, progress)| {
            deployment.task_groups.get(name).is_some_and(|old| {
                old.healthy_allocs == progress.healthy_allocs && old.unhealthy_allocs == progress.unhealthy_allocs
            })
        });
    if !same {
        changes.push(Change::Deployment(Box::new(new)));
        // Each healthy allocation may make room for the next step of a rolling update.
        if healthier {
            let mut eval = schedule::eval(job, "deployment-watcher");
            eval.deployment_id.clone_from(&deployment.id);
            changes.push(Change::Eval(Box::new(eval)));
        }
    }
    changes
}

fn status(state: &State, job: &Job) -> &'static str {
    let mut any = false;
    for alloc in state.allocs_of(&job.id) {
        any = true;
        if !alloc.ended() {
            return "running";
        }
    }
    let waiting =
        state.evals.values().any(|eval| eval.job_id == job.id && matches!(eval.status.as_str(), "pending" | "blocked"));
    if job.stop {
        "dead"
    } else if waiting {
        "pending"
    } else if job.kind == "system" {
        "running"
    } else if any {
        "dead"
    } else {
        "pending"
    }
}
