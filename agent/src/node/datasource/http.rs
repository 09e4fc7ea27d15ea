//! Asking a metadata service.

use std::{io::Read as _, time::Duration};

use ureq::Agent;

/// Answers longer than this, in bytes, are refused.
const MAX_BODY: u64 = 4 << 20;
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Time for a whole answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Redirects that are followed, on the same host only.
const REDIRECTS: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or half of one.
    #[error("failed to get {url}: {source}")]
    Transport {
        /// The address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// Another status than 200 or 404.
    #[error("failed to get {url}: status {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// A redirect to another host, or too many.
    #[error("failed to get {url}: redirected to {to:?}")]
    Redirect {
        /// The address.
        url: String,
        /// Where to.
        to: String,
    },
    /// Too long.
    #[error("failed to get {0}: more than {MAX_BODY} bytes")]
    TooLong(String),
}

/// A client: no proxy, no other hosts, short timeouts.
#[derive(Debug, Clone)]
pub struct Get(Agent);

impl Default for Get {
    fn default() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(CONNECT + ANSWER))
            .user_agent(concat!("Steppe/", env!("CARGO_PKG_VERSION")))
            .build();
        Self(config.into())
    }
}

impl Get {
    /// The body of an answer; `None` for 404, which says that there is no such thing.
    ///
    /// # Errors
    /// For everything else.
    pub fn get(&self, url: &str) -> Result<Option<Vec<u8>>, HttpError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let transport = |source| HttpError::Transport { url: url.clone(), source: Box::new(source) };
            let mut response = self.0.get(&url).call().map_err(transport)?;
            match response.status().as_u16() {
                200 => {
                    let mut body = Vec::new();
                    let mut reader = response.body_mut().as_reader().take(MAX_BODY + 1);
                    reader.read_to_end(&mut body).map_err(|error| transport(ureq::Error::Io(error)))?;
                    let whole = body.len() as u64 <= MAX_BODY;
                    return if whole { Ok(Some(body)) } else { Err(HttpError::TooLong(url)) };
                }
                404 => return Ok(None),
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
                    url = redirect(&url, location.unwrap_or(""))?;
                }
                status => return Err(HttpError::Status { url, status }),
            }
        }
        Err(HttpError::Redirect { to: "itself".into(), url })
    }
}

/// Where a redirect leads, when it stays on the host.
fn redirect(url: &str, location: &str) -> Result<String, HttpError> {
    let origin_end = url.find("://").and_then(|at| url[at + 3..].find('/').map(|slash| at + 3 + slash));
    let origin = &url[..origin_end.unwrap_or(url.len())];
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(format!("{origin}{location}"));
    }
    match location.strip_prefix(origin) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(location.to_owned()),
        _ => Err(HttpError::Redirect { url: url.to_owned(), to: location.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::serve;

    #[test]
    fn statuses_mean_what_they_mean() {
        let server = serve(|path| match path {
            "/a" => (200, "hello".into()),
            "/moved" => (302, "location:/a".into()),
            "/away" => (302, "location:http://198.51.100.1/a".into()),
            "/broken" => (503, String::new()),
            _ => (404, String::new()),
        });
        let get = Get::default();
        let url = |path: &str| format!("http://{}{path}", server.address());
        assert_eq!(get.get(&url("/a")).unwrap().unwrap(), b"hello");
        assert_eq!(get.get(&url("/moved")).unwrap().unwrap(), b"hello");
        assert!(get.get(&url("/none")).unwrap().is_none());
        assert!(matches!(get.get(&url("/away")), Err(HttpError::Redirect { .. })));
        assert!(matches!(get.get(&url("/broken")), Err(HttpError::Status { status: 503, .. })));
    }

    #[test]
    fn redirects_stay_on_the_host() {
        assert_eq!(redirect("http://h/a", "/b").unwrap(), "http://h/b");
        assert_eq!(redirect("http://h/a", "http://h/b").unwrap(), "http://h/b");
        for away in ["http://h.evil/b", "//evil/b", "https://h/b", ""] {
            assert!(redirect("http://h/a", away).is_err(), "{away}");
        }
    }
}
