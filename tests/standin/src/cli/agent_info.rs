//! `nomad agent-info`

use super::{Done, command, doing};
use crate::http::indent;

/// `nomad agent-info`
pub(super) fn main(args: &[String]) -> Done {
    let command = command("agent-info", args, &["json"], &[])?;
    command.no_arguments("agent-info")?;
    let body =
        command.api.get("/v1/agent/self").map_err(doing("Error querying agent info: failed querying self endpoint"))?;
    if command.flags.switch("json") {
        println!("{}", indent(&body));
        return Ok(0);
    }
    for (section, values) in body["stats"].as_object().into_iter().flatten() {
        println!("{section}");
        for (key, value) in values.as_object().into_iter().flatten() {
            println!("  {key} = {}", value.as_str().unwrap_or_default());
        }
    }
    Ok(0)
}
