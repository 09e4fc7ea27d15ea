//! Words out of an image, before they are shown to a person.
//!
//! Names, command lines and releases are whatever the maker of an image wrote. A terminal would obey what is in them: a line end begins
//! a line that looks like one of ours, an escape sequence hides one that is.

/// The text with a mark in the place of each character that is no letter, number or sign: line ends, escape and other control
/// characters, marks that change the direction of what follows (Unicode Technical Report 36, 2.8), and what XML does not allow.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().map(|letter| if is_command(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::shown;

    #[test]
    fn what_a_terminal_obeys_is_replaced() {
        assert_eq!(
            shown("quiet\nmanifest\x1b[8m \u{202e}x\u{9b}0m"),
            "quiet\u{fffd}manifest\u{fffd}[8m \u{fffd}x\u{fffd}0m"
        );
        assert_eq!(shown("root=ÄÖ 数 é"), "root=ÄÖ 数 é");
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_without_commands(text: String) {
            let shown = shown(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            let obeyed = |letter: char| letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
            prop_assert!(!shown.contains(obeyed));
        }
    }
}
