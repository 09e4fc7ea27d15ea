//! Addresses of an interface as version 1 and `/etc/network/interfaces` write them (`net/network_state.py`).

use std::net::IpAddr;

use super::{Cidr, DhcpOptions, Route, draft::Draft, field::Field, notes::Notes};

const KNOWN: [&str; 12] = [
    "type",
    "control",
    "address",
    "netmask",
    "gateway",
    "metric",
    "routes",
    "dns-nameservers",
    "dns-search",
    "broadcast",
    "ipv4",
    "ipv6",
];

/// Reads one `subnet` into its interface.
pub(super) fn subnet(field: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    let mut parts = Parts::default();
    for (key, value) in field.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match key.replace('_', "-").as_str() {
            "type" => parts.kind = value.text(notes).map(|kind| (kind.to_owned(), value)),
            "control" => control(&value, draft, notes),
            "address" => parts.address = Some(value),
            "netmask" | "prefix" => parts.mask = Some(value),
            "gateway" => parts.gateway = Some(value),
            "metric" => parts.metric = value.number(notes, 0, u32::MAX),
            "routes" => parts.routes = value.items(),
            "dns-nameservers" => value.servers(notes, &mut draft.interface.dns.servers),
            "dns-search" | "dns-domain" => value.domains(notes, &mut draft.interface.dns.search),
            "broadcast" | "ipv4" | "ipv6" | "scope" | "id" | "network" => {}
            "pointopoint" => value.ignored(notes, "the routes say where packets go"),
            name => value.unknown(notes, name, &KNOWN),
        }
    }
    parts.apply(field, draft, notes);
}

/// What a subnet says; keys come in any order.
#[derive(Default)]
struct Parts<'a> {
    kind: Option<(String, Field<'a>)>,
    address: Option<Field<'a>>,
    mask: Option<Field<'a>>,
    gateway: Option<Field<'a>>,
    metric: Option<u32>,
    routes: Vec<Field<'a>>,
}

impl Parts<'_> {
    fn apply(self, field: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
        let dhcp = DhcpOptions { metric: self.metric, ..DhcpOptions::default() };
        let interface = &mut draft.interface;
        match self.kind.as_ref().map(|(kind, _)| kind.as_str()) {
            Some("dhcp" | "dhcp4") => interface.dhcp4 = Some(dhcp),
            Some("dhcp6" | "ipv6_dhcpv6-stateful") => interface.dhcp6 = Some(dhcp),
            Some("ipv6_dhcpv6-stateless") => {
                interface.accept_ra = Some(true);
                interface.dhcp6 = Some(DhcpOptions { stateless: true, ..dhcp });
            }
            Some("ipv6_slaac") => interface.accept_ra = Some(true),
            Some("manual") => {}
            Some("static" | "static4" | "static6") => match &self.address {
                Some(address) => {
                    if let Some(cidr) = masked(address, self.mask.as_ref(), notes) {
                        draft.add_address(cidr, address.node.at, &address.path, notes);
                    }
                }
                None => field.flaw(notes, "a static subnet needs an address"),
            },
            Some(_) => {
                if let Some((_, kind)) = &self.kind {
                    kind.flaw(notes, "must be dhcp, dhcp4, dhcp6, static, static6, manual or one of ipv6_*");
                }
            }
            None => field.flaw(notes, "a subnet needs a type"),
        }
        if let Some(gateway) = &self.gateway
            && let Some(via) = gateway.address(notes)
            && !via.is_unspecified()
        {
            draft.add_route(Route::default_via(via).metric(self.metric));
        }
        for field in &self.routes {
            if let Some(route) = route(field, notes) {
                draft.add_route(route);
            }
        }
    }
}

impl Draft {
    /// Adds a route, once.
    pub(super) fn add_route(&mut self, route: Route) {
        if !self.interface.routes.contains(&route) {
            self.interface.routes.push(route);
        }
    }
}

/// `auto`, `manual`, `hotplug`.
fn control(value: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    match value.text(notes) {
        Some("manual") => draft.interface.down = true,
        Some("hotplug") => draft.interface.optional = true,
        Some("auto") | None => {}
        Some(_) => value.flaw(notes, "must be auto, hotplug or manual"),
    }
}

/// An address with its mask, behind a slash or apart; without any, cloud-init's guess.
pub(super) fn masked(address: &Field<'_>, mask: Option<&Field<'_>>, notes: &mut Notes) -> Option<Cidr> {
    let text = address.text(notes)?;
    if text.contains('/') {
        return address.cidr(notes);
    }
    let ip = address.address(notes)?;
    let Some(mask) = mask else {
        let prefix = if ip.is_unspecified() { 0 } else { if ip.is_ipv4() { 24 } else { 64 } };
        if prefix > 0 {
            notes.ignored(
                address.at,
                &address.path,
                format!("no netmask is given: /{prefix} is taken, as cloud-init does"),
            );
        }
        return Some(Cidr { address: ip, prefix });
    };
    let text = mask.text(notes)?;
    Cidr::with_mask(ip, text).map_err(|error| mask.flaw(notes, error.to_string())).ok()
}

/// A route: `network` or `destination`, `netmask`, `gateway`, `metric`. `None` when it is left out, which is said.
pub(super) fn route(field: &Field<'_>, notes: &mut Notes) -> Option<Route> {
    let (mut to, mut mask, mut gateway, mut metric, mut mtu) = (None, None, None, None, None);
    for (key, value) in field.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match key.replace('_', "-").as_str() {
            "destination" | "network" | "to" => to = Some(value),
            "netmask" | "prefix" | "genmask" => mask = Some(value),
            "gateway" | "via" => gateway = Some(value),
            "metric" => metric = value.number(notes, 0, u32::MAX),
            "mtu" => mtu = value.mtu(notes),
            "type" | "id" | "services" | "name" => {}
            name => value.unknown(notes, name, &["destination", "network", "netmask", "gateway", "metric"]),
        }
    }
    let via = match &gateway {
        Some(gateway) => Some(gateway.address(notes)?).filter(|via| !via.is_unspecified()),
        None => None,
    };
    let Some(to) = to else {
        field.flaw(notes, "a route needs a destination: this route is left out");
        return None;
    };
    let like = via.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let destination = match to.node.text() {
        Some("default") => Cidr::everything(like),
        _ => masked(&to, mask.as_ref(), notes)?,
    };
    if via.is_some_and(|via| via.is_ipv4() != destination.address.is_ipv4()) {
        field.flaw(notes, "destination and gateway are of different families: this route is left out");
        return None;
    }
    let mut route = Route::new(destination, via).metric(metric);
    route.mtu = mtu;
    Some(route)
}
