//! Nomad's HTTP interface, as far as the agent asks it. Every request has its own time limit: a client without a
//! reachable server answers nothing at all (contract 48). With `tls { http = true }` it is asked by [`Cli`].

use std::{fmt, io::Read as _, time::Duration};

use serde_json::Value;
use ureq::Agent;

use super::cli::Cli;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// The header with a token.
const TOKEN: &str = "X-Nomad-Token";
/// Answers longer than this, in bytes, are cut.
const MAX_BODY: u64 = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Body, as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON, when the status says that all is well.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        (self.status == 200).then(|| serde_json::from_str(&self.body).ok()).flatten()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Somebody is there and did not answer in time.
    Slow,
    /// Nobody listens, or what answers does not speak HTTP.
    Nobody,
    /// Somebody is there and does not speak to the agent: TLS that it has no certificate for.
    Closed,
}

/// A token; no message and no `Debug` output shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// The token itself, for the request that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// One Nomad.
#[derive(Debug, Clone)]
pub struct Api(Way);

/// How it is asked.
#[derive(Debug, Clone)]
enum Way {
    Http { agent: Agent, base: String },
    Tls(Cli),
}

impl Api {
    /// The Nomad at `host:port`; `limit` is the time for one answer.
    #[must_use]
    pub fn new(authority: &str, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT.min(limit)))
            .timeout_global(Some(limit))
            .max_idle_connections(0)
            .user_agent("Steppe")
            .build();
        Self(Way::Http { agent: config.into(), base: format!("http://{authority}") })
    }

    /// The Nomad that [`Cli`] asks.
    #[must_use]
    pub const fn tls(cli: Cli) -> Self {
        Self(Way::Tls(cli))
    }

    /// `GET`; `None` when there is no answer in time.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Answer> {
        self.ask(path).ok()
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn ask(&self, path: &str) -> Result<Answer, Silence> {
        self.request(None, path, None)
    }

    /// `GET` with a token; `None` when there is no answer in time.
    #[must_use]
    pub fn get_with(&self, path: &str, token: &Secret) -> Option<Answer> {
        self.request(None, path, Some(token)).ok()
    }

    /// `PUT` without a body; `None` when there is no answer in time.
    #[must_use]
    pub fn put(&self, path: &str) -> Option<Answer> {
        self.request(Some(""), path, None).ok()
    }

    /// `GET`, or `PUT` with a body, with a token or without.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn request(&self, put: Option<&str>, path: &str, token: Option<&Secret>) -> Result<Answer, Silence> {
        let (agent, base) = match &self.0 {
            Way::Http { agent, base } => (agent, base),
            Way::Tls(cli) => return cli.ask(put, path, token),
        };
        let url = format!("{base}{path}");
        // An empty one is as if it were not there.
        let token = token.map_or("", Secret::reveal);
        let result = match put {
            Some(body) => agent.put(url).header(TOKEN, token).send(body),
            None => agent.get(url).header(TOKEN, token).call(),
        };
        let mut response = result.map_err(|error| match error {
            ureq::Error::Timeout(_) => Silence::Slow,
            _ => Silence::Nobody,
        })?;
        read(&mut response).ok_or(Silence::Slow)
    }
}

fn read(response: &mut ureq::http::Response<ureq::Body>) -> Option<Answer> {
    let mut bytes = Vec::new();
    response.body_mut().as_reader().take(MAX_BODY).read_to_end(&mut bytes).ok()?;
    Some(Answer { status: response.status().as_u16(), body: String::from_utf8_lossy(&bytes).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{clock, testing::serve};

    #[test]
    fn answers_and_silence() {
        let server =
            serve(|path| if path == "/v1/a" { (200, "\"x\"".into()) } else { (500, "No cluster leader".into()) });
        let api = Api::new(&server.address().to_string(), Duration::from_secs(5));
        assert_eq!(api.get("/v1/a").unwrap().json(), Some("x".into()));
        let answer = api.put("/v1/b").unwrap();
        assert_eq!((answer.status, answer.json()), (500, None));
    }

    #[test]
    fn a_token_is_not_shown() {
        let text = format!("{:?}", Secret::new("e2797e11".into()));
        assert!(!text.contains("e2797e11"), "{text}");
    }

    #[test]
    fn silence_ends_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::new(&listener.local_addr().unwrap().to_string(), Duration::from_millis(300));
        let start = clock::now();
        assert_eq!(api.ask("/"), Err(Silence::Slow));
        assert!(clock::now() - start < Duration::from_secs(5));
        drop(listener);
        assert_eq!(api.ask("/"), Err(Silence::Nobody));
    }
}
