//! The files of `images/`, inside the program, so that it works alone.

use crate::recipe::Profile;

/// Text of the recipe `name`.
#[must_use]
pub fn recipe(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Names of the recipes.
#[must_use]
pub fn recipe_names() -> Vec<&'static str> {
    RECIPES.iter().map(|(name, _)| *name).collect()
}

const RECIPES: [(&str, &str); 4] = [
    ("base", include_str!("../../images/base.toml")),
    ("server", include_str!("../../images/server.toml")),
    ("client", include_str!("../../images/client.toml")),
    ("dev", include_str!("../../images/dev.toml")),
];

/// Text of the file of a profile.
#[must_use]
pub const fn profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Cloud => include_str!("../../images/profile-cloud.toml"),
        Profile::Metal => include_str!("../../images/profile-metal.toml"),
    }
}

/// Text of the module list `flavour`.
#[must_use]
pub fn module_list(flavour: &str) -> Option<&'static str> {
    match flavour {
        "cloud" => Some(include_str!("../../images/modules-cloud.toml")),
        "metal" => Some(include_str!("../../images/modules-metal.toml")),
        _ => None,
    }
}

/// Kernel settings of every node.
pub const SYSCTL: &str = include_str!("../../images/sysctl.conf");

/// What comes on top of them on nodes that run no workloads.
pub const SYSCTL_SERVER: &str = include_str!("../../images/sysctl-server.conf");

/// Name and text of the lock file that belongs to the embedded recipes of a profile: they share their packages, so there is one.
#[must_use]
pub const fn lock(profile: Profile) -> (&'static str, &'static str) {
    match profile {
        Profile::Cloud => ("base.lock", include_str!("../../images/base.lock")),
        Profile::Metal => ("metal.lock", include_str!("../../images/metal.lock")),
    }
}
