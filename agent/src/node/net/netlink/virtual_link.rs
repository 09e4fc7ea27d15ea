//! Bonds, bridges and VLANs: making them, and the settings of their ports.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    BondAllPortActive, BondLacpRate, BondMode as KernelMode, BridgeStpState, InfoBond, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage,
};

use nix::libc::RTM_NEWLINK;

use super::{Link, Netlink, NetlinkError};
use crate::node::netconfig::{Bond, Bridge};

/// Milliseconds between looks at the carriers of a bond that is told neither to look nor to ask: without any, it would
/// not notice that a link is gone.
const MIIMON: u32 = 100;

impl Netlink {
    /// Makes a bond, switched off and without members.
    ///
    /// # Errors
    /// When the kernel refuses; `EOPNOTSUPP` when it lacks the module.
    pub fn add_bond(&mut self, name: &str, bond: &Bond) -> Result<(), NetlinkError> {
        self.make(name, vec![LinkInfo::Kind(InfoKind::Bond), LinkInfo::Data(InfoData::Bond(bond_data(bond)))], None)
    }

    /// Makes a bridge, switched off and without ports.
    ///
    /// # Errors
    /// When the kernel refuses; `EOPNOTSUPP` when it lacks the module.
    pub fn add_bridge(&mut self, name: &str, bridge: &Bridge) -> Result<(), NetlinkError> {
        let data = LinkInfo::Data(InfoData::Bridge(bridge_data(bridge)));
        self.make(name, vec![LinkInfo::Kind(InfoKind::Bridge), data], None)
    }

    /// Makes the interface of a tagged network, switched off.
    ///
    /// # Errors
    /// When the kernel refuses; `EOPNOTSUPP` when it lacks the module.
    pub fn add_vlan(&mut self, name: &str, tag: u16, below: &Link) -> Result<(), NetlinkError> {
        let data = LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(tag)]));
        self.make(name, vec![LinkInfo::Kind(InfoKind::Vlan), data], Some(below.index))
    }

    /// Names the member that a bond prefers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_bond_primary(&mut self, bond: &Link, member: &Link) -> Result<(), NetlinkError> {
        let what = format!("make {} the preferred member of {}", member.name, bond.name);
        let data = LinkInfo::Data(InfoData::Bond(vec![InfoBond::Primary(member.index)]));
        self.change(bond, &what, vec![LinkInfo::Kind(InfoKind::Bond), data])
    }

    /// Sets cost and priority of a bridge's port.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_bridge_port(
        &mut self,
        port: &Link,
        cost: Option<u32>,
        priority: Option<u16>,
    ) -> Result<(), NetlinkError> {
        let settings = cost.map(InfoBridgePort::Cost).into_iter().chain(priority.map(InfoBridgePort::Priority));
        let data = LinkInfo::PortData(InfoPortData::BridgePort(settings.collect()));
        let what = format!("set cost and priority of {}", port.name);
        self.change(port, &what, vec![LinkInfo::PortKind(InfoPortKind::Bridge), data])
    }

    /// Only `RTM_NEWLINK` reads what is special to a kind of link; without `NLM_F_CREATE` it changes one.
    fn change(&mut self, link: &Link, what: &str, info: Vec<LinkInfo>) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.command(what, RTM_NEWLINK, &message, 0)
    }

    fn make(&mut self, name: &str, info: Vec<LinkInfo>, below: Option<u32>) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.extend(below.map(LinkAttribute::Link));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.command(&format!("make {name}"), RTM_NEWLINK, &message, NLM_F_CREATE | NLM_F_EXCL)
    }
}

fn bond_data(bond: &Bond) -> Vec<InfoBond> {
    let mut data = vec![InfoBond::Mode(KernelMode::from(bond.mode as u8))];
    let arp = bond.arp_interval.is_some_and(|interval| interval > 0);
    data.extend(bond.miimon.or((!arp).then_some(MIIMON)).map(InfoBond::MiiMon));
    data.extend(bond.up_delay.map(InfoBond::UpDelay));
    data.extend(bond.down_delay.map(InfoBond::DownDelay));
    let rate = |fast| InfoBond::AdLacpRate(if fast { BondLacpRate::Fast } else { BondLacpRate::Slow });
    data.extend(bond.lacp_fast.map(rate));
    data.extend(bond.transmit_hash_policy.map(|policy| InfoBond::XmitHashPolicy(policy.into())));
    data.extend(bond.ad_select.map(|select| InfoBond::AdSelect(select.into())));
    data.extend(bond.min_links.map(InfoBond::MinLinks));
    data.extend(bond.primary_reselect.map(|reselect| InfoBond::PrimaryReselect(reselect.into())));
    data.extend(bond.fail_over_mac.map(|mac| InfoBond::FailOverMac(mac.into())));
    if arp {
        data.extend(bond.arp_interval.map(InfoBond::ArpInterval));
        data.push(InfoBond::ArpIpTarget(bond.arp_targets.clone()));
        data.extend(bond.arp_validate.map(|validate| InfoBond::ArpValidate(validate.into())));
        data.extend(bond.arp_all_targets.map(|all| InfoBond::ArpAllTargets(u32::from(all).into())));
    }
    data.extend(bond.gratuitous_arp.map(InfoBond::NumPeerNotif));
    data.extend(bond.packets_per_member.map(InfoBond::PacketsPerPort));
    data.extend(bond.learn_packet_interval.map(InfoBond::LpInterval));
    data.extend(bond.all_members_active.map(|all| InfoBond::AllPortsActive(BondAllPortActive::from(u8::from(all)))));
    data
}

/// The kernel counts in hundredths of a second.
fn bridge_data(bridge: &Bridge) -> Vec<InfoBridge> {
    let hundredths = |seconds: u32| seconds.saturating_mul(100);
    let mut data = Vec::new();
    data.extend(bridge.forward_delay.map(|delay| InfoBridge::ForwardDelay(hundredths(delay))));
    data.extend(bridge.hello_time.map(|time| InfoBridge::HelloTime(hundredths(time))));
    data.extend(bridge.max_age.map(|age| InfoBridge::MaxAge(hundredths(age))));
    data.extend(bridge.ageing_time.map(|time| InfoBridge::AgeingTime(hundredths(time))));
    data.extend(bridge.priority.map(InfoBridge::Priority));
    let state = |stp| InfoBridge::StpState(if stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled });
    data.extend(bridge.stp.map(state));
    data
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Nla as _;

    use super::*;
    use crate::node::netconfig::BondMode;

    /// The numbers are those of `if_link.h` (`IFLA_BOND_MODE` is 1, `IFLA_BOND_MIIMON` 3 ...).
    fn numbers(bond: &Bond) -> Vec<(u16, Vec<u8>)> {
        let one = |attribute: &InfoBond| {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            (attribute.kind(), value)
        };
        bond_data(bond).iter().map(one).collect()
    }

    #[test]
    fn the_settings_of_a_bond_in_the_kernels_numbers() {
        let bond = Bond {
            mode: BondMode::Lacp,
            lacp_fast: Some(true),
            transmit_hash_policy: Some(1),
            min_links: Some(2),
            ..Bond::default()
        };
        let min_links = 2_u32.to_ne_bytes().to_vec();
        let want = [(1, vec![4]), (3, MIIMON.to_ne_bytes().to_vec()), (21, vec![1]), (14, vec![1]), (18, min_links)];
        assert_eq!(numbers(&bond), want);
    }

    #[test]
    fn a_bond_that_probes_by_arp_does_not_watch_the_carrier() {
        let bond = Bond {
            mode: BondMode::ActiveBackup,
            arp_interval: Some(500),
            arp_targets: vec![[10, 0, 0, 1].into()],
            ..Bond::default()
        };
        let kinds: Vec<u16> = numbers(&bond).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 7, 8]);
    }
}
