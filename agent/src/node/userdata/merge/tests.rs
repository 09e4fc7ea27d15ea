use proptest::prelude::*;

use super::*;
use crate::node::userdata::yaml;

/// Joins two texts; the result in flow style, with what could not be joined.
fn merged(how: &str, old: &str, new: &str) -> (String, Vec<String>) {
    let mut rules = Rules::default();
    rules.parse_text(how).unwrap();
    let mut conflicts = Vec::new();
    let load = |text: &str| yaml::load(text).unwrap().root.unwrap();
    let node = rules.merge(load(old), load(new), &mut conflicts);
    (flow(&node), conflicts.into_iter().map(|(_, why)| why).collect())
}

fn flow(node: &Node) -> String {
    let all = |texts: Vec<String>| texts.join(", ");
    match &node.value {
        Value::Scalar(scalar) if scalar.kind == Kind::Null => "~".into(),
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::Sequence(items) => format!("[{}]", all(items.iter().map(flow).collect())),
        Value::Mapping(entries) => {
            format!("{{{}}}", all(entries.iter().map(|(k, v)| format!("{}: {}", flow(k), flow(v))).collect()))
        }
    }
}

/// Each was observed with the mergers of cloud-init.
#[test]
fn the_rules_of_cloud_init() {
    for (how, old, new, want) in [
        // Between parts, when nothing is named: the later key counts, whole.
        (
            "dict(replace)+list()+str()",
            "{a: [1], b: {x: 1}, c: 1}",
            "{a: [2, 3], b: {y: 2}}",
            "{a: [2, 3], b: {y: 2}, c: 1}",
        ),
        // Between sources: the earlier key counts, maps are joined.
        (
            "list()+dict()+str()",
            "{a: [1], b: {x: 1}}",
            "{a: [2], b: {x: 2, y: 2}, c: 3}",
            "{a: [1], b: {x: 1, y: 2}, c: 3}",
        ),
        // What cloud-init's documentation recommends.
        ("list(append)+dict(no_replace,recurse_list)+str()", "{a: [1], b: x}", "{a: [2], b: y}", "{a: [1, 2], b: x}"),
        (
            "list(append)+dict(recurse_array)+str()",
            "{a: [1], b: {c: [x]}}",
            "{a: [2], b: {c: [y]}}",
            "{a: [1, 2], b: {c: [x, y]}}",
        ),
        ("list(prepend)+dict(recurse_list)", "{a: [1]}", "{a: [2]}", "{a: [2, 1]}"),
        ("list(no_replace)+dict(recurse_list)", "{a: [1]}", "{a: [2]}", "{a: [1]}"),
        // Item by item; what the later list has more is lost.
        ("list(replace)+dict(recurse_list)", "{a: [1, 2, 3]}", "{a: [4]}", "{a: [4, 2, 3]}"),
        ("list()+dict(recurse_list)", "{a: [1]}", "{a: [4, 5]}", "{a: [4]}"),
        ("list(recurse_dict)+dict(recurse_list)", "{a: [{x: 1}]}", "{a: [{x: 2, y: 2}]}", "{a: [{x: 1, y: 2}]}"),
        ("list(recurse_list)+dict(recurse_list)", "{a: [[1, 2], 3]}", "{a: [[4]]}", "{a: [[4, 2], 3]}"),
        ("list(recurse_str)+str(append)+dict(recurse_list)", "{a: [x, y]}", "{a: [z]}", "{a: [xz, y]}"),
        // Lists meet other things.
        ("list()+dict()", "{a: [1]}", "{a: {x: 1}}", "{a: {x: 1}}"),
        ("list(no_replace)+dict(recurse_str)", "{a: [1]}", "{a: x}", "{a: [1]}"),
        ("dict(recurse_list)+list(append)", "{a: x}", "{a: [1]}", "{a: x}"),
        ("dict(recurse_list)+list(append)+str()", "{a: x}", "{a: [1]}", "{a: [1]}"),
        ("dict(recurse_list)+list(append)", "{a: {x: 1}}", "{a: [1]}", "{a: {x: 1}}"),
        // Strings.
        ("dict(recurse_str)+str(append)", "{a: x}", "{a: y}", "{a: xy}"),
        ("dict(recurse_str)+str()", "{a: x}", "{a: y}", "{a: y}"),
        ("dict()+str(append)", "{a: x}", "{a: y}", "{a: x}"),
        ("dict(recurse_str)+str(append)", "{a: 1}", "{a: y}", "{a: 1}"),
        // Deleting.
        ("dict(allow_delete)", "{a: 1, b: 2}", "{a: ~}", "{b: 2}"),
        ("dict(replace, allow_delete)", "{a: 1, b: 2}", "{a: ~, b: 3}", "{b: 3}"),
        ("dict(replace)", "{a: 1}", "{a: ~}", "{a: ~}"),
        ("dict()", "{a: 1}", "{a: ~}", "{a: 1}"),
        // A kind of value that has no merger stays.
        ("list(append)", "{a: 1}", "{b: 2}", "{a: 1}"),
        // Of two mergers for one kind the first counts; spelling is forgiving.
        ("Dict(REPLACE) + dict()", "{a: 1}", "{a: 2}", "{a: 2}"),
        ("m_dict(recurse-array,no-replace)+list(append)", "{a: [1]}", "{a: [2]}", "{a: [1, 2]}"),
    ] {
        assert_eq!(merged(how, old, new), (want.to_owned(), vec![]), "{how}: {old} and {new}");
    }
}

#[test]
fn a_list_is_not_joined_with_what_is_none() {
    let (text, conflicts) = merged("list(append)+dict()", "{a: [1]}", "{a: {x: 1}}");
    assert_eq!(
        (text.as_str(), conflicts.as_slice()),
        ("{a: [1]}", &["a map cannot be joined to a list".to_owned()][..])
    );
}

#[test]
fn rules_in_every_notation() {
    let mut want = Rules::default();
    want.parse_text("list(append)+dict(no_replace,recurse_list)+str()").unwrap();
    for text in [
        "[{name: list, settings: [append]}, {name: dict, settings: [no_replace, recurse_list]}, {name: str, settings: []}]",
        "[[list, append], [dict, no_replace, recurse_list], [str]]",
        "'list(append)+dict(no_replace,recurse_list)+str()'",
        "[{name: list, settings: append}, {name: dict, settings: [recurse_array]}, {name: str}]",
    ] {
        let mut rules = Rules::default();
        rules.parse_node(yaml::load(text).unwrap().root.as_ref().unwrap()).unwrap();
        assert_eq!(rules, want, "{text}");
    }
    assert_eq!(Rules::PARTS, {
        let mut rules = Rules::default();
        rules.parse_text("dict(replace)+list()+str()").unwrap();
        rules
    });
    for text in ["append", "tuple()", "dict(replace", "[x]", "[{settings: []}]", "{a: b}"] {
        let node = yaml::load(text).unwrap().root.unwrap();
        assert!(Rules::default().parse_node(&node).is_err(), "{text}");
    }
}

#[test]
fn places_stay_with_their_values() {
    let load = |text: &str, lines| yaml::load_behind(text, lines).unwrap().root.unwrap();
    let joined = Rules::PARTS.merge(load("a: 1\nb: 2\n", 0), load("b: 3\nc: 4\n", 10), &mut Vec::new());
    let lines: Vec<_> = joined.mapping().unwrap().iter().map(|(key, value)| (key.at.line, value.at.line)).collect();
    assert_eq!(lines, [(1, 1), (11, 11), (12, 12)]);
}

fn tree() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec!["1", "x", "~", "'y'", "true"]).prop_map(str::to_owned);
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| {
                format!("{{{}}}", map.iter().map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_joined_to_nothing_changes_nothing(text in tree()) {
        for rules in [Rules::PARTS, Rules::SOURCES] {
            let load = |text: &str| yaml::load(text).unwrap().root.unwrap();
            let joined = rules.merge(load("{}"), load(&format!("{{k: {text}}}")), &mut Vec::new());
            prop_assert_eq!(flow(joined.get("k").unwrap()), flow(&load(&text)));
            let joined = rules.merge(load(&format!("{{k: {text}}}")), load("{}"), &mut Vec::new());
            prop_assert_eq!(flow(joined.get("k").unwrap()), flow(&load(&text)));
        }
    }

    #[test]
    fn any_rules_join_any_trees(
        how in "(dict|list|str|m_dict)\\((append|prepend|replace|no_replace|recurse_str|recurse_list|recurse_dict|allow_delete|,){0,4}\\)(\\+(dict|list|str)\\((append|recurse_list)?\\)){0,2}",
        old in tree(), new in tree(),
    ) {
        let mut rules = Rules::default();
        prop_assert!(rules.parse_text(&how).is_ok());
        let load = |text: &str| yaml::load(text).unwrap().root.unwrap();
        let _ = rules.merge(load(&old), load(&new), &mut Vec::new());
    }

    #[test]
    fn any_text_is_rules_or_an_error(text: String) {
        let _ = Rules::default().parse_text(&text);
    }
}
