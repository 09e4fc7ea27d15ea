//! Small HTTP servers on loopback, for tests of code that asks one: [`serve`] answers what a function says, [`Cloud`] is
//! a metadata service that insists on its rules, and [`survives`] breaks it in every way that clouds break.

mod cloud;
pub(crate) mod faults;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

pub(crate) use cloud::{Cloud, CloudServer, Fault};

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// What a client asked.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: String,
    head: String,
}

impl Request {
    /// A header's value, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Serves what `answer` says for a path: status and body. A body `location:X` becomes that header.
pub(crate) fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Server {
    serve_requests(move |request| answer(&request.path))
}

/// The same, where the answer depends on more than the path.
pub(crate) fn serve_requests(answer: impl Fn(&Request) -> (u16, String) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { address: listener.local_addr().unwrap(), requests: Arc::default(), end: Arc::default() };
    let (requests, end) = (Arc::clone(&server.requests), Arc::clone(&server.end));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if end.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { continue };
            requests.fetch_add(1, Ordering::SeqCst);
            let mut request = Request { path, body: String::new(), head };
            let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let _ = (&mut stream).take(length).read_to_string(&mut request.body);
            let (status, body) = answer(&request);
            let (extra, body) = match body.strip_prefix("location:") {
                Some(location) => (format!("Location: {location}\r\n"), ""),
                None => (String::new(), body.as_str()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    server
}
