//! Several addresses at once: a service that answers on IPv4 or IPv6, on this link or on that.

use std::{sync::mpsc, thread};

use super::{Headers, HttpError, Method, Service};

/// More addresses than this are not asked at once.
const MOST: usize = 16;

/// Makes the same request to all services at once; the first good answer wins. Each has its own time limits, so that
/// the slowest of them ends this too.
///
/// # Errors
/// When none has an answer: that of the service whose error says most, a status before silence.
pub fn first(
    services: Vec<Service>,
    method: Method,
    path: &str,
    headers: Headers<'_>,
) -> Result<(Service, Vec<u8>), HttpError> {
    if let [only] = services.as_slice() {
        return only.ask(method, path, headers, &[]).map(|body| (only.clone(), body));
    }
    let (sender, receiver) = mpsc::channel();
    for service in services.into_iter().take(MOST) {
        let sender = sender.clone();
        let path = path.to_owned();
        let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        thread::spawn(move || {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let result = service.ask(method, &path, &headers, &[]);
            // Nobody may be there any more to hear it.
            let _ = sender.send(result.map(|body| (service, body)));
        });
    }
    drop(sender);
    let mut failed = HttpError::NoLink;
    for result in receiver {
        match result {
            Ok(won) => return Ok(won),
            Err(error) if error.status().is_some() || failed.status().is_none() => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}
