//! Profiles: which machines an image is for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which machines an image is for. A profile is a file of values that lie below all of a recipe's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Virtual machines: Debian's cloud kernel.
    #[default]
    Cloud,
    /// Servers of one's own: Debian's generic kernel, drivers and firmware of their hardware.
    Metal,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Cloud, Self::Metal];

    /// The word in recipes and file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Metal => "metal",
        }
    }

    /// The name of an image of this profile, from the name that its recipe has.
    #[must_use]
    pub fn name_of_image(self, recipe: &str) -> String {
        match self {
            Self::Cloud => recipe.to_owned(),
            Self::Metal => format!("{recipe}-metal"),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
