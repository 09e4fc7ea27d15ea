//! Going on behind what could not be followed.

use super::{Link, Script};

impl Script {
    /// A control structure ends with its last word, everything else with
    /// its line.
    pub(super) fn recover(&mut self, start: usize) {
        self.next = self.next.max(start);
        let line_start =
            self.chars[..start.min(self.chars.len())].iter().rposition(|c| *c == '\n').map_or(0, |n| n + 1);
        let mut at = line_start;
        let mut depth = 0_i32;
        loop {
            let end = self.chars[at..].iter().position(|c| *c == '\n').map_or(self.chars.len(), |n| at + n);
            let line: String = self.chars[at..end].iter().collect();
            let mut command_position = true;
            for word in line.split_inclusive([' ', '\t', ';', '(', ')']) {
                let plain = word.trim_matches([' ', '\t', ';', '(', ')']);
                match plain {
                    "if" | "for" | "while" | "until" | "case" | "select" if command_position => depth += 1,
                    "{" => depth += 1,
                    "fi" | "done" | "esac" | "}" => depth -= 1,
                    _ => {}
                }
                let opens = matches!(plain, "do" | "then" | "else" | "!" | "" | "{");
                command_position = opens || word.ends_with([';', '(']);
            }
            at = (end + 1).min(self.chars.len());
            if (depth <= 0 && at >= self.next) || at >= self.chars.len() {
                break;
            }
        }
        self.next = at.max(self.documents.take().unwrap_or(0));
        self.link = Link::Always;
    }
}
