//! Job files: HCL by `hcl-rs`, turned into the form of the API. Whatever is not carried out is refused by name.

mod fields;

use hcl::{Block, Body, Structure};
use serde_json::{Map, Value};

use self::fields::Fields;
use super::constraint::OPERANDS;
use super::spec::{
    Artifact, Constraint, Disk, Job, Network, Port, Reschedule, Resources, Restart, Task, TaskGroup, Update,
};

type Result<T> = std::result::Result<T, String>;

/// Parses a job file; the error names the place or the stanza.
///
/// # Errors
/// If this is no HCL, no job, or a job that the stand-in does not carry out.
pub(crate) fn parse(text: &str) -> Result<Job> {
    let body: Body = hcl::parse(text).map_err(|error| syntax(&error))?;
    let mut found = None;
    for structure in body {
        match structure {
            Structure::Block(block) if block.identifier() == "job" && found.is_none() => found = Some(block),
            Structure::Block(block) if block.identifier() == "job" => return Err("only one 'job' block allowed".into()),
            Structure::Block(block) => return Err(unsupported(block.identifier(), "a job file")),
            Structure::Attribute(attribute) => return Err(unsupported(attribute.key(), "a job file")),
        }
    }
    job(&found.ok_or("'job' block not found")?)
}

fn syntax(error: &hcl::Error) -> String {
    match error {
        hcl::Error::Parse(error) => {
            let at = error.location();
            format!("input.hcl:{},{}-{}: {}", at.line(), at.column(), at.column() + 1, error.message())
        }
        other => other.to_string(),
    }
}

fn unsupported(what: &str, place: &str) -> String {
    format!("{what:?} in {place} is not supported by the stand-in")
}

fn label(block: &Block) -> Result<String> {
    match block.labels() {
        [label] => Ok(label.as_str().to_owned()),
        _ => Err(format!(
            "Missing name for {}; All {} blocks must have 1 labels (name).",
            block.identifier(),
            block.identifier()
        )),
    }
}

fn job(block: &Block) -> Result<Job> {
    let id = label(block)?;
    let mut fields = Fields::of(block)?;
    let mut job = Job { id: id.clone(), name: fields.text("name")?.unwrap_or_else(|| id.clone()), ..Job::default() };
    if let Some(id) = fields.text("id")? {
        job.id = id;
    }
    job.region = fields.text("region")?.unwrap_or_default();
    job.namespace = fields.text("namespace")?.unwrap_or_default();
    job.kind = fields.text("type")?.unwrap_or_default();
    job.priority = fields.number("priority")?.unwrap_or(0);
    job.datacenters = fields.list("datacenters")?;
    job.node_pool = fields.text("node_pool")?.unwrap_or_default();
    job.meta = fields.map("meta")?;
    job.constraints = constraints(&mut fields)?;
    job.update = fields.one("update", update)?;
    let restart = fields.one("restart", restart)?;
    let reschedule = fields.one("reschedule", reschedule)?;
    for block in fields.take("group") {
        let mut group = group(&block)?;
        group.restart_policy = group.restart_policy.or_else(|| restart.clone());
        group.reschedule_policy = group.reschedule_policy.or_else(|| reschedule.clone());
        job.task_groups.push(group);
    }
    for block in fields.take("task") {
        // A task without a group is a group of its own.
        let task = task(&block)?;
        job.task_groups.push(TaskGroup {
            name: task.name.clone(),
            tasks: vec![task],
            restart_policy: restart.clone(),
            reschedule_policy: reschedule.clone(),
            ..TaskGroup::default()
        });
    }
    fields.done()?;
    Ok(job)
}

fn group(block: &Block) -> Result<TaskGroup> {
    let name = label(block)?;
    let mut fields = Fields::of(block)?;
    let group = TaskGroup {
        name,
        count: fields.number("count")?,
        constraints: constraints(&mut fields)?,
        restart_policy: fields.one("restart", restart)?,
        reschedule_policy: fields.one("reschedule", reschedule)?,
        update: fields.one("update", update)?,
        networks: fields.take("network").iter().map(network).collect::<Result<_>>()?,
        ephemeral_disk: fields.one("ephemeral_disk", |mut disk| {
            let out = Disk { size: disk.number("size")?, migrate: disk.bool("migrate")?, sticky: disk.bool("sticky")? };
            disk.done().map(|()| out)
        })?,
        meta: fields.map("meta")?,
        tasks: fields.take("task").iter().map(task).collect::<Result<_>>()?,
    };
    fields.done()?;
    Ok(group)
}

fn task(block: &Block) -> Result<Task> {
    let name = label(block)?;
    let mut fields = Fields::of(block)?;
    let mut config = match fields.values.remove("config") {
        Some(Value::Object(map)) => map,
        Some(_) => return Err(format!("config of {}: a block is required", fields.place)),
        None => Map::new(),
    };
    for block in fields.take("config") {
        let mut inner = Fields::of(&block)?;
        config.extend(std::mem::take(&mut inner.values));
        for block in std::mem::take(&mut inner.blocks) {
            // Drivers that the stand-in does not have may use blocks; they are kept and fail at placement, by the driver's name.
            let inner = Fields::of(&block)?;
            config.insert(
                block.identifier().to_owned(),
                Value::Array(vec![Value::Object(inner.values.into_iter().collect())]),
            );
        }
    }
    // An identity is something that nobody here asks for; the example job carries the block.
    fields.take("identity");
    let task = Task {
        name,
        driver: fields.text("driver")?.unwrap_or_default(),
        user: fields.text("user")?.unwrap_or_default(),
        config,
        env: fields.map("env")?,
        meta: fields.map("meta")?,
        constraints: constraints(&mut fields)?,
        resources: fields.one("resources", |mut need| {
            let out = Resources { cpu: need.number("cpu")?, memory: need.number("memory")? };
            need.done().map(|()| out)
        })?,
        artifacts: fields.take("artifact").iter().map(artifact).collect::<Result<_>>()?,
        kill_timeout: fields.time("kill_timeout")?,
        kill_signal: fields.text("kill_signal")?.unwrap_or_default(),
        restart_policy: fields.one("restart", restart)?,
        leader: fields.bool("leader")?.unwrap_or(false),
    };
    fields.done()?;
    Ok(task)
}

fn artifact(block: &Block) -> Result<Artifact> {
    let mut fields = Fields::of(block)?;
    let out = Artifact {
        source: fields.text("source")?.ok_or_else(|| format!("source of {} is missing", fields.place))?,
        destination: fields.text("destination")?.unwrap_or_default(),
        mode: fields.text("mode")?.unwrap_or_default(),
        options: fields.map("options")?,
    };
    fields.done()?;
    Ok(out)
}

fn constraints(fields: &mut Fields) -> Result<Vec<Constraint>> {
    fields.take("constraint").iter().map(constraint).collect()
}

fn constraint(block: &Block) -> Result<Constraint> {
    let mut fields = Fields::of(block)?;
    let mut out = Constraint {
        left: fields.text("attribute")?.unwrap_or_default(),
        right: fields.text("value")?.unwrap_or_default(),
        operand: fields.text("operator")?.unwrap_or_else(|| "=".into()),
    };
    if let Some(distinct) = fields.bool("distinct_hosts")? {
        if !distinct {
            return Err("distinct_hosts should be set to true or omitted".into());
        }
        out.operand = "distinct_hosts".into();
    }
    for short in ["version", "semver", "set_contains", "set_contains_any", "set_contains_all"] {
        if let Some(value) = fields.text(short)? {
            short.clone_into(&mut out.operand);
            out.right = value;
        }
    }
    fields.done()?;
    if !OPERANDS.contains(&out.operand.as_str()) {
        return Err(unsupported(&out.operand, "a constraint"));
    }
    Ok(out)
}

fn network(block: &Block) -> Result<Network> {
    let mut fields = Fields::of(block)?;
    let mut out = Network { mode: fields.text("mode")?.unwrap_or_default(), ..Network::default() };
    for block in fields.take("port") {
        let label = label(&block)?;
        let mut port = Fields::of(&block)?;
        let number = port.number::<u16>("static")?;
        let entry = Port {
            label,
            value: number.unwrap_or(0),
            to: port.number("to")?.unwrap_or(0),
            host_network: "default".into(),
        };
        port.done()?;
        if number.is_some() { &mut out.reserved_ports } else { &mut out.dynamic_ports }.push(entry);
    }
    fields.done()?;
    Ok(out)
}

fn restart(mut fields: Fields) -> Result<Restart> {
    let out = Restart {
        attempts: fields.number("attempts")?,
        interval: fields.time("interval")?,
        delay: fields.time("delay")?,
        mode: fields.text("mode")?,
    };
    fields.done().map(|()| out)
}

fn reschedule(mut fields: Fields) -> Result<Reschedule> {
    let out = Reschedule {
        attempts: fields.number("attempts")?,
        interval: fields.time("interval")?,
        delay: fields.time("delay")?,
        delay_function: fields.text("delay_function")?,
        max_delay: fields.time("max_delay")?,
        unlimited: fields.bool("unlimited")?,
    };
    fields.done().map(|()| out)
}

fn update(mut fields: Fields) -> Result<Update> {
    fields.time("stagger")?;
    let out = Update {
        max_parallel: fields.number("max_parallel")?,
        min_healthy_time: fields.time("min_healthy_time")?,
        healthy_deadline: fields.time("healthy_deadline")?,
        progress_deadline: fields.time("progress_deadline")?,
        auto_revert: fields.bool("auto_revert")?,
        health_check: fields.text("health_check")?,
    };
    if out.auto_revert == Some(true) {
        return Err(unsupported("auto_revert", "update"));
    }
    if fields.number::<i64>("canary")?.unwrap_or(0) != 0 {
        return Err(unsupported("canary", "update"));
    }
    fields.done().map(|()| out)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_job_is_read() {
        let job = parse(
            r#"job "example" {
  type = "service"
  constraint { distinct_hosts = true }
  group "web" {
    count = 3
    network {
      port "http" {}
    }
    restart { delay = "2s" }
    task "server" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args = ["-c", "echo ${NOMAD_PORT_http}"]
      }
      env { A = "b" }
      resources { cpu = 50 }
    }
  }
}"#,
        )
        .unwrap();
        let group = &job.task_groups[0];
        assert_eq!(group.count(), 3);
        assert_eq!(group.tasks[0].config["args"][1], "echo ${NOMAD_PORT_http}");
        assert_eq!(group.networks[0].dynamic_ports[0].label, "http");
        assert_eq!(group.restart_policy.as_ref().unwrap().delay, Some(2_000_000_000));
    }

    #[test]
    fn what_is_not_carried_out_is_refused_by_name() {
        for (text, word) in [
            ("job \"a\" {\nperiodic { crons = [\"* * * * *\"] }\n}", "periodic"),
            ("job \"a\" {\ngroup \"g\" {\nservice {}\n}\n}", "service"),
            ("variable \"x\" {}\njob \"a\" {}", "variable"),
            ("job \"a\" {\ngroup \"g\" { count = var.x }\n}", "variables"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word) && error.contains("stand-in"), "{error}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = parse("job \"x\" {").unwrap_err();
        assert!(error.starts_with("input.hcl:1,"), "{error}");
    }
}
