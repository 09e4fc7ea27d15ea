//! Writing the files of a plan, below a root directory.

mod atomic;
mod owner;
pub mod roots;
pub mod steps;
mod write;

pub use atomic::{FileError, write_atomically};
pub use owner::{Accounts, Owner};
pub use write::{Note, apply, make_directory};
