//! What is checked after merging: first what `config validate` checks too, then what only a start finds out.

use std::net::IpAddr;

use base64::Engine;

use super::settings::{Addresses, Settings};

/// The verdict on a configuration.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// Warnings, in the order in which they are printed.
    pub(crate) warnings: Vec<String>,
    /// The reason why this is invalid.
    pub(crate) error: Option<String>,
}

/// Judges a configuration as `config validate` does.
#[must_use]
pub(crate) fn verify(settings: &Settings) -> Start {
    let mut warnings = Vec::new();
    if !settings.tls.http && !settings.tls.rpc {
        warnings.push("WARNING: mTLS is not configured - Nomad is not secure without mTLS!".to_owned());
    }
    let error = fault(settings);
    if error.is_none() && settings.server.enabled {
        match settings.server.bootstrap_expect {
            1 => warnings.push("WARNING: Bootstrap mode enabled! Potentially unsafe operation.".to_owned()),
            expect if expect <= 0 || expect % 2 == 0 => {
                warnings
                    .push("WARNING: Number of bootstrap servers should ideally be set to an odd number.".to_owned());
            }
            _ => {}
        }
    }
    Start { warnings, error }
}

fn fault(settings: &Settings) -> Option<String> {
    let (server, client) = (&settings.server, &settings.client);
    if !server.enabled && !client.enabled {
        return Some("Must specify either server, client or dev mode for the agent.".into());
    }
    if settings.data_dir.is_empty() {
        return Some("Must specify \"data_dir\" config option or \"data-dir\" CLI flag".into());
    }
    if !settings.data_dir.starts_with('/') {
        return Some(format!("data-dir must be given as an absolute path: got {}", settings.data_dir));
    }
    if !server.encrypt.is_empty()
        && let Some(error) = base64(&server.encrypt)
    {
        return Some(error);
    }
    if server.server_join.is_some() && !server.retry_join.is_empty() {
        return Some("server_join and retry_join cannot both be defined; prefer setting the server_join stanza".into());
    }
    if server.server_join.is_some() && !server.start_join.is_empty() {
        return Some("server_join and start_join cannot both be defined; prefer setting the server_join stanza".into());
    }
    if client.min_dynamic_port > client.max_dynamic_port {
        return Some(format!(
            "Invalid dynamic port range: min_dynamic_port={} and max_dynamic_port={}",
            client.min_dynamic_port, client.max_dynamic_port
        ));
    }
    None
}

/// What only a start refuses, with the addresses that the agent will advertise; the API's, RPC's and gossip's, each with its port.
///
/// # Errors
/// The text that follows `==> `.
pub(crate) fn advertise(settings: &Settings) -> Result<Addresses, String> {
    let level = settings.log_level.to_ascii_uppercase();
    if !["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"].contains(&level.as_str()) {
        return Err(format!("Invalid log level: {level}. Valid log levels are: [TRACE DEBUG INFO WARN ERROR OFF]"));
    }
    key(&settings.server.encrypt)?;
    port_faults(settings)?;
    if settings.client.enabled {
        client_faults(settings)?;
    }
    let named = |name: &str, own: &str, bind: &str, port: i64| {
        address(own, bind, port).map_err(|reason| {
            format!("Failed to parse {name} advertise address ({own}, {bind}, {port}, false): {reason}")
        })
    };
    let bind = |own: &str| if own.is_empty() { settings.bind_addr.clone() } else { own.to_owned() };
    let (ports, own) = (&settings.ports, &settings.advertise);
    let mut out = Addresses {
        http: named("HTTP", &own.http, &bind(&settings.addresses.http), ports.http)?,
        ..Addresses::default()
    };
    if settings.server.enabled {
        out.rpc = named("RPC", &own.rpc, &bind(&settings.addresses.rpc), ports.rpc)?;
        out.serf = named("Serf", &own.serf, &bind(&settings.addresses.serf), ports.serf)?;
    }
    Ok(out)
}

fn address(own: &str, bind: &str, port: i64) -> Result<String, String> {
    if !own.is_empty() {
        return match own.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(own.to_owned()),
            Some(_) => Err(format!("address {own}: invalid port")),
            None => Ok(format!("{own}:{port}")),
        };
    }
    let ip: IpAddr = bind.parse().map_err(|_| format!("Error parsing bind address {bind}"))?;
    if ip.is_loopback() {
        return Err("Defaulting advertise to localhost is unsafe, please set advertise manually".into());
    }
    if ip.is_unspecified() {
        let found = crate::client::fingerprint::own_address()
            .ok_or("No private IP address found, and explicit IP not provided")?;
        return Ok(format!("{found}:{port}"));
    }
    Ok(format!("{ip}:{port}"))
}

/// The standard alphabet only; the place of the first byte that is not in it is part of the contract.
fn base64(key: &str) -> Option<String> {
    let standard = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let bytes = key.as_bytes();
    if base64::engine::general_purpose::STANDARD.decode(bytes).is_ok() {
        return None;
    }
    let at = bytes.iter().position(|byte| !standard(*byte)).unwrap_or(bytes.len() / 4 * 4);
    Some(format!("Invalid encryption key: illegal base64 data at input byte {at}"))
}

fn key(encrypt: &str) -> Result<(), String> {
    let length = base64::engine::general_purpose::STANDARD.decode(encrypt).map_or(0, |key| key.len());
    match length {
        _ if encrypt.is_empty() => Ok(()),
        16 | 24 | 32 => Err("server.encrypt is not supported by the stand-in".into()),
        _ => Err("Error starting agent: failed to configure keyring: Invalid key: key size must be 16, 24 or 32 bytes"
            .into()),
    }
}

/// Options of drivers that the stand-in knows.
const RAW_EXEC: [&str; 5] = ["enabled", "no_cgroups", "denied_envvars", "denied_host_uids", "denied_host_gids"];

/// What a start finds wrong with the client's part.
fn client_faults(settings: &Settings) -> Result<(), String> {
    for (name, volume) in &settings.client.host_volume {
        let path = volume["path"].as_str().unwrap_or_default();
        if std::fs::metadata(path).is_err() {
            return Err(format!(
                "Error starting agent: client setup failed: failed to validate host volume {name}: stat {path}: no such file or directory"
            ));
        }
    }
    if let Some(plugin) = settings.plugin.get("raw_exec")
        && let Some(unknown) =
            plugin.config.as_object().and_then(|config| config.keys().find(|key| !RAW_EXEC.contains(&key.as_str())))
    {
        return Err(format!(
            "Error starting agent: failed to create plugin loader: failed to initialize plugin loader: parsing plugin configurations failed: 1 error occurred:\n\t* plugin \"raw_exec\": Invalid label: No argument or block type is named {unknown:?}.\n"
        ));
    }
    Ok(())
}

/// Ports outside the range of ports.
fn port_faults(settings: &Settings) -> Result<(), String> {
    let ports = &settings.ports;
    for port in [ports.http, ports.rpc, ports.serf] {
        if u16::try_from(port).is_err() {
            return Err(format!(
                "Error starting http server: 1 error occurred:\n\t* failed to start HTTP listener: listen tcp: address {port}: invalid port\n"
            ));
        }
    }
    Ok(())
}
