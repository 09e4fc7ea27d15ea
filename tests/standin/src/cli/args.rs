//! Flags in the manner of Go: `-flag value`, `-flag=value`, `--flag`, switches without a value; the first plain word ends them.

use std::collections::BTreeMap;

/// What is wrong with the flags.
#[derive(Debug)]
pub(crate) struct Usage(pub String);

/// Parsed flags.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: BTreeMap<String, Vec<String>>,
    /// What follows the flags.
    pub(crate) rest: Vec<String>,
}

impl Flags {
    /// Parses `args`, knowing the switches and the flags with values.
    ///
    /// # Errors
    /// The first flag that is neither, or lacks its value.
    pub(crate) fn parse(args: &[String], switches: &[&str], values: &[&str]) -> Result<Self, Usage> {
        let mut out = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                out.rest.push(arg.clone());
                out.rest.extend(args.cloned());
                break;
            };
            if flag == "-" {
                out.rest.extend(args.cloned());
                break;
            }
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
            let value = if switches.contains(&name) {
                match value.as_deref() {
                    None | Some("true" | "1" | "t") => "true".to_owned(),
                    Some("false" | "0" | "f") => "false".to_owned(),
                    Some(value) => {
                        return Err(Usage(format!("invalid boolean value {value:?} for -{name}: parse error")));
                    }
                }
            } else if values.contains(&name) {
                match value.or_else(|| args.next().cloned()) {
                    Some(value) => value,
                    None => return Err(Usage(format!("flag needs an argument: -{name}"))),
                }
            } else {
                return Err(Usage(format!("flag provided but not defined: -{name}")));
            };
            out.values.entry(name.to_owned()).or_default().push(value);
        }
        Ok(out)
    }

    /// Whether a switch is on.
    #[must_use]
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.values.get(name).and_then(|values| values.last()).is_some_and(|value| value == "true")
    }

    /// The last value of a flag.
    pub(crate) fn value(&mut self, name: &str) -> Option<String> {
        self.values.get(name).and_then(|values| values.last()).cloned()
    }

    /// All values of a flag.
    #[must_use]
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.values.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    fn parse(args: &[&str]) -> Result<Flags, super::Usage> {
        Flags::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>(), &["verbose"], &["address"])
    }

    #[test]
    fn flags_end_at_the_first_word() {
        let mut flags = parse(&["-verbose", "--address=http://x", "example", "-verbose"]).unwrap();
        assert!(flags.switch("verbose"));
        assert_eq!(flags.value("address").as_deref(), Some("http://x"));
        assert_eq!(flags.rest, ["example", "-verbose"]);
        assert_eq!(parse(&["-x"]).unwrap_err().0, "flag provided but not defined: -x");
        assert!(parse(&["-address"]).is_err());
    }
}
