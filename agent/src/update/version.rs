//! Versions of images: numbers with dots between them, `1.12.3`.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A version. `1.2` and `1.2.0` are the same version.
#[derive(Debug, Clone, Eq)]
pub struct Version(Vec<u32>);

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version: use numbers with dots between them, as in 1.12.3")]
pub struct NoVersion(String);

/// More numbers than anybody needs.
const MOST: usize = 8;

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let part = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
        match text.split('.').map(part).collect::<Option<Vec<u32>>>() {
            Some(parts) if parts.len() <= MOST => Ok(Self(parts)),
            _ => Err(NoVersion(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if at > 0 { "." } else { "" })?;
        }
        Ok(())
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |version: &Self, at| version.0.get(at).copied().unwrap_or(0);
        (0..MOST).map(|at| part(self, at).cmp(&part(other, at))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(version("1.10") > version("1.9.9"));
        assert_eq!(version("1.2"), version("1.2.0"));
        assert!(version("1.2.0.1") > version("1.2"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ".", "1.", "1..2", "v1", "1.-2", "1.+2", "1.99999999999", "1.2.3.4.5.6.7.8.9", "1.2-rc1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_version_or_not(text: String) {
            let _ = text.parse::<Version>();
        }

        #[test]
        fn a_version_is_read_back(parts in proptest::collection::vec(any::<u32>(), 1..8)) {
            let version = Version(parts);
            prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
    }
}
