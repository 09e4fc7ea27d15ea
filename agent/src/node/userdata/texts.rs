//! The texts that a configuration is made of, laid one behind the other: one line number says which text it is in, and
//! where. So a merged tree keeps its places without every value carrying the name of its part.

use super::finding::{Finding, Position};

/// What a person calls the user-data of a machine that has nothing else.
pub(super) const USER_DATA: &str = "user-data";

/// The texts, by the number of lines in front of each.
#[derive(Debug, Default)]
pub(super) struct Texts {
    starts: Vec<(usize, String)>,
    lines: usize,
}

impl Texts {
    /// Adds a text and returns how many lines are in front of it.
    pub(super) fn add(&mut self, label: &str, text: &str) -> usize {
        // The first line belongs to no part of several: what is said about the whole is said there.
        let before = if self.lines == 0 && label != USER_DATA { 1 } else { self.lines };
        self.starts.push((before, label.to_owned()));
        // One more than there are, because an error may stand behind the last.
        self.lines = before + text.bytes().filter(|b| *b == b'\n').count() + 2;
        before
    }

    /// Which text a place is in (`None` for plain user-data), and where in it.
    pub(super) fn find(&self, at: Position) -> (Option<&str>, Position) {
        let after = self.starts.partition_point(|(before, _)| *before < at.line);
        match after.checked_sub(1).map(|n| &self.starts[n]) {
            Some((before, label)) => {
                let label = Some(label.as_str()).filter(|label| *label != USER_DATA);
                (label, Position { line: at.line - before, ..at })
            }
            None => (None, at),
        }
    }

    /// Gives a finding about the configuration its final place.
    pub(super) fn settle(&self, finding: &mut Finding) {
        if finding.file.is_none() {
            let (part, at) = self.find(finding.at);
            (finding.part, finding.at) = (part.map(str::to_owned), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_are_lines_of_one() {
        let at = |line| Position { line, column: 7 };
        let mut plain = Texts::default();
        assert_eq!(plain.find(at(1)), (None, at(1)));
        assert_eq!(plain.add(USER_DATA, "a\nb\n"), 0);
        assert_eq!(plain.find(at(3)), (None, at(3)));
        let vendor = plain.add("vendor-data", "a");
        assert_eq!(plain.find(at(vendor + 1)), (Some("vendor-data"), at(1)));

        let mut parts = Texts::default();
        let (first, second) = (parts.add("part 1", "a\nb"), parts.add("part 2", "c"));
        assert_eq!(parts.find(at(1)), (None, at(1)));
        assert_eq!(parts.find(at(first + 2)), (Some("part 1"), at(2)));
        assert_eq!(parts.find(at(second + 1)), (Some("part 2"), at(1)));
    }
}
