//! What the HTTP server serves, and how it fails.

use crate::services::http::request::Request;
use crate::services::http::response::Response;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Makes a response of a request.
type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// How a response goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// This instead of what it should be.
    Instead(Response),
    /// The head comes after this long.
    Late(Duration),
    /// The body comes at this many bytes a second.
    Slow(u32),
    /// The connection ends after this many bytes of the body, although the head announced all of it.
    CutOff(usize),
    /// Nothing comes, and the connection stays open.
    Hang,
}

/// One request and its answer, for assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRecord {
    /// What was asked.
    pub request: Request,
    /// The status that was answered; nothing for a request that hangs.
    pub status: Option<u16>,
}

/// A tree of resources. All methods act at once and from any thread.
#[derive(Debug, Default)]
pub struct Site {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Resource>,
    handlers: Vec<(String, Handler)>,
    faults: Vec<(String, HttpFault, Option<u32>)>,
    log: Vec<HttpRecord>,
}

enum Resource {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&String> = self.resources.keys().collect();
        f.debug_struct("State").field("paths", &paths).field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl Site {
    /// Serves `bytes` at `path`, which begins with a slash, in place of what was there.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes: Vec<u8> = bytes.into();
        self.state().resources.insert(path.to_owned(), Resource::Bytes(bytes.into()));
    }

    /// Serves a file of the host at `path`. It is read at each request.
    pub fn put_file(&self, path: &str, file: impl Into<PathBuf>) {
        self.state().resources.insert(path.to_owned(), Resource::File(file.into()));
    }

    /// Takes away what is at `path`.
    pub fn remove(&self, path: &str) {
        self.state().resources.remove(path);
    }

    /// Lets `handler` answer everything below `prefix` that no resource does. The longest prefix wins.
    pub fn handle(&self, prefix: &str, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) {
        let mut state = self.state();
        state.handlers.retain(|(existing, _)| existing != prefix);
        state.handlers.push((prefix.to_owned(), Arc::new(handler)));
        state.handlers.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Makes all requests below `prefix` go wrong, or the next `times` of them.
    pub fn fail(&self, prefix: &str, fault: HttpFault, times: Option<u32>) {
        self.state().faults.push((prefix.to_owned(), fault, times));
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRecord> {
        self.state().log.clone()
    }

    /// How often `path` was asked for.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        self.state().log.iter().filter(|record| record.request.path == path).count()
    }

    /// The answer to a request, and how it goes wrong.
    pub(crate) fn answer(&self, request: &Request) -> (Response, Option<HttpFault>) {
        let fault = self.state().take_fault(&request.path);
        let response = match &fault {
            Some(HttpFault::Instead(response)) => response.clone(),
            _ => self.resource(request),
        };
        let status = if fault == Some(HttpFault::Hang) { None } else { Some(response.status) };
        self.state().log.push(HttpRecord { request: request.clone(), status });
        (response, fault)
    }

    fn resource(&self, request: &Request) -> Response {
        enum Found {
            Bytes(Arc<[u8]>),
            File(PathBuf),
            Handler(Handler),
            Nothing,
        }
        let found = {
            let state = self.state();
            match state.resources.get(&request.path) {
                Some(Resource::Bytes(bytes)) => Found::Bytes(Arc::clone(bytes)),
                Some(Resource::File(path)) => Found::File(path.clone()),
                None => match state.handlers.iter().find(|(prefix, _)| request.path.starts_with(prefix.as_str())) {
                    Some((_, handler)) => Found::Handler(Arc::clone(handler)),
                    None => Found::Nothing,
                },
            }
        };
        // A handler may use the site itself, so it runs without the lock.
        let readable = matches!(request.method.as_str(), "GET" | "HEAD");
        match found {
            Found::Handler(handler) => handler(request),
            Found::Nothing => Response::status(404),
            _ if !readable => Response::status(405),
            Found::Bytes(bytes) => Response::ok(&bytes[..]),
            Found::File(path) => std::fs::read(&path).map_or_else(|_| Response::status(404), Response::ok),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_fault(&mut self, path: &str) -> Option<HttpFault> {
        let position = self.faults.iter().position(|(prefix, ..)| path.starts_with(prefix.as_str()))?;
        let (_, fault, times) = &mut self.faults[position];
        let fault = fault.clone();
        if let Some(left) = times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.faults.remove(position);
            }
        }
        Some(fault)
    }
}
