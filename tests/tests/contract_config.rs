//! Which configurations are taken and which are refused, by `config validate` and by the agent.

use std::time::Duration;

use tests::contract::{Ran, Site};

/// Errors are reported within 0.2 s; this is for busy machines.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Configuration texts; `@` stands for what every agent of the suite needs (data directory and addresses), `DIR` for the site.
fn text(site: &Site, template: &str) -> String {
    let ip = site.address();
    let dir = site.dir().display();
    let common = format!(
        "data_dir = \"{dir}/data\"\nbind_addr = \"{ip}\"\nadvertise {{\n http = \"{ip}\"\n rpc = \"{ip}\"\n \
         serf = \"{ip}\"\n}}\ndisable_update_check = true\n"
    );
    template.replace('@', &common).replace("DIR", &dir.to_string())
}

/// The same as a JSON object without its last brace.
fn json(site: &Site, rest: &str) -> String {
    let (ip, dir) = (site.address(), site.dir().display());
    format!(
        r#"{{"data_dir":"{dir}/data","bind_addr":"{ip}","advertise":{{"http":"{ip}","rpc":"{ip}","serf":"{ip}"}},
        "disable_update_check":true,{rest}"#
    )
}

const SERVER: &str = "@server {\n enabled = true\n bootstrap_expect = 1\n}\n";

fn validate(site: &Site, file: &str, text: &str) -> Ran {
    let path = site.write(file, text);
    site.run(["config".as_ref(), "validate".as_ref(), path.as_os_str()])
}

fn agent(site: &Site, file: &str, text: &str) -> Ran {
    let path = site.write(file, text);
    site.run(["agent".as_ref(), "-config".as_ref(), path.as_os_str()])
}

fn accepted(site: &Site, file: &str, text: &str) {
    let ran = validate(site, file, text);
    assert!(ran.code == 0 && ran.stdout == "Configuration is valid!\n", "{text}\n{ran:#?}");
}

/// Both refuse, and say why.
fn refused(site: &Site, file: &str, text: &str, why: &str) {
    let ran = validate(site, file, text);
    assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains(why), "{why}\n{text}\n{ran:#?}");
    let ran = agent(site, file, text);
    assert!(ran.code == 1 && ran.took < AT_ONCE, "{text}\n{ran:#?}");
    // Before any banner.
    assert!(ran.stdout.is_empty(), "{text}\n{ran:#?}");
    let reason = ran.stderr.lines().rfind(|line| line.starts_with("==> ")).unwrap_or_default();
    assert!(reason.contains(why), "{why}\n{text}\n{ran:#?}");
}

#[test]
fn c025_validate_says_valid_and_warns() {
    let site = Site::new();
    let ran = validate(&site, "a.hcl", &text(&site, SERVER));
    assert_eq!((ran.code, &*ran.stdout), (0, "Configuration is valid!\n"), "{ran:#?}");
    let warnings: Vec<_> = ran.stderr.lines().collect();
    assert!(warnings.contains(&"WARNING: Bootstrap mode enabled! Potentially unsafe operation."), "{ran:#?}");
    assert!(warnings.iter().any(|w| w.starts_with("WARNING: mTLS is not configured")), "{ran:#?}");
}

#[test]
fn c025_validate_says_invalid_and_why() {
    let site = Site::new();
    let ran = validate(&site, "a.hcl", &text(&site, "@"));
    ran.fails(1, "Must specify either server, client or dev mode for the agent.");
    assert!(ran.stderr.ends_with("Configuration is invalid\n"), "{ran:#?}");
    assert_eq!(site.run(["config", "validate"]).code, 1);
}

#[test]
fn c025_validate_merges_files_and_directories() {
    let site = Site::new();
    let common = site.write("d/a.hcl", text(&site, "@"));
    let server = site.write("b.json", r#"{"server":{"enabled":true}}"#);
    let dir = common.parent().expect("parent");
    let ran = site.run(["config".as_ref(), "validate".as_ref(), dir.as_os_str(), server.as_os_str()]);
    assert_eq!(ran.out(), "Configuration is valid!\n");
}

#[test]
fn c026_validate_is_not_a_start_test() {
    let site = Site::new();
    let cases = [
        (
            "bind_addr = \"127.0.0.1\"\nserver {\n enabled = true\n}\ndata_dir = \"DIR/x\"\n",
            "Defaulting advertise to localhost",
        ),
        (
            "@client {\n enabled = true\n host_volume \"v\" {\n path = \"/nonexistent\"\n }\n}\n",
            "/nonexistent: no such file",
        ),
        ("@log_level = \"LOUD\"\nserver {\n enabled = true\n}\n", "Invalid log level: LOUD"),
        ("@server {\n enabled = true\n encrypt = \"aGVsbG8=\"\n}\n", "key size must be 16, 24 or 32 bytes"),
        ("@server {\n enabled = true\n}\nports {\n http = 70000\n}\n", "invalid port"),
        ("@client {\n enabled = true\n network_interface = \"nosuch0\"\n}\n", "nosuch0"),
        ("@client {\n enabled = true\n}\nplugin \"raw_exec\" {\n config {\n nosuch = 1\n }\n}\n", "nosuch"),
    ];
    for (template, why) in cases {
        let text = text(&site, template);
        accepted(&site, "a.hcl", &text);
        let ran = agent(&site, "a.hcl", &text);
        assert!(ran.code == 1 && ran.stderr.contains(why), "{why}\n{text}\n{ran:#?}");
    }
}

#[test]
fn c049_the_content_tells_json_from_hcl() {
    let site = Site::new();
    let hcl = text(&site, SERVER);
    let json = json(&site, r#""server":{"enabled":true,"bootstrap_expect":1}}"#);
    for name in ["conf", "a.json", "a.conf"] {
        accepted(&site, name, &hcl);
    }
    for name in ["a.hcl", "a.conf", "a.json"] {
        accepted(&site, name, &json);
    }
}

#[test]
fn c050_json_is_read_leniently() {
    let site = Site::new();
    for rest in
        [r#""server":{"enabled":true},}"#, r#""server":{"enabled":true}"#, r#""server":{"enabled":true}} and more"#]
    {
        accepted(&site, "a.json", &json(&site, rest));
    }
}

#[test]
fn c050_json_has_no_comments_no_array_and_no_null_block() {
    let site = Site::new();
    refused(&site, "a.json", &json(&site, "\n// c\n\"server\":{\"enabled\":true}}"), "illegal char");
    refused(&site, "a.json", &format!("[{}]", json(&site, r#""server":{"enabled":true}}"#)), "got: LBRACK");
    refused(
        &site,
        "a.json",
        &json(&site, r#""server":{"enabled":true,"server_join":null}}"#),
        "not an object type for struct",
    );
}

#[test]
fn c051_blocks_are_objects_or_arrays_of_one() {
    let site = Site::new();
    for rest in [
        r#""server":[{"enabled":true,"server_join":[{"retry_join":["127.0.0.1"]}]}],"ports":[{"http":4646}]}"#,
        r#""server":[{"enabled":true},{"bootstrap_expect":1}]}"#,
        r#""client":{"enabled":true,"host_volume":{"v":{"path":"/tmp"}}},"plugin":{"raw_exec":{"config":{"enabled":true}}}}"#,
        r#""client":{"enabled":true,"host_volume":[{"v":{"path":"/tmp"}}]},"plugin":[{"raw_exec":[{"config":[{"enabled":true}]}]}]}"#,
    ] {
        accepted(&site, "a.json", &json(&site, rest));
    }
}

#[test]
fn c052_unknown_keys_are_fatal() {
    let site = Site::new();
    let blocks = ["ports", "advertise", "addresses", "telemetry", "tls", "acl"];
    for block in blocks {
        let text = text(&site, SERVER) + &format!("{block} {{\n nosuch = 1\n}}\n");
        refused(&site, "a.hcl", &text, &format!("{block} unexpected keys nosuch"));
    }
    let cases = [
        ("nosuch_key = 1\nother_bad = \"x\"\n", "unexpected keys nosuch_key, other_bad"),
        ("nosuch {\n a = 1\n}\n", "unexpected keys nosuch"),
        ("server {\n nosuch = 2\n}\n", "server unexpected keys nosuch"),
        ("server {\n server_join {\n retryjoin = [\"a\"]\n }\n}\n", "server_join.server unexpected keys retryjoin"),
        ("client {\n nosuch = 2\n}\n", "client unexpected keys nosuch"),
        ("client {\n reserved {\n nosuch = 2\n }\n}\n", "reserved.client unexpected keys nosuch"),
    ];
    for (more, why) in cases {
        refused(&site, "a.hcl", &(text(&site, SERVER) + more), why);
    }
    refused(
        &site,
        "a.json",
        &json(&site, r#""server":{"enabled":true},"nosuch_key":1}"#),
        "unexpected keys nosuch_key",
    );
}

#[test]
fn c053_some_blocks_take_any_key() {
    let site = Site::new();
    for more in [
        "limits {\n nosuch = 1\n}\n",
        "ui {\n nosuch = 1\n}\n",
        "client {\n host_volume \"v\" {\n path = \"/tmp\"\n nosuch = 1\n }\n}\n",
        "plugin \"raw_exec\" {\n nosuch = 1\n}\n",
    ] {
        accepted(&site, "a.hcl", &(text(&site, SERVER) + more));
    }
}

#[test]
fn c054_a_scalar_twice_is_fatal_and_a_block_twice_is_merged() {
    let site = Site::new();
    let twice = text(&site, SERVER) + "log_level = \"WARN\"\nlog_level = \"ERROR\"\n";
    refused(&site, "a.hcl", &twice, "unexpected keys log_level");
    let json = json(&site, r#""log_level":"WARN","log_level":"ERROR","server":{"enabled":true}}"#);
    refused(&site, "a.json", &json, "unexpected keys log_level");
    let ran = validate(&site, "a.hcl", &(text(&site, SERVER) + "server {\n bootstrap_expect = 2\n}\n"));
    assert!(ran.code == 0 && ran.stderr.contains("odd number"), "{ran:#?}");
}

#[test]
fn c055_strings_become_booleans_and_numbers() {
    let site = Site::new();
    accepted(&site, "a.hcl", &text(&site, "@server {\n enabled = \"true\"\n bootstrap_expect = \"1\"\n}\n"));
    accepted(&site, "a.hcl", &text(&site, "@client {\n enabled = true\n meta {\n a = 1\n b = true\n }\n}\n"));
    let cases = [
        ("@server {\n enabled = \"yes\"\n}\n", "Unknown value for boolean: \"yes\""),
        ("@server {\n enabled = true\n bootstrap_expect = \"one\"\n}\n", "parsing \"one\": invalid syntax"),
        ("@server {\n enabled = true\n server_join {\n retry_join = \"a\"\n }\n}\n", "unknown slice type"),
        (
            "@server {\n enabled = true\n heartbeat_grace = \"10\"\n}\n",
            "server.heartbeat_grace can't parse time duration 10",
        ),
    ];
    for (template, why) in cases {
        refused(&site, "a.hcl", &text(&site, template), why);
    }
}

#[test]
fn c060_missing_files_and_bad_syntax() {
    let site = Site::new();
    for name in ["nosuch.hcl", "nosuch.d"] {
        let path = site.dir().join(name);
        let path = path.to_str().expect("path");
        for args in [["config", "validate"], ["agent", "-config"]] {
            site.run(args.into_iter().chain([path])).fails(1, &format!("stat {path}: no such file or directory"));
        }
    }
    std::fs::create_dir(site.dir().join("empty")).unwrap();
    let ran = site.run(["agent", "-config", "empty"]);
    ran.fails(1, "No configuration loaded from empty");
    ran.fails(1, "==> Must specify either server, client or dev mode for the agent.");
    let cases = [
        ("@server {\n enabled = true\n", "object expected closing RBRACE got: EOF"),
        ("this is not hcl\n", "key 'this is not hcl' expected start of object"),
        ("data_dir = /var\n", "At 1:12: expected '/' for comment"),
    ];
    for (template, why) in cases {
        refused(&site, "a.hcl", &text(&site, template), why);
    }
}

#[test]
fn c062_neither_server_nor_client_is_refused() {
    let site = Site::new();
    for (file, template) in
        [("a.hcl", ""), ("a.json", "{}"), ("b.hcl", "@"), ("c.hcl", "@server {\n bootstrap_expect = 3\n}\n")]
    {
        refused(&site, file, &text(&site, template), "Must specify either server, client or dev mode for the agent.");
    }
}

#[test]
fn c063_the_data_directory_is_required_and_absolute() {
    let site = Site::new();
    let bare = "server {\n enabled = true\n}\n";
    refused(&site, "a.hcl", bare, "Must specify \"data_dir\" config option or \"data-dir\" CLI flag");
    refused(
        &site,
        "a.hcl",
        &format!("data_dir = \"data\"\n{bare}"),
        "data-dir must be given as an absolute path: got data",
    );
    site.write("data", "a file");
    let ran = agent(&site, "a.hcl", &text(&site, SERVER));
    assert!(ran.code == 1 && ran.stderr.contains("==> Error starting agent: "), "{ran:#?}");
    assert!(ran.stderr.contains("/data: not a directory"), "{ran:#?}");
}

#[test]
fn c064_a_loopback_address_needs_an_explicit_advertise() {
    let site = Site::new();
    let path = site.dir().join("data");
    let text = format!("data_dir = {path:?}\nbind_addr = \"{}\"\nserver {{\n enabled = true\n}}\n", site.address());
    agent(&site, "a.hcl", &text).fails(1, "Defaulting advertise to localhost is unsafe, please set advertise manually");
}

#[test]
fn c065_the_number_of_expected_servers_is_warned_about() {
    let site = Site::new();
    let expect =
        |line: &str| validate(&site, "a.hcl", &text(&site, &format!("@server {{\n enabled = true\n{line}\n}}\n")));
    for line in ["", "bootstrap_expect = 0", "bootstrap_expect = -1", "bootstrap_expect = 2"] {
        let ran = expect(line);
        let warning = "WARNING: Number of bootstrap servers should ideally be set to an odd number.";
        assert!(ran.code == 0 && ran.stderr.contains(warning), "{line}: {ran:#?}");
    }
    let three = expect("bootstrap_expect = 3");
    assert!(
        three.code == 0 && !three.stderr.contains("bootstrap") && !three.stderr.contains("Bootstrap"),
        "{three:#?}"
    );
}

#[test]
fn c070_a_gossip_key_is_base64_of_16_24_or_32_bytes() {
    let site = Site::new();
    let key = |key: &str| text(&site, &format!("@server {{\n enabled = true\n encrypt = \"{key}\"\n}}\n"));
    for good in ["AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="] {
        accepted(&site, "a.hcl", &key(good));
    }
    for bad in ["short", "-__7__v_-__7__v_-__7__v_-__7__v_-__7__v_-_8="] {
        refused(&site, "a.hcl", &key(bad), "Invalid encryption key: illegal base64 data");
    }
    let made = site.run(["operator", "gossip", "keyring", "generate"]).out();
    assert_eq!(made.trim_end().len(), 44, "{made}");
    accepted(&site, "a.hcl", &key(made.trim_end()));
}
