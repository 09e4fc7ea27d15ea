//! `nomad job init | stop | inspect`

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;

use super::http::encode;
use super::job_status::find;
use super::table::text;
use super::{Done, Failure, command, doing};
use crate::http::indent;

const EXAMPLE: &str = r#"job "example" {
  group "web" {
    count = 3

    task "server" {
      driver = "raw_exec"

      config {
        command = "/usr/bin/sleep"
        args    = ["infinity"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
"#;

/// `nomad job init`
pub(super) fn init(args: &[String]) -> Done {
    let command = command("job init", args, &["short", "connect", "list-templates"], &["template"])?;
    let name = command.flags.rest.first().cloned().unwrap_or_else(|| "example.nomad.hcl".into());
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&name);
    let mut file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("Job '{name}' already exists")));
        }
        Err(error) => return Err(Failure::new(format!("Failed to write '{name}': {}", crate::config::words(&error)))),
    };
    file.write_all(EXAMPLE.as_bytes()).map_err(|error| Failure::new(format!("Failed to write '{name}': {error}")))?;
    println!("Example job file written to {name}");
    Ok(0)
}

/// `nomad job stop`
pub(super) fn stop(args: &[String]) -> Done {
    let command = command(
        "job stop",
        args,
        &["detach", "purge", "yes", "global", "verbose", "no-shutdown-delay"],
        &["eval-priority"],
    )?;
    let id = command.argument("job stop", "job")?;
    let job = find(&command, &id, &format!("Error querying job prefix {id:?}"))?;
    let path = format!("/v1/job/{}?purge={}", encode(&text(&job, "ID")), command.flags.switch("purge"));
    let reply = command.api.send("DELETE", &path, None).map_err(doing("Error deregistering job"))?;
    let eval = serde_json::from_str(&reply).map(|reply| text(&reply, "EvalID")).unwrap_or_default();
    if command.flags.switch("detach") {
        println!("{eval}");
        return Ok(0);
    }
    super::job_run::monitor(&command.api, &eval, command.flags.switch("verbose"))?;
    Ok(0)
}

/// `nomad job inspect`
pub(super) fn inspect(args: &[String]) -> Done {
    let command = command("job inspect", args, &["json", "hcl"], &["version"])?;
    let job = find(&command, &command.argument("job inspect", "job")?, "Error inspecting job")?;
    println!("{}", indent(&json!({ "Job": job })));
    Ok(0)
}
