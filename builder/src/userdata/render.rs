//! Findings in the manner of rustc: what is wrong, where, the line itself, and the way out.

use agent::node::userdata::{Finding, Position, Verdict};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A text that findings point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The part of the user-data; none for plain user-data.
    pub part: Option<String>,
    /// The file that it becomes on the node; none for user-data itself.
    pub file: Option<String>,
    /// What a person calls it.
    pub shown: String,
    /// The text.
    pub text: String,
}

/// Shows a finding. `name`: what a person calls the user-data.
#[must_use]
pub fn finding(finding: &Finding, sources: &[Source], name: &str, colour: bool) -> String {
    let level = match finding.verdict {
        Verdict::Refused => Level::ERROR,
        Verdict::Ignored => Level::WARNING.with_name(Some("ignored")),
        Verdict::Applied => Level::INFO.with_name(Some("applied")),
    };
    let title =
        if finding.key.is_empty() { finding.message.clone() } else { format!("{}: {}", finding.key, finding.message) };
    let fits =
        |source: &&Source| source.file == finding.file && (finding.file.is_some() || source.part == finding.part);
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let source = sources.iter().find(fits);
    let span = source.and_then(|source| span(&source.text, finding.at));
    let (Some(source), Some(span)) = (source, span) else {
        let place = finding.file.as_deref().or(finding.part.as_deref()).unwrap_or(name);
        return format!(
            "{}\n --> {place}:{}",
            renderer.render(&[Group::with_title(level.primary_title(title.as_str()))]),
            finding.at
        );
    };
    let shown = match &source.part {
        Some(part) => format!("{} ({part})", source.shown),
        None => source.shown.clone(),
    };
    let snippet = Snippet::source(source.text.as_str()).path(shown).annotation(AnnotationKind::Primary.span(span));
    renderer.render(&[level.primary_title(title.as_str()).element(snippet)])
}

/// The bytes of the word at a place: a key, or a value up to the end of its line.
fn span(text: &str, at: Position) -> Option<std::ops::Range<usize>> {
    let start: usize = text.split_inclusive('\n').take(at.line.checked_sub(1)?).map(str::len).sum();
    let line = text.get(start..)?.lines().next()?;
    let column = line.char_indices().map(|(n, _)| n).nth(at.column.checked_sub(1)?).unwrap_or(line.len());
    let rest = line[column..].trim_end();
    let key = rest.find(": ").or_else(|| rest.strip_suffix(':').map(str::len));
    let length = key.unwrap_or(rest.len());
    Some(start + column..start + column + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words() {
        let text = "a: 1\nkey: value # x\n- [b, c]\nlast:\n";
        let word = |line, column| span(text, Position { line, column }).map(|span| &text[span]);
        assert_eq!(word(2, 1), Some("key"));
        assert_eq!(word(2, 6), Some("value # x"));
        assert_eq!(word(3, 3), Some("[b, c]"));
        assert_eq!(word(4, 1), Some("last"));
        assert_eq!((word(9, 1), word(1, 99)), (None, Some("")));
    }

    #[test]
    fn without_a_text_the_place_is_named() {
        let at = Position { line: 3, column: 1 };
        let shown = finding(&Finding::new(Verdict::Refused, at, "a", "b"), &[], "u.yaml", false);
        assert!(shown.contains("error: a: b") && shown.contains("u.yaml:3:1"), "{shown}");
    }
}
