//! "Did you mean": the nearest known word to one that is not known.

/// The word of `known` that is most like `word`, if one is near enough to be a slip.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `line:column: message` for an error of the TOML parser, with the nearest known word when one is unknown.
#[must_use]
pub fn describe_toml(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let place = error.span().map_or_else(String::new, |span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{line}:{column}: ")
    });
    // serde's words: unknown field `modles`, expected one of `package`, `modules`.
    let mut words = message.split('`').skip(1).step_by(2);
    let suggestion = message
        .starts_with("unknown")
        .then(|| words.next().and_then(|unknown| nearest(unknown, words)))
        .flatten()
        .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    format!("{place}{message}{suggestion}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_only() {
        assert_eq!(nearest("modles", ["package", "modules"]), Some("modules"));
        assert_eq!(nearest("quux", ["package", "modules"]), None);
    }
}
