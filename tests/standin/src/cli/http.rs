//! The command line's side of the API.

use std::io::ErrorKind;

use serde_json::Value;

use crate::config::words;
use crate::http::Request;

/// Requests to one agent.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// `http://ip:port`
    pub(crate) base: String,
    region: String,
    namespace: String,
    token: String,
}

impl Api {
    /// From the flags and the environment.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn new(
        address: Option<String>,
        region: Option<String>,
        namespace: Option<String>,
        token: Option<String>,
    ) -> Result<Self, String> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let base = address.or_else(|| env("NOMAD_ADDR")).unwrap_or_else(|| "http://127.0.0.1:4646".into());
        if base.starts_with("https://") {
            return Err(format!("Error initializing client: {base:?}: https is not supported by the stand-in"));
        }
        if !base.starts_with("http://") {
            return Err(format!(
                "Error initializing client: invalid address '{base}': parse {base:?}: first path segment in URL cannot contain colon"
            ));
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            region: region.or_else(|| env("NOMAD_REGION")).unwrap_or_default(),
            namespace: namespace.or_else(|| env("NOMAD_NAMESPACE")).unwrap_or_default(),
            token: token.or_else(|| env("NOMAD_TOKEN")).unwrap_or_default(),
        })
    }

    fn url(&self, path: &str) -> String {
        let mut url = format!("{}{path}", self.base);
        for (key, value) in [("region", &self.region), ("namespace", &self.namespace)] {
            if !value.is_empty() {
                url += &format!("{}{key}={value}", if url.contains('?') { "&" } else { "?" });
            }
        }
        url
    }

    /// Sends a request and expects success; the error is what follows `Error doing something: `.
    ///
    /// # Errors
    /// The connection's, or the API's.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String, String> {
        let url = self.url(path);
        match call(method, &url, body.map(ToString::to_string), &self.token) {
            Ok((200, text)) => Ok(text),
            Ok((code, text)) => Err(format!("Unexpected response code: {code} ({text})")),
            Err(error) => Err(format!("{} {url:?}: {error}", title(method))),
        }
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// As for `send`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        self.send("GET", path, None).and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
    }

    /// Writes JSON and reads what comes back.
    ///
    /// # Errors
    /// As for `send`.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send("PUT", path, Some(body)).map(|text| serde_json::from_str(&text).unwrap_or_default())
    }

    /// Prints the hint to the web interface, where people expect it: on standard error, after the output.
    pub(crate) fn hint(&self, text: &str, path: &str) {
        let off = std::env::var("NOMAD_CLI_SHOW_HINTS")
            .is_ok_and(|value| matches!(value.as_str(), "0" | "false" | "f" | "F" | "FALSE"));
        if !off {
            eprintln!("\n\n==> {text} in the Web UI: {}/ui/{path}", self.base);
        }
    }
}

fn title(method: &str) -> String {
    let mut out = method.to_lowercase();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}

/// One request, whatever its answer is.
fn call(method: &str, url: &str, body: Option<String>, token: &str) -> Result<(u16, String), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if !token.is_empty() {
        request = request.header("x-nomad-token", token);
    }
    let sent = match body {
        Some(body) => request.body(body).map_err(|error| error.to_string()).map(|request| agent.run(request)),
        None => request.body(()).map_err(|error| error.to_string()).map(|request| agent.run(request)),
    }?;
    let mut response = sent.map_err(|error| wire(&error, url))?;
    let text =
        response.body_mut().with_config().limit(256 << 20).read_to_string().map_err(|error| wire(&error, url))?;
    Ok((response.status().as_u16(), text))
}

fn wire(error: &ureq::Error, url: &str) -> String {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    match error {
        ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => "EOF".into(),
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => {
            format!("read tcp {host}: read: connection reset by peer")
        }
        ureq::Error::Io(error) => format!("dial tcp {host}: connect: {}", words(error)),
        ureq::Error::HostNotFound => {
            format!("dial tcp: lookup {}: no such host", host.split(':').next().unwrap_or_default())
        }
        ureq::Error::ConnectionFailed => format!("dial tcp {host}: connect: connection refused"),
        other => other.to_string(),
    }
}

/// Passes a request on to another agent, as it is.
///
/// # Errors
/// What the connection says.
pub(crate) fn raw(base: &str, request: &Request) -> Result<(u16, String), String> {
    let query: Vec<String> =
        request.query.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    let url = format!("{base}{}?{}", request.path, query.join("&"));
    let body = (request.method != "GET").then(|| request.body.clone());
    call(&request.method, &url, body, &request.token)
        .map_err(|error| format!("{} {url:?}: {error}", title(&request.method)))
}

/// Percent-encodes what a query cannot carry.
#[must_use]
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
