//! Package URLs (<https://github.com/package-url/purl-spec>).

/// Of a Debian package. Its architecture is left out: not every package of the lock has that of the image.
pub(super) fn debian(name: &str, version: &str, suite: &str) -> String {
    format!("pkg:deb/debian/{}@{}?distro={}", encode(name), encode(version), encode(suite))
}

/// Of a crate on crates.io.
pub(super) fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", encode(name), encode(version))
}

/// Of a Go module; its path has slashes that stay.
pub(super) fn go(module: &str, version: &str) -> String {
    let path: Vec<String> = module.split('/').map(encode).collect();
    format!("pkg:golang/{}@v{}", path.join("/"), encode(version))
}

/// Percent-encodes everything but letters, digits, `.`, `-`, `_`, `~`, as the specification wants for names and versions.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_writes_them() {
        assert_eq!(
            debian("libstdc++6", "1:2.41-12+deb13u4", "trixie"),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A2.41-12%2Bdeb13u4?distro=trixie"
        );
        assert_eq!(go("github.com/hashicorp/nomad", "2.0.5"), "pkg:golang/github.com/hashicorp/nomad@v2.0.5");
    }
}
