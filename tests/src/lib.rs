//! What the suites share: where the images are ([`images`]), how Nomad is asked ([`api`], [`wait`]), and the virtual
//! machines made of both ([`lab`]).

pub mod api;
pub mod wait;
