//! How large user-data may be where it is handed over.

/// A cloud's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The platform, as `steppe.platform=` names it.
    pub platform: &'static str,
    /// Bytes of user-data before any encoding that the cloud's own tools do.
    pub bytes: usize,
    /// Where the number is from.
    pub source: &'static str,
}

/// Limits as the vendors state them.
pub const LIMITS: [Limit; 7] = [
    Limit { platform: "aws", bytes: 16 << 10, source: "Amazon EC2 user guide" },
    Limit { platform: "azure", bytes: 64 << 10, source: "Azure custom data" },
    Limit { platform: "digitalocean", bytes: 64 << 10, source: "DigitalOcean API" },
    Limit { platform: "gce", bytes: 256 << 10, source: "Compute Engine metadata, a value" },
    Limit { platform: "hetzner", bytes: 32 << 10, source: "Hetzner Cloud API" },
    Limit { platform: "openstack", bytes: 65_535, source: "OpenStack Compute API, after base64" },
    Limit { platform: "proxmox", bytes: 3 << 20, source: "the seed volume of 4 MiB" },
];

/// The limit of a platform, when it has one.
#[must_use]
pub fn of(platform: &str) -> Option<Limit> {
    let name = match platform {
        "ec2" => "aws",
        other => other,
    };
    LIMITS.into_iter().find(|limit| limit.platform == name)
}

/// Bytes that count against the limit.
#[must_use]
pub fn counted(platform: &str, bytes: usize) -> usize {
    if platform == "openstack" { bytes.div_ceil(3) * 4 } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_encodings() {
        assert_eq!(of("ec2").map(|limit| limit.bytes), Some(16_384));
        assert!(of("nocloud").is_none());
        assert_eq!((counted("openstack", 3), counted("openstack", 4), counted("gce", 3)), (4, 8, 3));
        assert!(LIMITS.windows(2).all(|pair| pair[0].platform < pair[1].platform));
    }
}
