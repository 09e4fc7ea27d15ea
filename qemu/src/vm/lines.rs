//! From the bytes of a serial line to lines of text.

/// The longest line that is kept in one piece; a guest that never ends a line must not fill the memory.
const LONGEST_LINE: usize = 8192;

/// Cuts a byte stream into lines and removes what only a terminal understands.
///
/// Carriage returns and other control characters are dropped, and so are escape sequences (firmware moves the cursor about);
/// invalid UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct LineAssembler {
    line: Vec<u8>,
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Started,
    /// After ESC and `[`: parameters up to a final byte of 0x40 to 0x7e.
    Control,
    /// After ESC and `]`, `P`, `X`, `^` or `_`: text up to BEL or ESC `\`.
    Text,
    /// After ESC and one of space `#%()*+`: one more byte.
    Designator,
}

impl LineAssembler {
    /// Takes bytes, and gives each line that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut complete: impl FnMut(String)) {
        for &byte in bytes {
            if !self.is_text(byte) {
                continue;
            }
            match byte {
                b'\n' => complete(self.take()),
                b'\t' | b' '..=b'~' | 0x80.. => {
                    self.line.push(byte);
                    if self.line.len() >= LONGEST_LINE {
                        complete(self.take());
                    }
                }
                _ => {}
            }
        }
    }

    /// The line that has begun but not ended, a prompt for instance.
    pub(crate) fn partial(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    fn take(&mut self) -> String {
        let line = self.partial();
        self.line.clear();
        line
    }

    /// Follows escape sequences; true for a byte outside of them.
    fn is_text(&mut self, byte: u8) -> bool {
        let (next, text) = match (self.escape, byte) {
            (Escape::None, 0x1b) => (Escape::Started, false),
            (Escape::None, _) => (Escape::None, true),
            // A line end is never part of a sequence: what came before it was cut off.
            (_, b'\n') => (Escape::None, true),
            (_, 0x1b) | (Escape::Started, 0x00..=0x1f) => (Escape::Started, false),
            (Escape::Started, b'[') => (Escape::Control, false),
            (Escape::Started, b']' | b'P' | b'X' | b'^' | b'_') => (Escape::Text, false),
            (Escape::Started, b' ' | b'#' | b'%' | b'('..=b'+') => (Escape::Designator, false),
            (Escape::Started | Escape::Designator, _) => (Escape::None, false),
            (Escape::Control, 0x40..=0x7e) => (Escape::None, false),
            (Escape::Control, _) => (Escape::Control, false),
            (Escape::Text, 0x07) => (Escape::None, false),
            (Escape::Text, _) => (Escape::Text, false),
        };
        self.escape = next;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, String) {
        let (mut assembler, mut lines) = (LineAssembler::default(), Vec::new());
        for chunk in chunks {
            assembler.push(chunk, |line| lines.push(line));
        }
        (lines, assembler.partial())
    }

    #[test]
    fn lines_end_at_newlines_wherever_the_chunks_end() {
        let (lines, partial) = lines(&[b"[    0.0", b"00000] Linux\r", b"\nnext\n", b"login: "]);
        assert_eq!(lines, ["[    0.000000] Linux", "next"]);
        assert_eq!(partial, "login: ");
    }

    #[test]
    fn what_firmware_writes_to_a_terminal_is_removed() {
        let (lines, _) = lines(&[b"\x1b[2J\x1b[01;01H\x1b[=3hBds\x1bcDxe\x1b]0;title\x07!\x1b(B\x07\0ok\n\x1b[\nx\n"]);
        assert_eq!(lines, ["BdsDxe!ok", "", "x"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let (lines, partial) = lines(&[&[b'a'; LONGEST_LINE + 3]]);
        assert_eq!((lines.len(), partial.as_str()), (1, "aaa"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn chunks_do_not_matter_and_no_control_character_survives(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0usize..600) {
            let cut = cut.min(bytes.len());
            let whole = lines(&[&bytes]);
            prop_assert_eq!(&whole, &lines(&[&bytes[..cut], &bytes[cut..]]));
            prop_assert!(whole.0.iter().all(|line| !line.bytes().any(|byte| byte < b' ' && byte != b'\t')));
        }
    }
}
