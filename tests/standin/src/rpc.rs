//! Calls between agents on the RPC port: a frame of JSON there, a frame of JSON back.
//!
//! A frame is a length of four bytes, big endian, and that many bytes. Connections are kept and used again, one call at a time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Larger frames are not a message of this protocol.
const LARGEST: usize = 64 << 20;
/// A peer that does not even accept within this time is not there.
const CONNECT: Duration = Duration::from_secs(3);

/// Why a call has no result.
#[derive(Debug, Error)]
pub(crate) enum RpcError {
    /// Nobody answers.
    #[error("failed to get conn: dial tcp {address}: {source}")]
    Dial {
        /// Whom.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// The connection broke, or carried something else.
    #[error("rpc to {address} broke: {source}")]
    Broken {
        /// Whom.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// The other side answered with an error.
    #[error("{0}")]
    Remote(String),
}

#[derive(Serialize)]
struct Request<'a, Q> {
    method: &'a str,
    body: Q,
}

#[derive(Deserialize)]
struct Incoming {
    method: String,
    body: Value,
}

#[derive(Serialize, Deserialize)]
enum Answer<A> {
    Ok(A),
    Error(String),
}

/// Calls others; clones share their connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    idle: Arc<Mutex<HashMap<String, Vec<TcpStream>>>>,
}

impl Caller {
    /// Calls `method` of the agent at `address`.
    ///
    /// # Errors
    /// If the other side is not there, breaks off, or says no.
    pub(crate) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        address: &str,
        method: &str,
        body: Q,
    ) -> Result<A, RpcError> {
        let broken = |source| RpcError::Broken { address: address.to_owned(), source };
        let frame = serde_json::to_vec(&Request { method, body }).map_err(|error| broken(error.into()))?;
        // A kept connection may have died since; only a new one proves that the other side is not there.
        let kept = self.lock().get_mut(address).and_then(Vec::pop);
        if let Some(mut stream) = kept
            && let Ok(answer) = exchange(&mut stream, &frame).await
        {
            return self.finish(address, stream, &answer);
        }
        let mut stream = dial(address).await?;
        let answer = exchange(&mut stream, &frame).await.map_err(broken)?;
        self.finish(address, stream, &answer)
    }

    fn finish<A: DeserializeOwned>(&self, address: &str, stream: TcpStream, answer: &[u8]) -> Result<A, RpcError> {
        self.lock().entry(address.to_owned()).or_default().push(stream);
        match serde_json::from_slice(answer) {
            Ok(Answer::Ok(answer)) => Ok(answer),
            Ok(Answer::Error(error)) => Err(RpcError::Remote(error)),
            Err(error) => Err(RpcError::Broken { address: address.to_owned(), source: error.into() }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<TcpStream>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn dial(address: &str) -> Result<TcpStream, RpcError> {
    let fail = |source| RpcError::Dial { address: address.to_owned(), source };
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|error| fail(error.into()))?
        .map_err(fail)?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> io::Result<Vec<u8>> {
    write(stream, frame).await?;
    read(stream).await
}

/// Writes a frame.
///
/// # Errors
/// What the connection says.
pub(crate) async fn write(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let size = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(frame.len() + 4);
    bytes.extend(size.to_be_bytes());
    bytes.extend(frame);
    stream.write_all(&bytes).await
}

/// Reads a frame.
///
/// # Errors
/// What the connection says, or that the frame is too large.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let size = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if size > LARGEST {
        return Err(io::Error::other("frame too large"));
    }
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Answers calls on `listener` for as long as the process lives.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(String, Value) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Value, String>> + Send,
{
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait until some are given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            while let Ok(frame) = read(&mut stream).await {
                let answer = match serde_json::from_slice::<Incoming>(&frame) {
                    Ok(Incoming { method, body }) => match handler(method, body).await {
                        Ok(value) => Answer::Ok(value),
                        Err(error) => Answer::Error(error),
                    },
                    Err(error) => Answer::Error(error.to_string()),
                };
                let Ok(bytes) = serde_json::to_vec(&answer) else { break };
                if write(&mut stream, &bytes).await.is_err() {
                    break;
                }
            }
        });
    }
}
