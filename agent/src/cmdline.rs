//! The kernel command line.
//!
//! Words are separated by white space; double quotes keep white space together, as the kernel's own parser does
//! (`lib/cmdline.c`, `next_arg`). Of a key that stands twice, the last counts, except where [`Cmdline::all`] is asked.

/// A parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cmdline {
    words: Vec<(String, Option<String>)>,
}

impl Cmdline {
    /// Splits the text of `/proc/cmdline`. Never fails: an unclosed quote reaches to the end.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        let mut seen = false;
        for c in text.chars() {
            match c {
                '"' => {
                    quoted = !quoted;
                    seen = true;
                }
                c if c.is_whitespace() && !quoted => {
                    if seen {
                        words.push(split(&word));
                    }
                    word.clear();
                    seen = false;
                }
                c => {
                    word.push(c);
                    seen = true;
                }
            }
        }
        if seen {
            words.push(split(&word));
        }
        Self { words }
    }

    /// The last value of `key`; a key without `=` has the value `""`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().rfind(|(k, _)| k == key).map(|(_, v)| v.as_deref().unwrap_or(""))
    }

    /// Every value of `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.words.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_deref().unwrap_or(""))
    }

    /// All keys and words, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|(key, _)| key.as_str())
    }

    /// Whether the key stands there, with or without a value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.words.iter().any(|(k, _)| k == key)
    }
}

fn split(word: &str) -> (String, Option<String>) {
    match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (word.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn last_value_counts_and_all_are_kept() {
        let line = Cmdline::parse("console=tty0 quiet console=ttyS0,115200\n");
        assert_eq!(line.value("console"), Some("ttyS0,115200"));
        assert_eq!(line.all("console").count(), 2);
        assert!(line.has("quiet") && !line.has("qui"));
    }

    #[test]
    fn quotes_keep_white_space_and_semicolons() {
        let line = Cmdline::parse(r#"ds="nocloud;s=http://10.0.0.1/a b/" x"#);
        assert_eq!(line.value("ds"), Some("nocloud;s=http://10.0.0.1/a b/"));
    }

    proptest! {
        #[test]
        fn anything_parses(text: String) {
            let _ = Cmdline::parse(&text);
        }

        #[test]
        fn plain_words_survive(words in proptest::collection::vec("[a-z.]{1,8}=[a-z0-9/;:]{0,8}", 0..8)) {
            let line = Cmdline::parse(&words.join(" "));
            for word in &words {
                let (key, value) = word.split_once('=').unwrap();
                prop_assert!(line.all(key).any(|v| v == value));
            }
        }
    }
}
