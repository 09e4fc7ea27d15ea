//! HTTP/1.1 on the port, by `hyper`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Request, Response, decode, handle};
use crate::agent::Agent;
use crate::{clock, log};

/// Larger bodies are no job.
const LARGEST: usize = 16 << 20;

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, agent: Arc<Agent>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let agent = agent.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let agent = agent.clone();
                async move { Ok::<_, Infallible>(answer(&agent, request).await) }
            });
            // The contract's spelling of headers on the wire is `X-Nomad-Index`.
            let _ =
                http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(agent: &Arc<Agent>, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let query: BTreeMap<String, String> = pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect();
    let body = match Limited::new(body, LARGEST).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => return finish(Response::error(400, error.to_string()), agent),
    };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let token = if bearer.is_empty() { header("x-nomad-token") } else { bearer }.to_owned();
    let request = Request { method: head.method.to_string(), path: head.uri.path().to_owned(), query, body, token };
    let (method, path) =
        (request.method.clone(), head.uri.path_and_query().map_or_else(String::new, ToString::to_string));
    let response = handle(agent, request).await;
    if response.status >= 400 && response.status != 404 {
        log::error(format!(
            "http: request failed: method={method} path={path} error={:?} code={}",
            response.body, response.status
        ));
    }
    finish(response, agent)
}

fn finish(response: Response, agent: &Agent) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder()
        .status(response.status)
        .header("vary", "Accept-Encoding")
        .header("date", clock::http_date());
    for (name, value) in response.headers.iter().chain(&agent.headers) {
        builder = builder.header(name.as_str(), value.as_str());
    }
    builder.body(Full::new(Bytes::from(response.body))).unwrap_or_default()
}
