//! Documents below paths, with lists of what is in a directory.

use crate::services::http::Response;
use std::collections::{BTreeMap, BTreeSet};

/// Documents by their paths, which do not begin with a slash.
#[derive(Clone, Default)]
pub(super) struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    /// With a document.
    pub(super) fn with(mut self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), body.into());
        self
    }

    /// The document at a path, or the list of what is below it: directories with a slash.
    pub(super) fn get(&self, path: &str) -> Response {
        if let Some(body) = self.0.get(path) {
            return Response::ok(body.clone()).with_header("Content-Type", "text/plain");
        }
        let directory = if path.is_empty() || path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
        let below = self.0.keys().filter_map(|key| key.strip_prefix(&directory)).filter(|name| !name.is_empty());
        let names: BTreeSet<String> =
            below.map(|name| name.split_inclusive('/').next().unwrap_or_default().to_owned()).collect();
        if names.is_empty() {
            return Response::status(404);
        }
        Response::ok(names.into_iter().collect::<Vec<_>>().join("\n"))
    }
}
