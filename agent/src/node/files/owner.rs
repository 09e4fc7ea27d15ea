//! Users and groups, from the image's `/etc/passwd` and `/etc/group`.

use std::{collections::HashMap, fs, path::Path};

/// Numbers of an owner and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The names that the image knows.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Accounts {
    /// Parses the texts of `passwd(5)` and `group(5)`; lines that do not fit are skipped. `root` is always there.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        let table = |text: &str| {
            let line = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
            };
            [("root".to_owned(), 0)].into_iter().chain(text.lines().filter_map(line)).collect()
        };
        Self { users: table(passwd), groups: table(group) }
    }

    /// Reads both files below `root`; an absent one is empty.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        Self::parse(&text("etc/passwd"), &text("etc/group"))
    }

    /// The numbers of two names; a name may be a number itself. `None` when one is unknown.
    #[must_use]
    pub fn owner(&self, user: &str, group: &str) -> Option<Owner> {
        let find = |table: &HashMap<String, u32>, name: &str| table.get(name).copied().or_else(|| name.parse().ok());
        Some(Owner { uid: find(&self.users, user)?, gid: find(&self.groups, group)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_strangers() {
        let accounts = Accounts::parse("root:x:0:0::/root:\nnomad:x:990:990::/:\nbad\n", "nomad:x:991:\n");
        assert_eq!(accounts.owner("nomad", "nomad"), Some(Owner { uid: 990, gid: 991 }));
        assert_eq!(accounts.owner("root", "root"), Some(Owner { uid: 0, gid: 0 }));
        assert_eq!(accounts.owner("7", "8"), Some(Owner { uid: 7, gid: 8 }));
        assert_eq!(accounts.owner("consul", "consul"), None);
    }
}
