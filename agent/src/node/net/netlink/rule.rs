//! Policy rules: which packets look into which routing table.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use nix::libc::{RTM_DELRULE, RTM_NEWRULE};

use super::{Netlink, NetlinkError};
use crate::node::netconfig::Rule;

impl Netlink {
    /// Adds a rule; one that says nothing about addresses is one for IPv4 and one for IPv6.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        for message in messages(rule) {
            let what = format!("add the rule for table {}", rule.table);
            // Without EXCL the kernel would take the same rule twice.
            self.addition(&what, RTM_NEWRULE, &message, NLM_F_CREATE | NLM_F_EXCL)?;
        }
        Ok(())
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// When the kernel refuses; not when the rule is gone already.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        for message in messages(rule) {
            let what = format!("remove the rule for table {}", rule.table);
            self.removal(&what, RTM_DELRULE, &message)?;
        }
        Ok(())
    }
}

fn messages(rule: &Rule) -> Vec<RuleMessage> {
    let families: Vec<AddressFamily> = match rule.from.or(rule.to).map(|cidr| cidr.address) {
        Some(IpAddr::V4(_)) => vec![AddressFamily::Inet],
        Some(IpAddr::V6(_)) => vec![AddressFamily::Inet6],
        None => vec![AddressFamily::Inet, AddressFamily::Inet6],
    };
    families.into_iter().map(|family| message(rule, family)).collect()
}

fn message(rule: &Rule, family: AddressFamily) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    message.header.tos = rule.tos.unwrap_or(0);
    // A prefix of no length fits everything, and the kernel refuses an address with it.
    if let Some(from) = rule.from.filter(|from| from.prefix > 0) {
        message.header.src_len = from.prefix;
        message.attributes.push(RuleAttribute::Source(from.address));
    }
    if let Some(to) = rule.to.filter(|to| to.prefix > 0) {
        message.header.dst_len = to.prefix;
        message.attributes.push(RuleAttribute::Destination(to.address));
    }
    if rule.table > 255 {
        message.attributes.push(RuleAttribute::Table(rule.table));
    }
    message.attributes.extend(rule.priority.map(RuleAttribute::Priority));
    message.attributes.extend(rule.mark.map(RuleAttribute::FwMark));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Static));
    message
}
