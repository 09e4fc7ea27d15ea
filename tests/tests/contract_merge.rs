//! What several configuration files come to, as the running agent reports it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::contract::{Agent, Site, jobs};

/// The effective configuration; its keys are Nomad's internal names.
fn config(agent: &Agent) -> Value {
    agent.api.get("/v1/agent/self").unwrap()["config"].take()
}

/// A server (that does not have to lead) with a user's file after the base.
fn server(hcl: &str) -> Agent {
    Site::new().server("s1", 3).hcl(hcl).start()
}

#[test]
fn c056_later_files_win_and_forms_mix() {
    // The base is JSON, the user's file is HCL.
    let agent = server("name = \"user\"\nregion = \"r2\"\ndatacenter = \"d2\"\nserver {\n bootstrap_expect = 5\n}");
    let config = config(&agent);
    assert_eq!(
        (&config["NodeName"], &config["Region"], &config["Datacenter"]),
        (&json!("user"), &json!("r2"), &json!("d2"))
    );
    assert_eq!((&config["Server"]["Enabled"], &config["Server"]["BootstrapExpect"]), (&json!(true), &json!(5)));
    assert_eq!(agent.api.members().unwrap(), [("user.r2".into(), "alive".into())]);
}

#[test]
fn c057_a_later_file_cannot_switch_off_or_empty() {
    let site = Site::new();
    let setup = site
        .server("s1", 3)
        .hcl("leave_on_terminate = true\nlog_level = \"WARN\"\nlimits {\n http_max_conns_per_client = 5\n}");
    let mut args = vec!["agent".to_owned(), "-config".into(), setup.config().display().to_string(), "-config".into()];
    let ip = setup.ip;
    let off = "leave_on_terminate = false\nlog_level = \"\"\nserver {\n enabled = false\n bootstrap_expect = 0\n}\n\
               limits {\n http_max_conns_per_client = 0\n}\n";
    args.push(site.write("off.hcl", off).display().to_string());
    let mut agent = Agent::launch(&site, "s1", ip, args, Vec::new());
    agent.answers();
    let config = config(&agent);
    assert_eq!((&config["LeaveOnTerm"], &config["LogLevel"]), (&json!(true), &json!("WARN")));
    assert_eq!((&config["Server"]["Enabled"], &config["Server"]["BootstrapExpect"]), (&json!(true), &json!(3)));
    // The exception.
    assert_eq!(config["Limits"]["HTTPMaxConnsPerClient"], 0);
}

#[test]
fn c058_lists_and_maps_over_several_files() {
    let site = Site::new();
    let nobody = [site.address(), site.address()];
    let mut agent = site
        .client("c1", &nobody[..1])
        .hcl(&format!("client {{\n servers = [\"{}:4647\"]\n meta {{\n a = \"1\"\n b = \"1\"\n }}\n reserved {{\n cpu = 100\n memory = 10\n }}", nobody[1]))
        .hcl("server_join {\n retry_join = [\"127.255.0.1\"]\n retry_max = 5\n }\n host_volume \"v\" {\n path = \"/usr\"\n read_only = true\n }\n}")
        .launch();
    agent.answers();
    let third = "client {\n meta {\n b = \"2\"\n c = \"2\"\n }\n reserved {\n memory = 20\n }\n options {\n \"y\" = \"2\"\n }\n\
                 server_join {\n retry_join = [\"127.255.0.2\"]\n retry_interval = \"7s\"\n }\n\
                 host_volume \"v\" {\n path = \"/tmp\"\n }\n host_volume \"w\" {\n path = \"/usr\"\n }\n}\n";
    agent.crash();
    site.write("c1.d/30-more.hcl", third);
    agent.restart();
    let client = config(&agent)["Client"].take();
    assert_eq!(client["Servers"], json!([format!("{}:4647", nobody[0]), format!("{}:4647", nobody[1])]), "appended");
    assert_eq!(client["Meta"], json!({ "a": "1", "b": "2", "c": "2" }), "merged by key");
    assert_eq!(client["Options"]["y"], "2");
    assert_eq!(client["Options"]["driver.allowlist"], "raw_exec", "merged by key");
    assert_eq!(
        (&client["Reserved"]["CPU"], &client["Reserved"]["MemoryMB"]),
        (&json!(100), &json!(20)),
        "merged by field"
    );
    let join = &client["ServerJoin"];
    assert_eq!(join["RetryJoin"], json!(["127.255.0.2"]), "replaced");
    assert_eq!((&join["RetryMaxAttempts"], &join["RetryInterval"]), (&json!(5), &json!(7_000_000_000_u64)));
    let mut volumes: Vec<_> = client["HostVolumes"]
        .as_array()
        .expect("volumes")
        .iter()
        .map(|v| (&v["Name"], &v["Path"], &v["ReadOnly"]))
        .collect();
    volumes.sort_by_key(|v| v.0.to_string());
    let (v, w, yes) = (json!("v"), json!("w"), json!(false));
    assert_eq!(volumes, [(&v, &json!("/tmp"), &yes), (&w, &json!("/usr"), &yes)], "the entry is replaced");
}

#[test]
fn c059_a_plugin_block_replaces_the_earlier_one() {
    let site = Site::new();
    let server = site.server("s1", 1).start();
    server.takes_clients(Duration::from_secs(60));
    // The base enables raw_exec; this block does not say so again.
    let _client = site
        .client("c1", &[server.ip])
        .hcl("plugin \"raw_exec\" {\n config {\n denied_envvars = [\"X\"]\n }\n}")
        .start();
    let node = server.node("c1", "ready", Duration::from_secs(60));
    let node = server.api.get(&format!("/v1/node/{node}")).unwrap();
    assert_ne!(node["Drivers"]["raw_exec"]["Healthy"], true, "{node}");
    // A job that asks for it finds no place.
    server.api.register(&jobs::service("j", 1, "exec sleep 1000")).unwrap();
    tests::wait::until("a blocked evaluation", Duration::from_secs(30), || {
        let evals = server.api.get("/v1/job/j/evaluations")?;
        let blocked = evals.as_array().is_some_and(|list| list.iter().any(|e| e["Status"] == "blocked"));
        if blocked { Ok(()) } else { Err(evals.to_string()) }
    })
    .unwrap();
}

#[test]
fn c060_a_directory_is_read_in_byte_order_and_flat() {
    let site = Site::new();
    let setup = site.server("s1", 3);
    let dir = setup.config();
    let file = |name: &str| format!("s1.d/{name}");
    site.write(&file("30-b.hcl"), "datacenter = \"from-30\"\n");
    site.write(&file("25.json"), r#"{"datacenter":"from-25","log_level":"WARN"}"#);
    site.write(&file(".50-hidden.hcl"), "region = \"hidden\"\n");
    site.write(&file("99.txt"), "this is not read\n");
    site.write(&file("99.hcl~"), "broken {\n");
    site.write(&file("99.conf"), "datacenter = \"from-conf\"\n");
    site.write(&file("sub/99.hcl"), "datacenter = \"from-sub\"\n");
    let agent = setup.start();
    let config = config(&agent);
    assert_eq!(
        (&config["Region"], &config["Datacenter"], &config["LogLevel"]),
        (&json!("hidden"), &json!("from-30"), &json!("WARN"))
    );
    let names = [".50-hidden.hcl", "10-base.json", "20-user.hcl", "25.json", "30-b.hcl"];
    let read = names.map(|name| format!("{}/{name}", dir.display())).join(", ");
    assert!(agent.stdout().contains(&format!("==> Loaded configuration from {read}\n")), "{}", agent.stdout());
}

#[test]
fn c061_flags_beat_files_and_variables_say_nothing() {
    let site = Site::new();
    let setup = site.server("s1", 3).hcl("region = \"rf\"\nlog_level = \"WARN\"");
    let args = [
        "agent",
        "-config",
        &setup.config().display().to_string(),
        "-node=flag",
        "-region=rflag",
        "-dc=dcflag",
        "-log-level=ERROR",
    ];
    let env = [
        ("NOMAD_REGION", "envregion"),
        ("NOMAD_DC", "envdc"),
        ("NOMAD_LOG_LEVEL", "DEBUG"),
        ("NOMAD_DATA_DIR", "/nonexistent"),
    ];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let mut agent = Agent::launch(&site, "s1", setup.ip, args.map(str::to_owned).to_vec(), env);
    agent.answers();
    let config = config(&agent);
    let values = ["NodeName", "Region", "Datacenter", "LogLevel"].map(|key| config[key].as_str().unwrap_or_default());
    assert_eq!(values, ["flag", "rflag", "dcflag", "ERROR"]);
}
