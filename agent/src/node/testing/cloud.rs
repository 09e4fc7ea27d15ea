//! A metadata service with rules: methods, headers, tokens, the name of the host and the source port. Whoever breaks
//! one is turned away as the cloud would, and a test hears of it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// What goes wrong with the answers of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is taken and nothing comes.
    Silent,
    /// Always this status.
    Status(u16),
    /// The first request gets this status.
    Once(u16),
    /// 200 with nothing.
    Empty,
    /// 200 with bytes that are no text.
    Garbage,
    /// The connection ends in the middle.
    CutOff,
    /// What comes is not HTTP.
    NotHttp,
}

/// What no parser takes for anything.
const GARBAGE: &[u8] = b"\x00\xff{[<\xc3(\x80:\n\t- \"&%@`";

#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// With the query.
    pub(crate) path: String,
    needs: Vec<(String, String, u16)>,
    body: Vec<u8>,
    /// The node can do without: 404 leads to a seed all the same.
    pub(crate) absent_ok: bool,
    /// Whatever becomes of it leads to a seed.
    pub(crate) auxiliary: bool,
}

/// The rules and the answers of a metadata service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cloud {
    pub(crate) routes: Vec<Route>,
    needs: Vec<(String, String, u16)>,
    host: Option<String>,
    low_port: bool,
    /// Which routes are broken, and how; all without a path.
    fault: Option<(Option<String>, Fault)>,
    pub(crate) secrets: Vec<String>,
}

impl Cloud {
    /// Every request has to name this host.
    pub(crate) fn host(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    /// Every request has to come from a port below 1024.
    pub(crate) fn low_port(self) -> Self {
        Self { low_port: true, ..self }
    }

    /// The routes added from here on want this header, or answer with `status`. An empty value: any. `!name`: there
    /// must be no such header.
    pub(crate) fn needs(mut self, name: &str, value: &str, status: u16) -> Self {
        self.needs.push((name.to_owned(), value.to_owned(), status));
        self
    }

    /// The routes added from here on want no header any more.
    pub(crate) fn needs_nothing(mut self) -> Self {
        self.needs.clear();
        self
    }

    /// Adds a path with its query.
    pub(crate) fn route(mut self, method: &'static str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.routes.push(Route {
            method,
            path: path.to_owned(),
            needs: self.needs.clone(),
            body: body.into(),
            absent_ok: false,
            auxiliary: false,
        });
        self
    }

    /// Adds a path to read.
    pub(crate) fn get(self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.route("GET", path, body)
    }

    /// The node can do without the route added last when it is not there (404).
    pub(crate) fn absent_ok(mut self) -> Self {
        self.routes.last_mut().unwrap().absent_ok = true;
        self
    }

    /// The node can do without the route added last whatever becomes of it.
    pub(crate) fn auxiliary(mut self) -> Self {
        self.routes.last_mut().unwrap().auxiliary = true;
        self
    }

    /// No message may show this.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// The same without a route.
    pub(crate) fn without(mut self, path: &str) -> Self {
        let before = self.routes.len();
        self.routes.retain(|route| route.path != path);
        assert!(self.routes.len() < before, "{path} is no route");
        self
    }

    /// The same with a fault on one path, or on all.
    pub(crate) fn broken(&self, path: Option<&str>, fault: Fault) -> Self {
        Self { fault: Some((path.map(str::to_owned), fault)), ..self.clone() }
    }

    /// Starts to serve on a loopback address.
    pub(crate) fn serve(&self) -> CloudServer {
        self.serve_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// The same on a socket that listens.
    pub(crate) fn serve_on(&self, listener: TcpListener) -> CloudServer {
        let shared = Arc::new(Shared { cloud: self.clone(), heard: Mutex::default(), end: AtomicBool::new(false) });
        let server = CloudServer { address: listener.local_addr().unwrap(), shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.end.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        server
    }
}

#[derive(Debug)]
struct Shared {
    cloud: Cloud,
    heard: Mutex<Heard>,
    end: AtomicBool,
}

/// What was asked.
#[derive(Debug, Default, Clone)]
struct Heard {
    /// Method, path and body.
    requests: Vec<(String, String, Vec<u8>)>,
    /// Broken rules.
    complaints: Vec<String>,
}

/// A service; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct CloudServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl CloudServer {
    /// The rules that were broken.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.shared.heard.lock().unwrap().complaints.clone()
    }

    /// `GET /path` of each request, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        let heard = self.shared.heard.lock().unwrap();
        heard.requests.iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }

    /// What was sent to a path.
    pub(crate) fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let heard = self.shared.heard.lock().unwrap();
        heard.requests.iter().filter(|(_, p, _)| p == path).map(|(_, _, body)| body.clone()).collect()
    }
}

impl Drop for CloudServer {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let header = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
        let headers: Vec<_> = lines.filter_map(header).collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        Some(Self { method, path, headers, body })
    }

    fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let Some(request) = Request::read(&mut stream) else { return };
        let first = {
            let mut heard = self.heard.lock().unwrap();
            let first = !heard.requests.iter().any(|(m, p, _)| *m == request.method && *p == request.path);
            heard.requests.push((request.method.clone(), request.path.clone(), request.body.clone()));
            first
        };
        let port = stream.peer_addr().map_or(0, |address| address.port());
        let (status, body) = match self.judge(&request, port) {
            Ok(body) => (200, body),
            Err((status, complaint)) => {
                self.heard.lock().unwrap().complaints.extend(complaint);
                (status, &b""[..])
            }
        };
        let fault = self.cloud.fault.as_ref().filter(|(path, _)| path.as_ref().is_none_or(|p| *p == request.path));
        let (status, body) = match fault.map(|(_, fault)| *fault) {
            Some(Fault::Silent) => {
                // The client hangs up when it has waited long enough.
                let _ = stream.read(&mut [0]);
                return;
            }
            Some(Fault::NotHttp) => {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n");
                return;
            }
            Some(Fault::CutOff) => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\nhalf of");
                return;
            }
            Some(Fault::Status(status)) => (status, &b"{}"[..]),
            Some(Fault::Once(status)) if first => (status, &b"{}"[..]),
            Some(Fault::Empty) => (200, &b""[..]),
            Some(Fault::Garbage) => (200, GARBAGE),
            Some(Fault::Once(_)) | None => (status, body),
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    }

    /// The answer, or the status and the broken rule. What is simply not there breaks none.
    fn judge(&self, request: &Request, port: u16) -> Result<&[u8], (u16, Option<String>)> {
        let Request { method, path, .. } = request;
        let broken = |status, rule: String| Err((status, Some(format!("{method} {path}: {rule}"))));
        if self.cloud.low_port && port >= 1024 {
            return broken(403, format!("from port {port}"));
        }
        if let Some(host) = &self.cloud.host
            && request.header("host").and_then(|h| h.split(':').next()) != Some(host)
        {
            return broken(403, format!("host {:?}", request.header("host")));
        }
        if let Some(name) = ["x-forwarded-for", "authorization"].iter().find(|name| {
            let wanted = |r: &Route| r.needs.iter().any(|(n, ..)| n.eq_ignore_ascii_case(name));
            request.header(name).is_some() && !self.cloud.routes.iter().any(wanted)
        }) {
            return broken(403, format!("header {name}"));
        }
        let mut of_path = self.cloud.routes.iter().filter(|route| route.path == *path).peekable();
        if of_path.peek().is_none() {
            return Err((404, None));
        }
        let Some(route) = of_path.find(|route| route.method == method) else {
            return broken(405, "no such method".into());
        };
        for (name, value, status) in &route.needs {
            let fits = match (name.strip_prefix('!'), request.header(name)) {
                (Some(name), _) => request.header(name).is_none(),
                (None, None) => false,
                (None, Some(given)) => value.is_empty() || given == value,
            };
            if !fits {
                return broken(*status, format!("header {name} is {:?}", request.header(name)));
            }
        }
        Ok(&route.body)
    }
}
