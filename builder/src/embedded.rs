//! The files of `images/`, inside the program, so that it works alone.

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

/// Text of the module list `flavour`.
#[must_use]
pub fn module_list(flavour: &str) -> Option<&'static str> {
    match flavour {
        "cloud" => Some(include_str!("../../images/modules-cloud.toml")),
        _ => None,
    }
}

/// Kernel settings of every node.
pub const SYSCTL: &str = include_str!("../../images/sysctl.conf");

/// What comes on top of them on nodes that run no workloads.
pub const SYSCTL_SERVER: &str = include_str!("../../images/sysctl-server.conf");

/// The lock file that belongs to the embedded recipes: they share their packages, so there is one.
pub const LOCK: &str = include_str!("../../images/base.lock");
