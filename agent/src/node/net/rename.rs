//! Renaming interfaces so that no step meets a name that is still in use.

/// The steps, in order, that give interfaces (by number) the names that are wanted. `current` are the names of all
/// interfaces of the machine. Those whose new name is in use by another one that gets a new name itself go by way of a
/// temporary name; one that keeps a wanted name without right to it is moved out of the way for good.
pub(super) fn renames(current: &[(u32, String)], wanted: &[(u32, String)]) -> Vec<(u32, String)> {
    let name_of = |index: u32| current.iter().find(|(i, _)| *i == index).map(|(_, name)| name.as_str());
    let due: Vec<&(u32, String)> =
        wanted.iter().filter(|(index, name)| name_of(*index).is_some_and(|now| now != name)).collect();
    let mut first = Vec::new();
    let mut last = Vec::new();
    for (index, name) in current {
        let claimed = due.iter().any(|(other, wanted)| other != index && wanted == name);
        if claimed {
            first.push((*index, temporary(*index, current, wanted)));
        }
    }
    for (index, name) in due {
        last.push((*index, name.clone()));
    }
    first.extend(last);
    first
}

/// A name that nobody has or wants.
fn temporary(index: u32, current: &[(u32, String)], wanted: &[(u32, String)]) -> String {
    let in_use = |name: &str| current.iter().chain(wanted).any(|(_, other)| other == name);
    let mut name = format!("old{index}");
    while in_use(&name) && name.len() < 15 {
        name.push('x');
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<(u32, String)> {
        (1..).zip(names.iter().map(|name| (*name).to_owned())).collect()
    }

    /// Does the steps as the kernel would.
    fn apply(current: &[(u32, String)], steps: &[(u32, String)]) -> BTreeMap<u32, String> {
        let mut machine: BTreeMap<u32, String> = current.iter().cloned().collect();
        for (index, name) in steps {
            assert!(machine.values().all(|used| used != name), "{name} is in use: {steps:?}");
            machine.insert(*index, name.clone());
        }
        machine
    }

    #[test]
    fn two_that_change_places() {
        let current = names(&["eth0", "eth1", "eth2"]);
        let steps = renames(&current, &names(&["eth1", "eth0", "eth2"]));
        assert_eq!(steps.len(), 4);
        assert_eq!(apply(&current, &steps)[&1], "eth1");
        assert!(renames(&current, &current).is_empty());
    }

    #[test]
    fn one_without_right_to_a_name_makes_room() {
        let current = names(&["eth0", "eth1"]);
        let steps = renames(&current, &[(2, "eth0".into())]);
        let machine = apply(&current, &steps);
        assert_eq!((machine[&1].as_str(), machine[&2].as_str()), ("old1", "eth0"));
    }

    proptest! {
        #[test]
        fn everyone_gets_the_wanted_name(perm in Just((0..6_u32).collect::<Vec<_>>()).prop_shuffle(), some in 0..7_usize) {
            let current: Vec<(u32, String)> = (0..6).map(|n| (n + 1, format!("eth{n}"))).collect();
            let wanted: Vec<(u32, String)> =
                perm.iter().enumerate().take(some).map(|(n, p)| (u32::try_from(n).unwrap() + 1, format!("eth{p}"))).collect();
            let machine = apply(&current, &renames(&current, &wanted));
            for (index, name) in wanted {
                prop_assert_eq!(&machine[&index], &name);
            }
        }
    }
}
