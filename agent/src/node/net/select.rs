//! Which of the machine's interfaces a plan means.

use crate::node::netconfig::{Interface, Kind, Mac, fits, is_pattern};

/// An interface of the machine, as it was when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The kernel's number.
    pub(super) index: u32,
    /// Its first name, as the kernel gave it.
    pub(super) name: String,
    /// Its name now.
    pub(super) current: String,
    /// The names that udev would give it.
    pub(super) others: Vec<String>,
    /// The permanent hardware address, else the first that was seen.
    pub(super) mac: Mac,
    /// The driver, where there is one.
    pub(super) driver: Option<String>,
    /// It works for another piece of hardware that has the same address: the fast path of Hyper-V, the standby pair of
    /// virtio.
    pub(super) hidden: bool,
}

/// What a plan means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// For each interface of the plan the numbers of those that it means; empty for virtual and for absent ones.
    pub(super) chosen: Vec<Vec<u32>>,
    /// What was not clear, for people.
    pub(super) notes: Vec<String>,
}

/// Finds for each physical interface of a plan those of the machine that it means. One that is named by its address
/// is taken before one that is named by its name, and that before patterns, so that `en*` means the rest.
pub(super) fn select(interfaces: &[Interface], machine: &[Candidate]) -> Selection {
    let mut selection = Selection { chosen: vec![Vec::new(); interfaces.len()], notes: Vec::new() };
    let mut order: Vec<usize> = (0..interfaces.len()).filter(|n| interfaces[*n].kind == Kind::Physical).collect();
    order.sort_by_key(|n| precision(&interfaces[*n]));
    let mut taken: Vec<u32> = Vec::new();
    for n in order {
        let interface = &interfaces[n];
        let free: Vec<&Candidate> = machine.iter().filter(|c| !c.hidden && !taken.contains(&c.index)).collect();
        let mut fitting: Vec<&Candidate> = free.iter().copied().filter(|c| is_meant(interface, c)).collect();
        if fitting.is_empty() {
            // This process was started again, and the interface has its new name already.
            let renamed =
                |c: &&Candidate| interface.rename.as_ref() == Some(&c.current) && fits_otherwise(interface, c);
            fitting = free.into_iter().filter(renamed).collect();
        }
        if fitting.is_empty() {
            let named =
                |c: &&Candidate| c.others.iter().any(|name| is_called(interface, name)) && fits_otherwise(interface, c);
            fitting = machine.iter().filter(|c| !c.hidden && !taken.contains(&c.index)).filter(named).collect();
            if exact_name(interface).is_some() {
                fitting.truncate(1);
            }
        }
        if interface.select.mac.is_some() && fitting.len() > 1 {
            let names: Vec<&str> = fitting.iter().map(|c| c.current.as_str()).collect();
            let (id, names) = (&interface.id, names.join(" and "));
            selection.notes.push(format!("{id}: {names} have the same hardware address; the first is taken"));
            fitting.truncate(1);
        }
        taken.extend(fitting.iter().map(|c| c.index));
        selection.chosen[n] = fitting.iter().map(|c| c.index).collect();
    }
    selection
}

fn precision(interface: &Interface) -> u8 {
    match &interface.select {
        select if select.mac.is_some() => 0,
        select if select.drivers.is_empty() && !select.name.as_deref().is_some_and(is_pattern) => 1,
        _ => 2,
    }
}

fn is_meant(interface: &Interface, candidate: &Candidate) -> bool {
    is_called(interface, &candidate.name) && fits_otherwise(interface, candidate)
}

fn is_called(interface: &Interface, name: &str) -> bool {
    pattern(interface).is_none_or(|pattern| fits(pattern, name))
}

/// What the name has to fit.
fn pattern(interface: &Interface) -> Option<&str> {
    let select = &interface.select;
    let by_id = select.mac.is_none() && select.name.is_none() && select.drivers.is_empty();
    if by_id { Some(interface.id.as_str()) } else { select.name.as_deref() }
}

/// The one name by which a plan knows an interface, and by which others may know it as well.
pub(super) fn exact_name(interface: &Interface) -> Option<&str> {
    pattern(interface).filter(|name| interface.kind == Kind::Physical && !is_pattern(name))
}

fn fits_otherwise(interface: &Interface, candidate: &Candidate) -> bool {
    let select = &interface.select;
    let driver = candidate.driver.as_deref().unwrap_or_default();
    select.mac.is_none_or(|mac| mac == candidate.mac)
        && (select.drivers.is_empty() || select.drivers.iter().any(|pattern| fits(pattern, driver)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::netconfig::Select;

    fn machine() -> Vec<Candidate> {
        let nic = |index: u32, name: &str, driver: &str| Candidate {
            index,
            name: name.into(),
            current: name.into(),
            others: vec![format!("enp0s{index}")],
            mac: Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]),
            driver: Some(driver.into()),
            hidden: false,
        };
        vec![nic(2, "eth0", "virtio_net"), nic(3, "eth1", "virtio_net"), nic(4, "ens5", "ena")]
    }

    fn interface(id: &str, select: Select) -> Interface {
        Interface { id: id.into(), select, ..Interface::default() }
    }

    fn name(pattern: &str) -> Select {
        Select { name: Some(pattern.into()), ..Select::default() }
    }

    #[test]
    fn by_address_name_driver_and_pattern() {
        let mac = Select { mac: Some(Mac([2, 0, 0, 0, 0, 3])), ..Select::default() };
        let driver = Select { drivers: vec!["e1000*".into(), "en[a-c]".into()], ..Select::default() };
        let interfaces = [
            interface("all", name("e*")),
            interface("lan", mac),
            interface("eth0", Select::default()),
            interface("fast", driver),
            interface("gone", name("eth7")),
        ];
        let selection = select(&interfaces, &machine());
        assert_eq!(selection.chosen, [vec![4], vec![3], vec![2], vec![], vec![]], "patterns in their order");
        assert!(selection.notes.is_empty());
    }

    #[test]
    fn by_the_names_that_udev_would_give() {
        let chosen = |ids: &[&str]| {
            let plan: Vec<Interface> = ids.iter().map(|id| interface(id, Select::default())).collect();
            select(&plan, &machine()).chosen
        };
        assert_eq!(chosen(&["enp0s3", "enp0s2"]), [vec![3], vec![2]]);
        // The kernel's own name comes first, and udev's is no second one.
        assert_eq!(chosen(&["eth0", "enp0s2"]), [vec![2], vec![]]);
        assert_eq!(select(&[interface("all", name("en*"))], &machine()[..2]).chosen, [vec![2, 3]]);
        assert_eq!(exact_name(&interface("x", name("enp0s3"))), Some("enp0s3"));
        assert_eq!(
            (exact_name(&interface("x", name("en*"))), exact_name(&interface("y", Select::default()))),
            (None, Some("y"))
        );
    }

    #[test]
    fn an_interface_that_has_its_new_name_already() {
        let mut lan = interface("lan", name("eth0"));
        lan.rename = Some("lan0".into());
        let mut machine = machine();
        machine[0].name = "lan0".into();
        machine[0].current = "lan0".into();
        assert_eq!(select(&[lan], &machine).chosen, [vec![2]]);
    }

    #[test]
    fn of_two_with_the_same_address_the_hidden_one_is_nobody() {
        let select_mac = Select { mac: Some(Mac([2, 0, 0, 0, 0, 2])), ..Select::default() };
        let mut machine = machine();
        machine[1].mac = machine[0].mac;
        let plan = [interface("a", select_mac)];
        let unclear = select(&plan, &machine);
        assert_eq!(unclear.chosen, [vec![2]]);
        assert_eq!(unclear.notes, ["a: eth0 and eth1 have the same hardware address; the first is taken"]);
        machine[0].hidden = true;
        let clear = select(&plan, &machine);
        assert_eq!((clear.chosen, clear.notes.len()), (vec![vec![3]], 0));
    }

    proptest! {
        #[test]
        fn nothing_is_chosen_twice(patterns in proptest::collection::vec("[eth*?0-2]{1,5}", 0..5)) {
            let plan: Vec<Interface> = patterns.iter().map(|p| interface(p, name(p))).collect();
            let mut all: Vec<u32> = select(&plan, &machine()).chosen.concat();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), count);
        }
    }
}
