//! Jobs, as JSON for the API and as HCL for the CLI.

use serde_json::{Value, json};

/// A service of `count` copies of a shell script, without a deployment's waiting.
#[must_use]
pub fn service(id: &str, count: u32, script: &str) -> Value {
    json!({
        "ID": id,
        "Name": id,
        "Type": "service",
        "Datacenters": ["*"],
        "TaskGroups": [{
            "Name": "web",
            "Count": count,
            "RestartPolicy": { "Attempts": 3, "Interval": 60_000_000_000_u64, "Delay": 1_000_000_000_u64, "Mode": "delay" },
            "Tasks": [{
                "Name": "main",
                "Driver": "raw_exec",
                "Config": { "command": "/bin/sh", "args": ["-c", script] },
                "Resources": { "CPU": 20, "MemoryMB": 32 },
            }],
        }],
    })
}

/// The same in HCL, with the lines `group` and `task` added to those blocks.
#[must_use]
pub fn hcl(id: &str, count: u32, script: &str, group: &str, task: &str) -> String {
    format!(
        r#"job "{id}" {{
  group "web" {{
    count = {count}
    update {{
      min_healthy_time  = "1s"
      healthy_deadline  = "60s"
      progress_deadline = "90s"
    }}
{group}
    task "main" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sh"
        args    = ["-c", {script:?}]
      }}
      resources {{
        cpu    = 20
        memory = 32
      }}
{task}
    }}
  }}
}}
"#
    )
}
