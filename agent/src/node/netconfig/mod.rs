//! Network configuration: from the formats that clouds and tools hand out to one typed [`NetworkPlan`].
//!
//! Pure, as [`super::userdata`] is: [`super::net`] carries the plan out, and the same code is `builder check`.

mod address;
mod check;
mod construct;
mod device;
mod draft;
mod eni;
mod field;
mod glob;
mod ip_argument;
mod network_data;
mod notes;
mod parameters;
mod plan;
mod source;
mod subnet;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use serde::{Deserialize, Serialize};

pub use address::CidrError;
pub use glob::{fits, is_pattern};
pub use plan::{
    Bond, BondMode, Bridge, Cidr, DhcpOptions, Dns, Interface, Kind, Mac, MacError, NetworkPlan, Route, RouteKind,
    Rule, Select, Vlan,
};
pub use source::{NetworkMode, plan};

/// A network configuration as a datasource hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkConfig {
    /// cloud-init's version 1 or 2 (netplan), or the text of `/etc/network/interfaces`, as it came.
    Text(String),
    /// OpenStack's `network_data.json`, as it came.
    OpenStack(String),
    /// What a datasource made of a provider's own format.
    Plan(Box<NetworkPlan>),
}
