//! Asking a metadata service: short timeouts, a budget for the whole look, no proxy, no other hosts.
//!
//! Statuses mean the same for all of them: 2xx is an answer; 404 says that there is no such thing, which is an error
//! but where [`Service::find`] is asked; 429 and 5xx are asked again, as often as [`Timing`] has it; all else is an
//! error at once. Who polls a service that is late is [`crate::node::steward`], look by look.

mod endpoint;
mod get;
mod race;
mod socket;

use std::{io::Read as _, time::Duration};

use ureq::{
    Agent, Body,
    http::{Response, header},
};

pub use endpoint::Endpoint;
pub use get::Get;
pub use race::first;

use crate::node::clock;

/// Answers longer than this, in bytes, are refused.
const MAX_BODY: u64 = 1 << 20;
/// Redirects that are followed, on the same host only.
const REDIRECTS: usize = 3;
/// How long who has no other limit waits for a byte: an update that is read.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request is made at most.
const ATTEMPTS: u32 = 4;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A connection.
    pub connect: Duration,
    /// An answer, after the connection.
    pub answer: Duration,
    /// The first pause before a request is made again; it doubles.
    pub pause: Duration,
    /// The longest pause that a service may ask for (`Retry-After`).
    pub longest_pause: Duration,
    /// All requests of one look together.
    pub look: Duration,
}

impl Timing {
    /// For a metadata service of a cloud.
    pub const CLOUD: Self = Self {
        connect: Duration::from_secs(1),
        answer: Duration::from_secs(5),
        pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(5),
        look: Duration::from_secs(20),
    };
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or half of one.
    #[error("failed to ask {url}: {source}")]
    Transport {
        /// The address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// A status that is no answer.
    #[error("failed to ask {url}: status {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// A redirect to another host, or too many.
    #[error("failed to ask {url}: redirected to {to:?}")]
    Redirect {
        /// The address.
        url: String,
        /// Where to.
        to: String,
    },
    /// Too long.
    #[error("failed to ask {url}: more than {most} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// The limit.
        most: u64,
    },
    /// The look has taken all the time it has.
    #[error("failed to ask {0}: no time is left")]
    Late(String),
    /// There is nothing to send a request over.
    #[error("no network interface with a carrier")]
    NoLink,
}

impl HttpError {
    /// The status, when there was one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the service said that there is no such thing.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self.status(), Some(404))
    }
}

/// `GET` and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Make, as tokens are made.
    Put,
    /// Tell.
    Post,
}

/// Names and values of header lines.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// One service at one address, for one look. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Service {
    agent: Agent,
    base: String,
    /// Its address for people: `http://169.254.169.254`.
    pub place: String,
    timing: Timing,
    deadline: Duration,
    most: u64,
}

impl Service {
    /// The services at an endpoint: one, or one for each link; none without a link. `deadline` is a time of
    /// [`clock::now`].
    #[must_use]
    pub fn all(endpoint: &Endpoint, nics: &[super::Nic], timing: Timing, deadline: Duration) -> Vec<Self> {
        let service = |(address, place)| Self {
            agent: agent(timing, Some(address), endpoint.low_port, IDLE),
            base: endpoint.base(),
            place,
            timing,
            deadline,
            most: MAX_BODY,
        };
        endpoint.places(nics).into_iter().map(service).collect()
    }

    /// The body of what must be there.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str, headers: Headers<'_>) -> Result<Vec<u8>, HttpError> {
        self.ask(Method::Get, path, headers, &[])
    }

    /// The body of what may be absent (404).
    ///
    /// # Errors
    /// When there is no answer.
    pub fn find(&self, path: &str, headers: Headers<'_>) -> Result<Option<Vec<u8>>, HttpError> {
        match self.get(path, headers) {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a request, again when the service is busy, and gives the body of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, method: Method, path: &str, headers: Headers<'_>, body: &[u8]) -> Result<Vec<u8>, HttpError> {
        let mut url = format!("{}{path}", self.base);
        let (mut attempt, mut redirects) = (0, 0);
        loop {
            let mut response = self.send(method, &url, headers, body)?;
            let status = response.status().as_u16();
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            match status {
                200..=299 => return self.body(&url, &mut response),
                301 | 302 | 303 | 307 | 308 if method == Method::Get => {
                    redirects += 1;
                    let to = header(header::LOCATION).unwrap_or("");
                    if redirects > REDIRECTS {
                        return Err(HttpError::Redirect { to: shown(to), url: shown(&url) });
                    }
                    url = get::redirect(&url, to)?;
                }
                429 | 500..=599 if attempt + 1 < ATTEMPTS => {
                    let asked = header(header::RETRY_AFTER).and_then(|text| text.trim().parse().ok());
                    let pause = asked.map_or(self.timing.pause * (1 << attempt), Duration::from_secs);
                    let pause = pause.min(self.timing.longest_pause);
                    if clock::now() + pause >= self.deadline {
                        return Err(HttpError::Status { url: shown(&url), status });
                    }
                    std::thread::sleep(pause);
                    attempt += 1;
                }
                _ => return Err(HttpError::Status { url: shown(&url), status }),
            }
        }
    }

    fn send(&self, method: Method, url: &str, headers: Headers<'_>, body: &[u8]) -> Result<Response<Body>, HttpError> {
        let left = self.deadline.saturating_sub(clock::now());
        if left.is_zero() {
            return Err(HttpError::Late(shown(url)));
        }
        let limit = Some(left.min(self.timing.connect + self.timing.answer));
        let sent = match method {
            Method::Get => {
                let request = self.agent.get(url).config().timeout_global(limit).build();
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call()
            }
            Method::Put | Method::Post => {
                let request = if method == Method::Put { self.agent.put(url) } else { self.agent.post(url) };
                let request = request.config().timeout_global(limit).build();
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send(body)
            }
        };
        sent.map_err(|source| HttpError::Transport { url: shown(url), source: Box::new(source) })
    }

    fn body(&self, url: &str, response: &mut Response<Body>) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        let read = response.body_mut().as_reader().take(self.most + 1).read_to_end(&mut body);
        match read {
            Err(error) => Err(HttpError::Transport { url: shown(url), source: Box::new(ureq::Error::Io(error)) }),
            Ok(_) if body.len() as u64 > self.most => Err(HttpError::TooLong { url: shown(url), most: self.most }),
            Ok(_) => Ok(body),
        }
    }
}

/// The client below it all; an `address` is used whatever the name in the request.
fn agent(timing: Timing, address: Option<std::net::SocketAddr>, low_port: bool, idle: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(timing.connect))
        .user_agent(concat!("Steppe/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, socket::Dial { low_port, idle }, socket::At(address))
}

/// An address for messages: what stands behind a `?` or before an `@` may be a secret.
#[must_use]
pub fn shown(url: &str) -> String {
    let (plain, query) = match url.split_once('?') {
        Some((plain, _)) => (plain, "?..."),
        None => (url, ""),
    };
    let authority = plain.find("://").map_or(0, |at| at + 3);
    let end = plain[authority..].find('/').map_or(plain.len(), |slash| authority + slash);
    let plain = match plain[authority..end].rfind('@') {
        Some(at) => format!("{}...{}", &plain[..authority], &plain[authority + at..]),
        None => plain.to_owned(),
    };
    plain + query
}

#[cfg(test)]
mod tests;
