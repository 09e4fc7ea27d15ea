//! The HTTP server: files, seeds and metadata, with faults.

mod request;
mod response;
mod site;

pub use request::{Ends, Request, RequestError};
pub use response::Response;
pub use site::{HttpFault, HttpRecord, Site};

use request::{head_length, parse_head};
use std::io::{self, Read, Write};
use std::time::Duration;

/// Pieces of a slow body.
const PIECE: usize = 1024;

/// Answers the requests of one connection until it ends.
///
/// # Errors
/// What reading and writing the stream can give; a machine that goes away in the middle is one of them.
pub fn serve(mut stream: impl Read + Write, ends: Ends, site: &Site) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let request = match receive(&mut stream, &mut received, ends)? {
            None => return Ok(()),
            Some(Ok(request)) => request,
            Some(Err(error)) => {
                let response = Response { body: format!("{error}\n").into_bytes(), ..Response::status(400) };
                return send(&mut stream, &response, "", false, None);
            }
        };
        let (response, fault) = site.answer(&request);
        if fault == Some(HttpFault::Hang) {
            // Until the machine gives up.
            io::copy(&mut stream, &mut io::sink())?;
            return Ok(());
        }
        let cut = matches!(fault, Some(HttpFault::CutOff(_)));
        send(&mut stream, &response, &request.method, request.keep_alive, fault.as_ref())?;
        if cut || !request.keep_alive {
            return Ok(());
        }
    }
}

/// The next request; nothing when the machine has no more.
fn receive(
    stream: &mut impl Read,
    received: &mut Vec<u8>,
    ends: Ends,
) -> io::Result<Option<Result<Request, RequestError>>> {
    let mut buffer = [0; 4096];
    let mut fill = |received: &mut Vec<u8>| -> io::Result<bool> {
        let count = stream.read(&mut buffer)?;
        received.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    };
    let head = loop {
        match head_length(received) {
            Ok(Some(length)) => break received.drain(..length).collect::<Vec<u8>>(),
            Ok(None) if fill(received)? => {}
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Err(error))),
        }
    };
    let parsed = parse_head(&head, ends).and_then(|request| Ok((request.body_length()?, request)));
    let (length, mut request) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Ok(Some(Err(error))),
    };
    while received.len() < length {
        if !fill(received)? {
            return Ok(None);
        }
    }
    request.body = received.drain(..length).collect();
    Ok(Some(Ok(request)))
}

fn send(
    stream: &mut impl Write,
    response: &Response,
    method: &str,
    keep_alive: bool,
    fault: Option<&HttpFault>,
) -> io::Result<()> {
    if let Some(HttpFault::Late(delay)) = fault {
        std::thread::sleep(*delay);
    }
    stream.write_all(response.head(keep_alive).as_bytes())?;
    let body = if method == "HEAD" { &[] } else { response.body.as_slice() };
    match fault {
        Some(HttpFault::CutOff(length)) => stream.write_all(&body[..body.len().min(*length)])?,
        Some(HttpFault::Slow(rate)) => {
            for piece in body.chunks(PIECE) {
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_secs_f64(PIECE as f64 / f64::from((*rate).max(1))));
            }
        }
        _ => stream.write_all(body)?,
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Instant;

    /// Sends `text` on one connection and gives all that comes back.
    fn talk(site: &Arc<Site>, text: &str) -> String {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let site = Arc::clone(site);
        let ends = Ends { peer: "10.0.5.10:4000".parse().unwrap(), local: "10.0.5.1:80".parse().unwrap() };
        let server = std::thread::spawn(move || serve(theirs, ends, &site).unwrap());
        ours.write_all(text.as_bytes()).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        server.join().unwrap();
        answer
    }

    const GET: &str = "GET /seed/user-data HTTP/1.1\r\n\r\n";

    fn site() -> Arc<Site> {
        let site = Arc::new(Site::default());
        site.put("/seed/user-data", "#cloud-config\n");
        site
    }

    #[test]
    fn several_requests_on_one_connection() {
        let site = site();
        site.handle("/echo", |request| Response::ok(request.body.clone()).with_header("X", "y"));
        let text = format!(
            "{GET}PUT /echo/1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /seed/user-data HTTP/1.1\r\n\r\nGET /no HTTP/1.0\r\n\r\n"
        );
        assert_eq!(
            talk(&site, &text),
            "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n#cloud-config\n\
             HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\nabc\
             HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n\
             HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\nConnection: close\r\n\r\n404 Not Found\n"
        );
        let log = site.requests();
        assert_eq!(log.iter().map(|record| record.status.unwrap()).collect::<Vec<_>>(), [200, 200, 200, 404]);
        assert_eq!((site.count("/seed/user-data"), log[1].request.body.as_slice()), (2, &b"abc"[..]));
    }

    #[test]
    fn nonsense_gets_400_with_the_reason() {
        let answer = talk(&site(), "HELLO\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("not METHOD TARGET HTTP/1.x\n"), "{answer}");
    }

    #[test]
    fn faults_come_as_often_as_ordered() {
        let site = site();
        site.fail("/seed/", HttpFault::Instead(Response::status(503).with_header("Retry-After", "1")), Some(1));
        assert!(talk(&site, GET).starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"));
        assert!(talk(&site, GET).starts_with("HTTP/1.1 200"));

        site.fail("/seed/user", HttpFault::CutOff(3), None);
        assert!(talk(&site, &format!("{GET}{GET}")).ends_with("Content-Length: 14\r\n\r\n#cl"));
        site.heal();
        site.fail("/", HttpFault::Hang, Some(1));
        assert_eq!(talk(&site, GET), "");
        assert_eq!(site.requests().last().unwrap().status, None);
        assert!(talk(&site, GET).ends_with("#cloud-config\n"));
    }

    #[test]
    fn slow_and_late_answers_take_their_time() {
        let site = site();
        site.put("/big", vec![b'x'; 4 * PIECE]);
        let time = |fault| {
            site.fail("/big", fault, Some(1));
            let start = Instant::now();
            assert!(talk(&site, "GET /big HTTP/1.0\r\n\r\n").ends_with("xxx"));
            start.elapsed()
        };
        assert!(time(HttpFault::Late(Duration::from_millis(50))) >= Duration::from_millis(50));
        assert!(time(HttpFault::Slow(64 * 1024)) >= Duration::from_millis(60));
    }
}
