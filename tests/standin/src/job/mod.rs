//! Jobs: their form in the API, their HCL, and what constraints mean.

pub(crate) mod constraint;
pub(crate) mod hcl;
pub(crate) mod spec;
