//! The list of modules that are loaded when they are wanted: by a device, or by name.
//!
//! The builder writes it from the modules themselves. Lines of a word and a value; `module` begins an entry:
//!
//! ```text
//! module kernel/net/8021q/8021q.ko           below /usr/lib/modules/<release>
//! name 8021q                                 by which node may ask for it
//! needs kernel/net/802/garp.ko               to load before it, in this order; a leading `?`: if it can be
//! alias virtio:d00000001v*                   a pattern of devices' modaliases
//! builtin dm_mod                             (outside of entries) may be asked for, and is always there
//! ```

use super::glob;

/// An entry of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver<'a> {
    /// Path below `/usr/lib/modules/<release>`.
    pub path: &'a str,
    /// What is loaded before it, in order; optional ones with a leading `?`.
    pub needs: Vec<&'a str>,
    /// Names by which it may be asked for.
    pub names: Vec<&'a str>,
    /// Patterns of the devices that it drives.
    pub aliases: Vec<&'a str>,
}

/// The whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drivers<'a> {
    /// The entries, in the order in which they are loaded when several are wanted at once.
    pub entries: Vec<Driver<'a>>,
    /// Names that may be asked for and need no loading.
    pub builtin: Vec<&'a str>,
}

impl<'a> Drivers<'a> {
    /// Reads the list. What is not understood is passed over: the list comes with the program that reads it.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut drivers = Self::default();
        for line in text.lines() {
            let Some((word, value)) = line.split_once(' ').filter(|(_, value)| !value.is_empty()) else { continue };
            let last = drivers.entries.last_mut();
            match (word, last) {
                ("module", _) => drivers.entries.push(Driver { path: value, ..Driver::default() }),
                ("builtin", _) => drivers.builtin.push(value),
                ("needs", Some(driver)) => driver.needs.push(value),
                ("name", Some(driver)) => driver.names.push(value),
                ("alias", Some(driver)) => driver.aliases.push(value),
                _ => {}
            }
        }
        drivers
    }

    /// The entries that drive a device with one of these modaliases, in the list's order.
    pub fn matching<'s>(&'s self, modaliases: &'s [String]) -> impl Iterator<Item = &'s Driver<'a>> {
        self.entries.iter().filter(|driver| driver.drives(modaliases))
    }

    /// The entry that may be asked for by this name. The kernel takes `-` and `_` in names for the same.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Driver<'a>> {
        self.entries.iter().find(|driver| driver.names.iter().any(|own| same(own, name)))
    }

    /// Whether a module of this name is part of the kernel.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.iter().any(|own| same(own, name))
    }

    /// Every name that may be asked for.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().flat_map(|driver| driver.names.iter().copied()).chain(self.builtin.iter().copied())
    }

    /// The buses whose devices are looked at: what stands before the colon of an alias (`acpi*` is of the bus `acpi`).
    #[must_use]
    pub fn buses(&self) -> Vec<&'a str> {
        let aliases = self.entries.iter().flat_map(|driver| &driver.aliases);
        let mut buses: Vec<&str> =
            aliases.filter_map(|alias| Some(alias.split_once(':')?.0.trim_end_matches('*'))).collect();
        buses.sort_unstable();
        buses.dedup();
        buses
    }
}

impl Driver<'_> {
    fn drives(&self, modaliases: &[String]) -> bool {
        self.aliases.iter().any(|alias| modaliases.iter().any(|text| glob::matches(alias.as_bytes(), text.as_bytes())))
    }
}

fn same(left: &str, right: &str) -> bool {
    let normal = |byte: u8| if byte == b'-' { b'_' } else { byte };
    left.bytes().map(normal).eq(right.bytes().map(normal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) const LIST: &str = "module kernel/net/virtio_net.ko\n\
        needs kernel/net/failover.ko\n\
        needs ?kernel/net/extra.ko\n\
        alias virtio:d00000001v*\n\
        module kernel/net/8021q.ko\n\
        name 8021q\n\
        module kernel/hv/hv_vmbus.ko\n\
        alias acpi*:VMBUS:*\n\
        alias acpi*:VMBus:*\n\
        builtin dm_mod\n";

    #[test]
    fn entries_names_and_buses() {
        let drivers = Drivers::parse(LIST);
        assert_eq!(drivers.entries.len(), 3);
        assert_eq!(drivers.entries[0].needs, ["kernel/net/failover.ko", "?kernel/net/extra.ko"]);
        assert_eq!(drivers.buses(), ["acpi", "virtio"]);
        assert_eq!(drivers.names().collect::<Vec<_>>(), ["8021q", "dm_mod"]);
        assert_eq!(drivers.named("8021q").unwrap().path, "kernel/net/8021q.ko");
        assert!(drivers.named("virtio_net").is_none(), "only what the list offers by name");
        assert!(drivers.is_builtin("dm-mod") && !drivers.is_builtin("8021q"));
    }

    #[test]
    fn devices_choose_their_drivers() {
        let drivers = Drivers::parse(LIST);
        let of = |alias: &str| drivers.matching(&[alias.to_owned()]).map(|driver| driver.path).collect::<Vec<_>>();
        assert_eq!(of("virtio:d00000001v00001AF4"), ["kernel/net/virtio_net.ko"]);
        assert_eq!(of("acpi:VMBUS:"), ["kernel/hv/hv_vmbus.ko"]);
        assert!(of("virtio:d00000002v00001AF4").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_parses(text: String) {
            let drivers = Drivers::parse(&text);
            prop_assert!(drivers.entries.iter().all(|driver| !driver.path.is_empty()));
            let _ = (drivers.buses(), drivers.matching(std::slice::from_ref(&text)).count());
        }
    }
}
