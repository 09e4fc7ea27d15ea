//! User-data on the operator's machine: the node's own validator ([`check`]), what a node would make of it ([`explain`]),
//! a volume to hand it over on ([`seed`]), and a way out of shell scripts ([`convert`]).

pub mod check;
pub mod convert;
pub mod explain;
pub mod input;
pub mod limits;
pub mod render;
pub mod seed;
