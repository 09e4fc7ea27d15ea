//! Where a copy of a group goes: constraints, drivers, room, ports, and then the node with the fewest copies.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::{Alloc, Metric, Node};
use super::state::State;
use crate::job::constraint;
use crate::job::spec::{Constraint, Job, Network, Port, TaskGroup};

/// A place for one copy.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The node.
    pub(crate) node: &'a Node,
    /// Its ports.
    pub(crate) ports: Vec<Port>,
}

/// Allocations as they will be once the plan so far has been carried out.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    state: &'a State,
    allocs: BTreeMap<&'a str, Vec<Taken>>,
}

#[derive(Debug, Clone)]
struct Taken {
    id: String,
    job: String,
    group: String,
    cpu: u64,
    memory: u64,
    disk: u64,
    ports: Vec<u16>,
}

impl Taken {
    fn by(alloc: &Alloc) -> Self {
        let group = alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group);
        Self {
            id: alloc.id.clone(),
            job: alloc.job_id.clone(),
            group: alloc.task_group.clone(),
            cpu: group.map_or(0, TaskGroup::cpu),
            memory: group.map_or(0, TaskGroup::memory),
            disk: group.map_or(0, disk),
            ports: alloc.ports.iter().map(|port| port.value).collect(),
        }
    }
}

fn disk(group: &TaskGroup) -> u64 {
    group.ephemeral_disk.as_ref().and_then(|disk| disk.size).unwrap_or(300)
}

impl<'a> Room<'a> {
    /// The room that the state leaves.
    #[must_use]
    pub(crate) fn of(state: &'a State) -> Self {
        let mut allocs: BTreeMap<&str, Vec<Taken>> = BTreeMap::new();
        for alloc in state.allocs.values().filter(|alloc| !alloc.ended()) {
            allocs.entry(&alloc.node_id).or_default().push(Taken::by(alloc));
        }
        Self { state, allocs }
    }

    /// Notes that an allocation will go.
    pub(crate) fn free(&mut self, alloc: &Alloc) {
        if let Some(taken) = self.allocs.get_mut(alloc.node_id.as_str()) {
            taken.retain(|taken| taken.id != alloc.id);
        }
    }

    /// Notes that an allocation will be there.
    pub(crate) fn take(&mut self, node: &'a str, alloc: &Alloc) {
        self.allocs.entry(node).or_default().push(Taken::by(alloc));
    }

    fn taken(&self, node: &Node) -> &[Taken] {
        self.allocs.get(node.id.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The best place for a copy of `group`; `only` limits it to one node, `avoid` is taken only if there is no other.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn place(
        &self,
        job: &Job,
        group: &TaskGroup,
        only: Option<&str>,
        avoid: Option<&str>,
    ) -> Result<Place<'a>, Metric> {
        let mut metric = Metric::default();
        let mut best: Option<((bool, usize, u64), Place<'a>)> = None;
        for node in
            self.state.nodes.values().filter(|node| node.takes_work() && only.is_none_or(|only| only == node.id))
        {
            if job.node_pool != "all" && node.node_pool != job.node_pool {
                continue;
            }
            metric.nodes_in_pool += 1;
            if !job.datacenters.iter().any(|pattern| glob(pattern, &node.datacenter)) {
                continue;
            }
            *metric.nodes_available.entry(node.datacenter.clone()).or_default() += 1;
            metric.nodes_evaluated += 1;
            if let Err(reason) = self.qualifies(job, group, node) {
                metric.nodes_filtered += 1;
                *metric.constraint_filtered.entry(reason).or_default() += 1;
                continue;
            }
            match self.fits(group, node) {
                Ok(ports) => {
                    let same = self
                        .taken(node)
                        .iter()
                        .filter(|taken| taken.job == job.id && taken.group == group.name)
                        .count();
                    let left = node.memory.saturating_sub(self.taken(node).iter().map(|taken| taken.memory).sum());
                    let score = (avoid == Some(node.id.as_str()), same, left);
                    if best.as_ref().is_none_or(|(other, _)| score < *other) {
                        best = Some((score, Place { node, ports }));
                    }
                }
                Err(dimension) => {
                    metric.nodes_exhausted += 1;
                    *metric.dimension_exhausted.entry(dimension).or_default() += 1;
                }
            }
        }
        best.map(|(_, place)| place).ok_or(metric)
    }

    fn qualifies(&self, job: &Job, group: &TaskGroup, node: &Node) -> Result<(), String> {
        for task in &group.tasks {
            let healthy = node
                .drivers
                .get(&task.driver)
                .is_some_and(|driver| driver["Healthy"] == true && driver["Detected"] == true);
            if !healthy {
                return Err(format!("missing drivers: {}", task.driver));
            }
        }
        let all = job
            .constraints
            .iter()
            .chain(&group.constraints)
            .chain(group.tasks.iter().flat_map(|task| &task.constraints));
        for wanted in all {
            if wanted.operand == "distinct_hosts" {
                if self
                    .taken(node)
                    .iter()
                    .any(|taken| taken.job == job.id && (taken.group == group.name || job.constraints.contains(wanted)))
                {
                    return Err("distinct_hosts".into());
                }
            } else if !constraint::holds(wanted, node) {
                return Err(describe(wanted));
            }
        }
        Ok(())
    }

    fn fits(&self, group: &TaskGroup, node: &Node) -> Result<Vec<Port>, String> {
        let taken = self.taken(node);
        if taken.iter().map(|taken| taken.cpu).sum::<u64>() + group.cpu() > node.cpu {
            return Err("cpu".into());
        }
        if taken.iter().map(|taken| taken.memory).sum::<u64>() + group.memory() > node.memory {
            return Err("memory".into());
        }
        if taken.iter().map(|taken| taken.disk).sum::<u64>() + disk(group) > node.disk {
            return Err("disk".into());
        }
        let mut used: BTreeSet<u16> = taken
            .iter()
            .flat_map(|taken| taken.ports.iter().copied())
            .chain(node.reserved_ports.iter().copied())
            .collect();
        let mut ports = Vec::new();
        for Network { reserved_ports, dynamic_ports, .. } in &group.networks {
            for port in reserved_ports {
                if !used.insert(port.value) {
                    return Err(format!("network: reserved port collision {}={}", port.label, port.value));
                }
                ports.push(port.clone());
            }
            for port in dynamic_ports {
                // Start somewhere else each time: a port that was given back may still be in use for a moment.
                let (first, last) = node.ports;
                let span = u32::from(last.saturating_sub(first)) + 1;
                let start = u32::from(u16::from_ne_bytes([
                    uuid::Uuid::new_v4().as_bytes()[0],
                    uuid::Uuid::new_v4().as_bytes()[1],
                ])) % span;
                let free = (0..span)
                    .map(|step| first + u16::try_from((start + step) % span).unwrap_or(0))
                    .find(|port| !used.contains(port));
                let Some(value) = free else { return Err("network: dynamic port selection failed".into()) };
                used.insert(value);
                ports.push(Port { value, ..port.clone() });
            }
        }
        Ok(ports)
    }
}

fn describe(wanted: &Constraint) -> String {
    let operand = if wanted.operand.is_empty() { "=" } else { &wanted.operand };
    format!("{} {operand} {}", wanted.left, wanted.right).trim_end().to_owned()
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| glob(rest, tail)))),
    }
}

/// Ports from a text such as `22,80,8500-8600`; what is no port is left out.
#[must_use]
pub(crate) fn range(text: &str) -> Vec<u16> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{glob, range};

    #[test]
    fn patterns_and_ranges() {
        assert!(glob("*", "dc1") && glob("d*1", "dc1") && !glob("e*", "dc1") && glob("dc1", "dc1"));
        assert_eq!(range("22,80-82, x"), [22, 80, 81, 82]);
    }
}
