//! What a running client looks like from inside: a job looks, and what it prints comes back through Nomad.

use std::time::Duration;

use crate::{cluster::Cluster, wait};

/// Runs a script in busybox's shell on a client, as root and outside of any container, and gives what it printed. `$b` is
/// busybox itself. The lone server of the cluster gets the job under the name `id`.
///
/// # Errors
/// When the job does not end well in time.
pub fn look(cluster: &Cluster, client: &str, id: &str, script: &str) -> anyhow::Result<String> {
    anyhow::ensure!(!script.contains("${") && !script.contains("%{"), "Nomad would fill in what begins with a brace");
    let job = format!(
        r#"job "{id}" {{
  type = "batch"
  group "look" {{
    constraint {{
      attribute = "${{node.unique.name}}"
      value     = "{client}"
    }}
    restart {{
      attempts = 0
      mode     = "fail"
    }}
    task "look" {{
      driver = "raw_exec"
      artifact {{
        source      = "http://files:8000/busybox"
        destination = "local/busybox"
        mode        = "file"
      }}
      config {{
        command = "local/busybox"
        args = ["sh", "-c", <<-SCRIPT
          b=local/busybox
{script}
        SCRIPT
        ]
      }}
      resources {{
        cpu    = 50
        memory = 32
      }}
    }}
  }}
}}
"#
    );
    let server = cluster.names().into_iter().find(|name| name.starts_with("server")).unwrap_or_default();
    cluster.run_job(&server, &job)?;
    let alloc = wait::until("the end of a job that looks", cluster.limit(Duration::from_secs(30)), || {
        let allocs = cluster.api(&server).allocs(id)?;
        match allocs.as_slice() {
            [only] if only.client_status == "complete" => Ok(only.id.clone()),
            other => Err(format!("{other:?}")),
        }
    })?;
    let path = format!("/v1/client/fs/logs/{alloc}?task=look&type=stdout&plain=true");
    let answer = cluster.api(client).send("GET", &path, "").map_err(anyhow::Error::msg)?;
    anyhow::ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    Ok(answer.body)
}
