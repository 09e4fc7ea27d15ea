//! Getting a file by HTTP, within bounds of time and size.
//!
//! Proxies come from `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in either case.

use std::{
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use ureq::{
    Agent, Body,
    http::{Response, StatusCode},
};

use super::NomadError;

/// Gets the files of one release.
pub(super) struct Client<'a> {
    agent: Agent,
    /// For messages.
    version: &'a str,
    progress: &'a dyn Fn(u64, Option<u64>),
}

impl<'a> Client<'a> {
    pub(super) fn new(version: &'a str, progress: &'a dyn Fn(u64, Option<u64>)) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("steppe-builder/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // A slow line is no error, a dead one is.
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .into();
        Self { agent, version, progress }
    }

    /// A small file, or `None` when the server says that it does not exist.
    pub(super) fn small(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, NomadError> {
        let Some(response) = self.get(url)? else { return Ok(None) };
        let mut bytes = Vec::new();
        receive(response, url, limit, &mut |chunk, _, _| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Writes a large file to `into`, which is at `path`, and says how it goes. `false` when it does not exist.
    pub(super) fn large(&self, url: &str, limit: u64, into: &mut impl Write, path: &Path) -> Result<bool, NomadError> {
        let Some(response) = self.get(url)? else { return Ok(false) };
        receive(response, url, limit, &mut |chunk, done, total| {
            into.write_all(chunk).map_err(NomadError::io("write", path))?;
            (self.progress)(done, total);
            Ok(())
        })?;
        Ok(true)
    }

    fn get(&self, url: &str) -> Result<Option<Response<Body>>, NomadError> {
        let unavailable =
            |reason: String| NomadError::Unavailable { version: self.version.to_owned(), url: url.to_owned(), reason };
        let response = self.agent.get(url).call().map_err(|e| {
            let reason = e.to_string();
            if is_distrust(&e) { NomadError::Untrusted { url: url.to_owned(), reason } } else { unavailable(reason) }
        })?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(unavailable(format!("the server answers {status}"))),
        }
    }
}

/// Whether somebody answered who cannot show to be the server. That is no missing network, and nothing takes over for it.
fn is_distrust(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => true,
        // How the handshake of rustls reports a certificate that is not good.
        ureq::Error::Io(e) => e.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Takes a piece, how many bytes came so far with it, and how many there will be.
type Sink<'a> = dyn FnMut(&[u8], u64, Option<u64>) -> Result<(), NomadError> + 'a;

/// Gives the body to `sink` piece by piece.
fn receive(mut response: Response<Body>, url: &str, limit: u64, sink: &mut Sink<'_>) -> Result<(), NomadError> {
    let total = response.body().content_length();
    let too_large = || NomadError::TooLarge { what: url.to_owned(), limit };
    if total.is_some_and(|total| total > limit) {
        return Err(too_large());
    }
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut got = 0;
    loop {
        let cut = |reason: String| NomadError::Truncated { url: url.to_owned(), got, total, reason };
        match body.read(&mut buffer) {
            Ok(0) if total.is_some_and(|total| got < total) => {
                return Err(cut("the server closed the connection".into()));
            }
            Ok(0) => return Ok(()),
            Ok(n) => {
                got += n as u64;
                if got > limit {
                    return Err(too_large());
                }
                sink(&buffer[..n], got, total)?;
            }
            Err(e) => return Err(cut(e.to_string())),
        }
    }
}
