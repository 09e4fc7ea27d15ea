use proptest::prelude::*;

use super::{Item, Raw, parse};

#[test]
fn labels_become_nested_objects() {
    let items = parse("plugin \"raw_exec\" {\n config { enabled = true }\n}").unwrap();
    assert_eq!(items[0].key, "plugin");
    let Raw::Object(inner) = &items[0].value else { panic!("no object") };
    assert_eq!(inner[0].key, "raw_exec");
}

#[test]
fn json_is_read_leniently() {
    let items = parse("{\"server\": {\"enabled\": true,}, \"a\": 1 } trailing").unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(parse("{\"server\": {\"enabled\": true").unwrap().len(), 1);
    assert!(parse("[{}]").is_err());
    assert!(parse("{ // no\n\"a\": 1}").is_err());
}

#[test]
fn an_open_block_is_named_with_its_place() {
    let error = parse("server {\n  enabled = true\n").unwrap_err();
    assert_eq!(error.to_string(), "At 3:1: object expected closing RBRACE got: EOF");
}

#[test]
fn nesting_is_bounded() {
    assert!(parse(&"a {".repeat(200)).is_err());
    assert!(parse(&format!("a = {}", "[".repeat(200))).is_err());
    assert!(parse(&format!("{}{{}}", "a ".repeat(200))).is_err());
    assert!(parse(&format!("{}a {{}}{}", "a {".repeat(40), "}".repeat(40))).is_ok());
}

#[test]
fn heredocs_keep_their_lines() {
    let text = |source: &str| parse(source).map(|items| items[0].value.clone());
    assert_eq!(text("a = <<EOF\n x\n\ny\nEOF\n"), Ok(Raw::Text(" x\n\ny\n".into())));
    assert_eq!(text("a = <<-E\n  x\n\n   y\n  E\n"), Ok(Raw::Text("x\n\n y\n".into())));
    assert!(text("a = <<EOF\nx\n").is_err() && text("a = <x").is_err() && text("a = <<").is_err());
}

/// What has no place: keys and values, in order.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Leaf(Raw),
    List(Vec<Tree>),
    Block(Vec<(String, Tree)>),
}

fn tree(raw: &Raw) -> Tree {
    match raw {
        Raw::List(list) => Tree::List(list.iter().map(|(raw, _)| tree(raw)).collect()),
        Raw::Object(items) => block(items),
        leaf => Tree::Leaf(leaf.clone()),
    }
}

fn block(items: &[Item]) -> Tree {
    Tree::Block(items.iter().map(|item| (item.key.clone(), tree(&item.value))).collect())
}

/// Writes a tree as HCL 1, or as JSON.
fn write(tree: &Tree, json: bool, out: &mut String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match tree {
        Tree::Leaf(Raw::Text(text)) => out.push_str(&quoted(text)),
        Tree::Leaf(Raw::Number(number)) => out.push_str(number),
        Tree::Leaf(Raw::Bool(on)) => out.push_str(if *on { "true" } else { "false" }),
        Tree::Leaf(_) => {}
        Tree::List(list) => {
            out.push('[');
            for (n, tree) in list.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                write(tree, json, out);
            }
            out.push(']');
        }
        Tree::Block(items) => {
            out.push('{');
            write_items(items, json, out);
            out.push('}');
        }
    }
}

fn write_items(items: &[(String, Tree)], json: bool, out: &mut String) {
    for (n, (key, tree)) in items.iter().enumerate() {
        let between = match (json, tree) {
            (true, _) => ":",
            (false, Tree::Block(_)) => " ",
            (false, _) => " = ",
        };
        out.push_str(if n == 0 {
            ""
        } else if json {
            ","
        } else {
            "\n# and\n"
        });
        out.push_str(&serde_json::Value::from(key.as_str()).to_string());
        out.push_str(between);
        write(tree, json, out);
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        "[ -!#-\\[\\]-~\u{e4}\n\t]{0,8}".prop_map(Raw::Text),
        (-99..99i32).prop_map(|n| Raw::Number(n.to_string())),
        any::<bool>().prop_map(Raw::Bool),
    ];
    leaf.prop_map(Tree::Leaf).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            proptest::collection::vec(("[a-z ]{1,4}", inner), 0..4).prop_map(Tree::Block),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_an_error(text: String) {
        let _ = parse(&text);
        let _ = parse(&format!("{{{text}"));
    }

    #[test]
    fn what_is_written_is_read_back(items in proptest::collection::vec(("[a-z ]{1,4}", trees()), 0..4), json: bool) {
        let mut text = String::from(if json { "{" } else { "" });
        write_items(&items, json, &mut text);
        text.push_str(if json { "}" } else { "\n" });
        let read = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(block(&read), Tree::Block(items), "{}", text);
    }

    #[test]
    fn whatever_comes_is_an_answer_with_a_place_inside_the_text(text in "[ a-c{}\\[\\]=:,\"#/*<\\n\\\\u0-9-]{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.pos.line <= text.lines().count() + 1);
        }
    }

    #[test]
    fn strings_go_through_json(text in "\\PC{0,20}") {
        let items = parse(&serde_json::json!({ "a": text }).to_string()).unwrap();
        prop_assert_eq!(&items[0].value, &Raw::Text(text));
    }
}
