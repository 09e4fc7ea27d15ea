//! Asking for a URL that a person wrote down: a seed below an address, an `#include`.

use super::{HttpError, Service, Timing, agent, shown};
use crate::node::clock;

/// Answers longer than this, in bytes, are refused.
const MAX_BODY: u64 = 4 << 20;

/// A client for any host: names are resolved, nothing is asked of a proxy.
#[derive(Debug, Clone)]
pub struct Get(Service);

impl Default for Get {
    /// With a cloud's [`Timing`], from now on.
    fn default() -> Self {
        Self::within(Timing::CLOUD, clock::now() + Timing::CLOUD.look)
    }
}

impl Get {
    /// With this timing, up to a deadline as a time of [`clock::now`].
    #[must_use]
    pub fn within(timing: Timing, deadline: std::time::Duration) -> Self {
        let (base, place) = Default::default();
        Self(Service { agent: agent(timing, None, false, super::IDLE), base, place, timing, deadline, most: MAX_BODY })
    }

    /// The body of an answer; `None` for 404, which says that there is no such thing.
    ///
    /// # Errors
    /// For everything else.
    pub fn get(&self, url: &str) -> Result<Option<Vec<u8>>, HttpError> {
        self.0.find(url, &[])
    }

    /// The same with header lines of the user's.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_with(&self, url: &str, headers: super::Headers<'_>) -> Result<Option<Vec<u8>>, HttpError> {
        self.0.find(url, headers)
    }

    /// Begins to read an answer of any length. Nothing is redirected, and nothing asked again. It may take any time, but not a minute
    /// without a byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn download(url: &str) -> Result<impl std::io::Read + use<>, HttpError> {
        Self::download_within(url, super::IDLE)
    }

    fn download_within(url: &str, idle: std::time::Duration) -> Result<impl std::io::Read + use<>, HttpError> {
        let response = agent(Timing::CLOUD, None, false, idle).get(url).call();
        let response = response.map_err(|source| HttpError::Transport { url: shown(url), source: Box::new(source) })?;
        match response.status().as_u16() {
            200 => Ok(response.into_body().into_reader()),
            status => Err(HttpError::Status { url: shown(url), status }),
        }
    }

    /// Posts a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// When there is no answer, or one that is none.
    pub fn post_form(&self, url: &str, body: &str) -> Result<(), HttpError> {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.0.ask(super::Method::Post, url, &headers, body.as_bytes()).map(drop)
    }
}

/// Where a redirect leads, when it stays on the host.
pub(super) fn redirect(url: &str, location: &str) -> Result<String, HttpError> {
    let origin_end = url.find("://").and_then(|at| url[at + 3..].find(['/', '?']).map(|slash| at + 3 + slash));
    let origin = &url[..origin_end.unwrap_or(url.len())];
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(format!("{origin}{location}"));
    }
    match location.strip_prefix(origin) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(location.to_owned()),
        _ => Err(HttpError::Redirect { url: shown(url), to: shown(location) }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        sync::mpsc,
        thread,
        time::Duration,
    };

    use super::*;

    /// A server that sends a byte each time that it is told to, and says nothing more while it is told nothing.
    fn dripping() -> (String, mpsc::Sender<()>, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.update", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").unwrap();
            while told.recv().is_ok() {
                stream.write_all(b"x").unwrap();
            }
        });
        (url, tell, server)
    }

    #[test]
    fn a_download_that_stalls_ends() {
        let (url, tell, server) = dripping();
        let mut body = Get::download_within(&url, Duration::from_secs(2)).unwrap();
        for _ in 0..3 {
            tell.send(()).unwrap();
            assert_eq!(body.read(&mut [0]).unwrap(), 1);
        }
        let why = body.read(&mut [0]).unwrap_err();
        assert_eq!(why.kind(), std::io::ErrorKind::TimedOut);
        assert!(why.to_string().contains("nothing came for"), "{why}");
        drop(tell);
        server.join().unwrap();
    }

    #[test]
    fn who_takes_the_request_and_never_answers_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.update", listener.local_addr().unwrap());
        let why = Get::download_within(&url, Duration::from_millis(100)).err().unwrap();
        assert!(why.to_string().contains("nothing came for"), "{why}");
    }

    #[test]
    fn redirects_stay_on_the_host() {
        assert_eq!(redirect("http://h/a", "/b").unwrap(), "http://h/b");
        assert_eq!(redirect("http://h/a", "http://h/b").unwrap(), "http://h/b");
        assert_eq!(redirect("http://h?a=/x", "/b").unwrap(), "http://h/b");
        for away in ["http://h.evil/b", "//evil/b", "https://h/b", ""] {
            assert!(redirect("http://h/a", away).is_err(), "{away}");
        }
    }
}
