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

fn key(encrypt: &str) -> Result<(), String> {
    if encrypt.is_empty() {
        return Ok(());
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encrypt)
        .map_err(|_| "Invalid encryption key: illegal base64 data".to_owned())?;
    if ![16, 24, 32].contains(&bytes.len()) {
        return Err("Invalid encryption key: key size must be 16, 24 or 32 bytes".into());
    }
    Err("server.encrypt is not supported by the stand-in".into())
}
