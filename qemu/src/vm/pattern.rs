//! What one looks for in the lines of a console.

/// What to look for in a line.
pub trait Pattern {
    /// Whether `text` is it.
    fn matches(&self, text: &str) -> bool;
    /// How messages name it.
    fn describe(&self) -> String;
}

/// A part of the line.
impl Pattern for str {
    fn matches(&self, text: &str) -> bool {
        text.contains(self)
    }
    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl Pattern for String {
    fn matches(&self, text: &str) -> bool {
        Pattern::matches(self.as_str(), text)
    }
    fn describe(&self) -> String {
        Pattern::describe(self.as_str())
    }
}

/// Several parts of one line, in this order.
impl<const N: usize> Pattern for [&str; N] {
    fn matches(&self, text: &str) -> bool {
        self.iter().try_fold(text, |rest, part| rest.split_once(part).map(|(_, rest)| rest)).is_some()
    }
    fn describe(&self) -> String {
        self.map(|part| format!("{part:?}")).join(" then ")
    }
}

impl<P: Pattern + ?Sized> Pattern for &P {
    fn matches(&self, text: &str) -> bool {
        (**self).matches(text)
    }
    fn describe(&self) -> String {
        (**self).describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_looked_for_in_their_order() {
        let line = "steppe node: READY role=server name=server-vm-0";
        assert!(Pattern::matches("READY", line) && ["READY", "role=server"].matches(line));
        assert!(!["role=server", "READY"].matches(line));
        assert_eq!(["a", "b"].describe(), "\"a\" then \"b\"");
    }
}
