//! Where user-data may write.

/// The directories that can be written to. Everything else is the image, and read-only.
pub const WRITABLE: [&str; 7] = ["/etc", "/var", "/opt", "/srv", "/home", "/run", "/tmp"];

/// Steppe's own, below a writable directory.
const OWN: [&str; 1] = ["/run/steppe"];

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not absolute.
    #[error("{0:?} is not an absolute path")]
    Relative(String),
    /// Has `..`, or a NUL byte, or names a directory.
    #[error("{0:?} is not the plain path of a file")]
    NotPlain(String),
    /// In the read-only image.
    #[error("{0} is in the read-only image: write below {roots}", roots = WRITABLE.join(", "))]
    ReadOnly(String),
    /// Steppe's own.
    #[error("{0} belongs to Steppe itself")]
    Own(String),
}

/// The normal form of a path that user-data may write: without double slashes and `.`.
///
/// # Errors
/// When the path cannot or must not be written.
pub fn check(path: &str) -> Result<String, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative(path.to_owned()));
    }
    if path.ends_with('/') || path.contains('\0') || path.split('/').any(|part| part == "..") || path.len() > 4000 {
        return Err(PathError::NotPlain(path.to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let normal = format!("/{}", parts.join("/"));
    let below = |root: &str| normal.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    if OWN.iter().any(|root| below(root) || normal == *root) {
        Err(PathError::Own(normal))
    } else if WRITABLE.iter().any(|root| below(root)) {
        Ok(normal)
    } else {
        Err(PathError::ReadOnly(normal))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_writable_places() {
        assert_eq!(check("/etc//./nomad.d/a.hcl").unwrap(), "/etc/nomad.d/a.hcl");
        for path in
            ["etc/a", "/usr/bin/a", "/etc", "/etc/", "/etc/../usr/a", "/etcetera/a", "/run/steppe/a", "/run/./steppe/a"]
        {
            assert!(check(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_a_root(path in "/(etc|usr|var|\\.|\\.\\.|/|a){0,8}(/[a-z.]{0,4}){0,4}") {
            if let Ok(normal) = check(&path) {
                let inside = |root: &&str| normal.strip_prefix(*root).is_some_and(|rest| rest.starts_with('/'));
                prop_assert!(WRITABLE.iter().any(inside));
                prop_assert!(!normal.split('/').any(|part| part == ".." || part == "."));
                prop_assert_eq!(check(&normal).unwrap(), normal);
            }
        }
    }
}
