//! Licences: the short names of Debian's copyright files as SPDX expressions.
//!
//! Debian's names (DEP 5) are near those of SPDX and not the same, and a package may use names of its own. What is not
//! known becomes a `LicenseRef-Debian-...`, which says that the text is in the package's copyright file: better than a
//! guess, and better than nothing.

use std::collections::BTreeMap;

/// A licence as an SPDX expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// The expression.
    pub expression: String,
    /// Its `LicenseRef-`s, and what Debian calls each.
    pub references: BTreeMap<String, String>,
}

/// Debian's name, in lower case, and SPDX's.
const NAMES: [(&str, &str); 40] = [
    ("0bsd", "0BSD"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-3-clause-berkeley", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("curl", "curl"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("inner-net", "Inner-Net-2.0"),
    ("isc", "ISC"),
    ("kazlib", "Kazlib"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("mit", "MIT"),
    ("mpl-2.0", "MPL-2.0"),
    ("ofl-1.1", "OFL-1.1"),
    ("openssl", "OpenSSL"),
    ("unicode-dfs-2016", "Unicode-DFS-2016"),
    ("unlicense", "Unlicense"),
    ("zlib", "Zlib"),
    ("gpl-2 with linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
    ("gpl-2+ with autoconf exception", "GPL-2.0-or-later WITH Autoconf-exception-2.0"),
];

impl Licence {
    /// An expression that is SPDX already; nothing when it is empty.
    pub(super) fn known(expression: &str) -> Option<Self> {
        let expression = expression.trim();
        (!expression.is_empty()).then(|| Self { expression: expression.to_owned(), references: BTreeMap::new() })
    }

    /// Of the licences in a package's copyright file: all of them apply to some file of its source. Nothing when there
    /// are none.
    pub(super) fn of_debian(names: &[String]) -> Option<Self> {
        let mut references = BTreeMap::new();
        // Each name that is a list of its own without an alternative joins the list.
        let names = names.iter().flat_map(|name| {
            let choice = name.contains(" or ");
            if choice {
                vec![name.as_str()]
            } else {
                name.split(" and ").map(|part| part.trim_end_matches(',')).collect()
            }
        });
        let mut parts: Vec<String> = names.map(|name| one(name, &mut references)).collect();
        parts.sort();
        parts.dedup();
        (!parts.is_empty()).then(|| Self { expression: parts.join(" AND "), references })
    }
}

/// A name that may join others: DEP 5 has `or` bind weaker than `and`, and a comma weaker than both.
fn one(name: &str, references: &mut BTreeMap<String, String>) -> String {
    for (separator, word) in [(", and ", "AND"), (", or ", "OR"), (" or ", "OR"), (" and ", "AND")] {
        if name.contains(separator) {
            let parts: Vec<String> = name.split(separator).map(|part| one(part, references)).collect();
            return format!("({})", parts.join(&format!(" {word} ")));
        }
    }
    let name = name.trim();
    let lower = name.to_ascii_lowercase();
    if let Some((_, known)) = NAMES.iter().find(|(debian, _)| *debian == lower) {
        return (*known).to_owned();
    }
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    // "+" says something: GPL-2+ with an exception is not GPL-2 with it.
    let later = if name.contains('+') { "-or-later" } else { "" };
    let reference = format!("LicenseRef-Debian-{}{later}", plain.trim_matches('-'));
    references.insert(reference.clone(), name.to_owned());
    reference
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Licence::of_debian(&names).unwrap().expression
    }

    #[test]
    fn names_of_debian_become_names_of_spdx() {
        assert_eq!(of(&["GPL-2+", "Expat", "MIT"]), "GPL-2.0-or-later AND MIT");
        assert_eq!(of(&["BSD-2-clause or GPL-2"]), "(BSD-2-Clause OR GPL-2.0-only)");
        assert_eq!(of(&["ISC and LGPL-2.1+"]), "ISC AND LGPL-2.1-or-later");
        assert_eq!(of(&["GPL-1+ or Artistic, and ISC"]), "((GPL-1.0-or-later OR Artistic-1.0) AND ISC)");
        assert_eq!(of(&["GPL-2+ with Texinfo exception"]), "LicenseRef-Debian-GPL-2--with-Texinfo-exception-or-later");
        let public = Licence::of_debian(&["public-domain".to_owned()]).unwrap();
        assert_eq!(public.references["LicenseRef-Debian-public-domain"], "public-domain");
        assert_eq!(Licence::of_debian(&[]), None);
    }

    proptest! {
        #[test]
        fn only_characters_that_an_expression_may_have(name in "\\PC{1,40}") {
            let expression = of(&[&name]);
            let fits = |c: char| c.is_ascii_alphanumeric() || ".-+() ".contains(c);
            prop_assert!(expression.chars().all(fits), "{}", expression);
        }
    }
}
