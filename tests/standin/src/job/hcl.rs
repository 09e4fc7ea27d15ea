//! Job files: HCL by `hcl-rs`, turned into the form of the API. Whatever is not carried out is refused by name.

use std::collections::BTreeMap;

use hcl::expr::TemplateExpr;
use hcl::{Block, Body, Expression, Structure};
use serde_json::{Map, Value};

use super::constraint::OPERANDS;
use super::spec::{
    Artifact, Constraint, Disk, Job, Network, Port, Reschedule, Resources, Restart, Task, TaskGroup, Update,
};
use crate::clock;
use crate::config::duration;

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

/// The contents of a block, taken out one by one; what is left at the end was not understood.
struct Fields {
    place: String,
    values: BTreeMap<String, Value>,
    blocks: Vec<Block>,
}

impl Fields {
    fn of(block: &Block) -> Result<Self> {
        let label = block.labels().first().map(|label| format!(" {:?}", label.as_str())).unwrap_or_default();
        let place = format!("{}{label}", block.identifier());
        let mut values = BTreeMap::new();
        let mut blocks = Vec::new();
        for structure in block.body().clone() {
            match structure {
                Structure::Attribute(attribute) => {
                    let key = attribute.key().to_owned();
                    let value = value(attribute.expr(), &format!("{key} of {place}"))?;
                    if values.insert(key.clone(), value).is_some() {
                        return Err(format!("Attribute redefined: {key} of {place}"));
                    }
                }
                Structure::Block(block) => blocks.push(block),
            }
        }
        Ok(Self { place, values, blocks })
    }

    fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.values
            .remove(key)
            .map(|value| scalar(&value).ok_or_else(|| format!("{key} of {}: a string is required", self.place)))
            .transpose()
    }

    fn number<N: TryFrom<i64>>(&mut self, key: &str) -> Result<Option<N>> {
        let Some(value) = self.values.remove(key) else { return Ok(None) };
        let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number
            .and_then(|number| N::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| format!("{key} of {}: a number is required", self.place))
    }

    fn bool(&mut self, key: &str) -> Result<Option<bool>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Bool(bool)) => Ok(Some(bool)),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(_) => Err(format!("{key} of {}: a bool is required", self.place)),
        }
    }

    fn time(&mut self, key: &str) -> Result<Option<i64>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_i64()),
            Some(value) => {
                let text = value.as_str().unwrap_or_default();
                duration::parse(text)
                    .map(|time| Some(clock::nanos(time)))
                    .ok_or_else(|| format!("{key} of {}: time: invalid duration {text:?}", self.place))
            }
        }
    }

    fn list(&mut self, key: &str) -> Result<Vec<String>> {
        match self.values.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| {
                    scalar(item).ok_or_else(|| format!("{key} of {}: a list of strings is required", self.place))
                })
                .collect(),
            Some(_) => Err(format!("{key} of {}: a list of strings is required", self.place)),
        }
    }

    /// A map, written as a block or as an attribute.
    fn map(&mut self, key: &str) -> Result<BTreeMap<String, String>> {
        let mut all = match self.values.remove(key) {
            Some(Value::Object(map)) => map,
            Some(_) => return Err(format!("{key} of {}: a map is required", self.place)),
            None => Map::new(),
        };
        for block in self.take(key) {
            let mut fields = Self::of(&block)?;
            all.extend(std::mem::take(&mut fields.values));
            fields.done()?;
        }
        all.into_iter()
            .map(|(name, value)| {
                scalar(&value)
                    .map(|value| (name, value))
                    .ok_or_else(|| format!("{key} of {}: strings are required", self.place))
            })
            .collect()
    }

    fn take(&mut self, name: &str) -> Vec<Block> {
        let (taken, rest) = std::mem::take(&mut self.blocks).into_iter().partition(|block| block.identifier() == name);
        self.blocks = rest;
        taken
    }

    fn one<T>(&mut self, name: &str, read: impl FnOnce(Self) -> Result<T>) -> Result<Option<T>> {
        let mut blocks = self.take(name).into_iter();
        let first = blocks.next().map(|block| Self::of(&block).and_then(read)).transpose()?;
        if blocks.next().is_some() {
            return Err(format!("only one {name:?} block allowed in {}", self.place));
        }
        Ok(first)
    }

    fn done(self) -> Result<()> {
        let left = self.values.keys().map(String::as_str).chain(self.blocks.iter().map(Block::identifier)).next();
        left.map_or(Ok(()), |what| Err(unsupported(what, &self.place)))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

/// An expression without variables; `${...}` is kept for the node that runs the task.
fn value(expression: &Expression, place: &str) -> Result<Value> {
    Ok(match expression {
        Expression::Null => Value::Null,
        Expression::Bool(bool) => Value::Bool(*bool),
        Expression::Number(number) => serde_json::to_value(number).map_err(|error| error.to_string())?,
        Expression::String(text) => Value::String(text.clone()),
        Expression::Array(list) => Value::Array(list.iter().map(|item| value(item, place)).collect::<Result<_>>()?),
        Expression::Object(object) => {
            let pairs = object.iter().map(|(key, item)| {
                let key = match key {
                    hcl::ObjectKey::Identifier(name) => name.to_string(),
                    hcl::ObjectKey::Expression(key) => {
                        scalar(&value(key, place)?).ok_or_else(|| format!("{place}: a key must be a string"))?
                    }
                    _ => return Err(unsupported("this key", place)),
                };
                Ok((key, value(item, place)?))
            });
            Value::Object(pairs.collect::<Result<_>>()?)
        }
        Expression::TemplateExpr(template) => Value::String(match &**template {
            TemplateExpr::QuotedString(text) => unescape(text),
            TemplateExpr::Heredoc(doc) => doc.template.replace("$${", "${"),
        }),
        Expression::Parenthesis(inner) => value(inner, place)?,
        Expression::Operation(_)
        | Expression::Traversal(_)
        | Expression::Variable(_)
        | Expression::FuncCall(_)
        | Expression::Conditional(_)
        | Expression::ForExpr(_) => {
            return Err(unsupported("an expression with variables, functions or operators", place));
        }
        _ => return Err(unsupported("this expression", place)),
    })
}

/// The escapes of a quoted template, which the parser leaves as they are.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out.replace("$${", "${")
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
