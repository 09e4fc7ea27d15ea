//! HTTP/1.1 requests as bytes (RFC 9112).

use std::net::SocketAddrV4;

/// The longest head, request line and fields, that is read.
pub(crate) const LONGEST_HEAD: usize = 32 << 10;

/// The longest body that is read.
pub(crate) const LONGEST_BODY: usize = 4 << 20;

/// Why a request cannot be understood; the server answers 400 with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum RequestError {
    #[error("the request has a head of more than {LONGEST_HEAD} bytes")]
    HeadTooLong,
    #[error("the request has a body of more than {LONGEST_BODY} bytes, or one whose length it does not say")]
    Body,
    #[error("the request line {0:?} is not METHOD TARGET HTTP/1.x")]
    RequestLine(String),
    #[error("the field {0:?} has no colon")]
    Field(String),
}

/// A request of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, for instance.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What is behind the question mark.
    pub query: Option<String>,
    /// The fields, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddrV4,
    /// Which of the services' addresses is asked.
    pub local: SocketAddrV4,
    /// Whether the connection stays open afterwards.
    pub(crate) keep_alive: bool,
}

impl Request {
    /// The value of a field, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How many bytes of body follow the head.
    pub(crate) fn body_length(&self) -> Result<usize, RequestError> {
        if self.header("transfer-encoding").is_some() {
            return Err(RequestError::Body);
        }
        let length = self.header("content-length").map_or(Ok(0), str::parse).map_err(|_| RequestError::Body)?;
        if length > LONGEST_BODY { Err(RequestError::Body) } else { Ok(length) }
    }
}

/// Where the head ends in what was received, behind its empty line.
pub(crate) fn head_length(received: &[u8]) -> Result<Option<usize>, RequestError> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4);
    if end.unwrap_or(received.len()) > LONGEST_HEAD { Err(RequestError::HeadTooLong) } else { Ok(end) }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The machine's.
    pub peer: SocketAddrV4,
    /// The services'.
    pub local: SocketAddrV4,
}

/// Reads a head.
pub(crate) fn parse_head(head: &[u8], Ends { peer, local }: Ends) -> Result<Request, RequestError> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let wrong_line = || RequestError::RequestLine(line.to_owned());
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong_line());
    };
    // A client that believes to talk to a proxy sends the whole URL.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    if method.is_empty() || !target.starts_with('/') || !version.starts_with("HTTP/1.") {
        return Err(wrong_line());
    }
    let mut headers = Vec::new();
    for field in lines.take_while(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').ok_or_else(|| RequestError::Field(field.to_owned()))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let connection = headers.iter().find(|(name, _)| name == "connection").map(|(_, value)| value.to_ascii_lowercase());
    let keep_alive = match connection.as_deref() {
        Some("close") => false,
        Some("keep-alive") => true,
        _ => version != "HTTP/1.0",
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    Ok(Request { method, path, query, headers, body: Vec::new(), peer, local, keep_alive })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};
    use std::net::Ipv4Addr;

    const ENDS: Ends = Ends {
        peer: SocketAddrV4::new(Ipv4Addr::new(10, 0, 5, 10), 50_000),
        local: SocketAddrV4::new(Ipv4Addr::new(10, 0, 5, 1), 80),
    };

    fn parse(text: &str) -> Result<Request, RequestError> {
        parse_head(text.as_bytes(), ENDS)
    }

    #[test]
    fn a_request_has_path_query_and_fields() {
        let request = parse("GET /seed/user-data?x=1 HTTP/1.1\r\nHost: 10.0.5.1\r\nX-Token:  a b \r\n\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/seed/user-data"));
        assert_eq!(request.query.as_deref(), Some("x=1"));
        assert_eq!((request.header("x-token"), request.header("none")), (Some("a b"), None));
        assert!(request.keep_alive);
        assert_eq!(parse("GET http://10.0.5.1/x HTTP/1.0\r\n\r\n").unwrap().path, "/x");
        assert!(!parse("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for line in ["", "GET /", "GET / HTTP/2", "GET x HTTP/1.1", " / HTTP/1.1", "GET / x HTTP/1.1"] {
            assert_eq!(parse(&format!("{line}\r\n\r\n")), Err(RequestError::RequestLine(line.to_owned())));
        }
        assert_eq!(parse("GET / HTTP/1.1\r\nno colon\r\n\r\n"), Err(RequestError::Field("no colon".to_owned())));
        let long = parse("PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n").unwrap();
        assert_eq!(long.body_length(), Err(RequestError::Body));
        assert_eq!(head_length(&vec![b'a'; LONGEST_HEAD + 1]), Err(RequestError::HeadTooLong));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\nrest"), Ok(Some(18)));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_request_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[A-Z]{0,4} [/:?a-z]{0,9} HTTP/1.1\r\n[a-z: \r\n]{0,40}") {
            let _ = head_length(&bytes);
            let _ = parse_head(&bytes, ENDS);
            let _ = parse_head(text.as_bytes(), ENDS).map(|request| request.body_length());
        }
    }
}
