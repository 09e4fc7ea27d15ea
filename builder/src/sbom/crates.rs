//! The crates that are linked into the agent, as cargo named them when the builder was made (`build.rs`).

/// A crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crate<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    /// Digest of its archive in the registry.
    pub(super) sha256: &'a str,
    /// An SPDX expression.
    pub(super) licence: &'a str,
}

/// All of them, by name.
pub(super) fn of_agent() -> impl Iterator<Item = Crate<'static>> {
    include_str!(concat!(env!("OUT_DIR"), "/agent-crates")).lines().filter_map(|line| {
        let mut words = line.splitn(4, ' ');
        Some(Crate { name: words.next()?, version: words.next()?, sha256: words.next()?, licence: words.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;

    #[test]
    fn what_is_linked_and_nothing_else() {
        let crates: Vec<_> = of_agent().collect();
        let has = |name| crates.iter().any(|one| one.name == name);
        assert!(has("nix") && has("ureq") && has("serde_json"), "{crates:?}");
        // For tests, for other platforms, for the compiler; and what the agent is proud not to have.
        assert!(!has("proptest") && !has("windows-sys") && !has("serde_derive") && !has("rustls"), "{crates:?}");
        assert!(crates.iter().all(|one| Digest::parse(one.sha256).is_some() && !one.licence.is_empty()), "{crates:?}");
    }
}
