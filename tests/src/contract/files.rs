//! An HTTP server for artifacts: one file under every path.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Serves one file, from a thread that lives as long as the test binary.
#[derive(Debug)]
pub struct FileServer {
    /// Where it listens.
    pub address: SocketAddr,
}

impl FileServer {
    /// Starts to serve `content`.
    ///
    /// # Panics
    /// When there is no port left.
    #[must_use]
    pub fn new(content: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let address = listener.local_addr().expect("own address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early is the client's affair.
                drop(answer(&stream, content));
            }
        });
        Self { address }
    }
}

fn answer(mut stream: &TcpStream, content: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
    if request.starts_with("HEAD ") { Ok(()) } else { stream.write_all(content) }
}
