//! Why a recipe cannot be used.

use std::{io, path::PathBuf};

use crate::embedded;

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("failed to read recipe {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The text is not what the builder knows.
    #[error("{file}:{message}")]
    Parse {
        /// The file.
        file: String,
        /// `line:column: what`, with a hint where there is one.
        message: String,
    },
    /// It extends a recipe that is nowhere.
    #[error("{file}: extends {name:?}, which is neither there (beside it, or at that path) nor built in ({known})", known = embedded::recipe_names().join(", "))]
    Extends {
        /// The file.
        file: String,
        /// What it extends.
        name: String,
    },
    /// A file of the user's own cannot be read.
    #[error(
        "failed to read {from} for {path} of the image: {source}; check `source` of {path:?} in [[files]] of the recipe"
    )]
    File {
        /// Its path in the image.
        path: String,
        /// Where it should be.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It extends itself.
    #[error("{file}: extends {name:?} for ever: {way}; let one of them extend nothing, or a built-in recipe ({known})", known = embedded::recipe_names().join(", "))]
    Circle {
        /// The file.
        file: String,
        /// What it extends.
        name: String,
        /// The first files on the way there.
        way: String,
    },
    /// A value that every image needs.
    #[error("{file}: {key} is missing: set it, or say extends = \"base\"")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
    },
    /// A value that cannot be.
    #[error("{file}: {key}: {why}")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}
