use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Vec<Result<Statement, ShellError>> {
    Script::new(text).collect()
}

fn words(text: &str) -> Vec<Vec<String>> {
    let plain = |simple: &Simple| simple.words.iter().map(|w| w.text().unwrap_or("?").to_owned()).collect();
    parse(text).into_iter().flat_map(|s| s.unwrap().commands.iter().map(plain).collect::<Vec<_>>()).collect()
}

#[test]
fn words_quotes_and_continued_lines() {
    assert_eq!(
        words("a 'b c' \"d\\\"e\" f\\ g \\\n h # note\n\n;i ''"),
        vec![vec!["a", "b c", "d\"e", "f g", "h"], vec!["i", ""]]
    );
}

#[test]
fn variables_commands_and_assignments() {
    let found = parse("A=x${B}y IP=\"$(hostname -I | awk '{print $1}')\" C=`id` D= run $E");
    let simple = &found[0].as_ref().unwrap().commands[0];
    let names: Vec<&str> = simple.assignments.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["A", "IP", "C", "D"]);
    assert_eq!(
        simple.assignments[0].1.parts,
        [Part::Text("x".into()), Part::Variable("B".into()), Part::Text("y".into())]
    );
    assert_eq!(simple.assignments[1].1.parts.last(), Some(&Part::Command("hostname -I | awk '{print $1}'".into())));
    assert_eq!(simple.assignments[3].1.text(), Some(""));
    assert_eq!(simple.words[1].parts, [Part::Variable("E".into())]);
}

#[test]
fn redirections() {
    let found = parse("echo a > /etc/b 2>&1\necho c >>/etc/d 2>/dev/null; run &>/dev/null");
    let simple = |n: usize| found[n].as_ref().unwrap().commands[0].clone();
    assert_eq!(
        simple(0).output.map(|o| (o.file.text().map(str::to_owned), o.append)),
        Some((Some("/etc/b".into()), false))
    );
    assert!(simple(1).output.unwrap().append);
    assert!(simple(2).silent && simple(2).output.is_none());
}

#[test]
fn here_documents_stand_below_their_line() {
    let text =
        "cat > /etc/a <<EOF && echo done\nx = \"$IP\"\n\\$HOME `id`\nEOF\ncat <<-'E' | tee /etc/b\n\t$raw\n\tE\nend\n";
    let found: Vec<Statement> = parse(text).into_iter().map(Result::unwrap).collect();
    assert_eq!(
        found[0].commands[0].input.as_ref().unwrap().parts,
        [
            Part::Text("x = \"".into()),
            Part::Variable("IP".into()),
            Part::Text("\"\n$HOME ".into()),
            Part::Command("id".into()),
            Part::Text("\n".into())
        ]
    );
    assert_eq!((found[1].link, found[1].commands[0].words.len()), (Link::And, 2));
    assert_eq!(found[2].commands[0].input.as_ref().unwrap().text(), Some("$raw\n"));
    assert_eq!((found[2].commands.len(), found[3].commands[0].words[0].text(), found[3].line), (2, Some("end"), 8));
}

#[test]
fn what_is_more_than_a_command_is_named_and_passed_over() {
    let text = "a\n# note\n\nif [ -f x ]; then\n  for i in 1 2; do b; done\nfi\nc &\nf() {\n  d\n}\n(e)\ng $1\nh\n";
    let shown: Vec<String> = parse(text)
        .into_iter()
        .map(|s| s.map_or_else(|e| e.to_string(), |s| s.commands[0].words[0].text().unwrap_or("?").into()))
        .collect();
    assert_eq!(
        shown,
        [
            "a",
            "line 4: `if`",
            "line 7: a background job (`&`)",
            "line 8: a subshell or a function (`(`)",
            "line 11: a subshell or a function (`(`)",
            "line 12: `$1`",
            "h"
        ]
    );
}

#[test]
fn open_ends_are_errors() {
    for text in ["'a", "\"a", "a $(b", "a ${b", "cat <<E\nx\n", "a >", "a | ", "a && ", "${a:-b}", "$((1))", "a <b"] {
        let all = parse(text);
        assert!(all.iter().any(Result::is_err) || text == "a && ", "{text}: {all:?}");
    }
}

proptest! {
    #[test]
    fn any_text_ends(text in "(if|fi|for|done|do|then|\\{|\\}|<<E|E|\n| |;|&|\\||a|'|\"|\\$|\\(|\\)|`|>|#|=|\\\\){0,40}") {
        prop_assert!(parse(&text).len() <= text.len() + 1);
    }

    #[test]
    fn single_quotes_keep_words(list in proptest::collection::vec("[^'\u{0}]{0,10}", 1..5)) {
        let text = list.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(words(&format!("x {text}"))[0][1..].to_vec(), list);
    }
}
