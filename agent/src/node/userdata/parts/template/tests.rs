use proptest::prelude::*;

use super::*;
use crate::node::seed::Metadata;

fn seed() -> Seed {
    Seed {
        platform: "openstack".into(),
        metadata: Metadata {
            instance_id: Some("i-1".into()),
            local_hostname: Some("a".into()),
            private_ipv4: Some("10.0.0.7".into()),
            document: serde_json::json!({
                "meta": {"my-role": "server", "n": 3, "on": true}, "peers": ["a", "b"], "none": null, "text": "x\ny\n",
            }),
            ..Metadata::default()
        },
        ..Seed::default()
    }
}

fn of(text: &str) -> Result<String, String> {
    let text = format!("## template: jinja\n{text}");
    let out = render(&text, &Variables::of(&seed()), 1 << 20).map_err(|(at, why)| format!("{at}: {why}"))?;
    Ok(out.strip_prefix('\n').unwrap().to_owned())
}

/// What Jinja gives for each, with the setting of cloud-init (`trim_blocks`).
const SAME_AS_JINJA: &[(&str, &str)] = &[
    ("{{ v1.instance_id }} {{ instance_id }} {{ v1['instance-id'] }}\n", "i-1 i-1 i-1\n"),
    ("{{ v1.local_hostname }} {{ v1.platform }} {{ cloud_name }}", "a openstack openstack"),
    (
        "{{ ds.meta_data.meta.my_role }} {{ ds.meta_data.meta['my-role'] }} {{ ds.meta_data.meta.n + 1 }}",
        "server server 4",
    ),
    ("{{ ds.private_ipv4 }}", "10.0.0.7"),
    ("{% for p in ds.meta_data.peers %}\n- {{ p }}:4647\n{% endfor %}\nx", "- a:4647\n- b:4647\nx"),
    ("{% for p in ds.meta_data.peers -%}\n {{ p }}{{ ',' if not loop.last }}\n{%- endfor %} x", "a,b x"),
    ("{% for k, v in ds.meta_data.meta.items() %}{{ k }}={{ v }} {% endfor %}", "my-role=server n=3 on=True "),
    ("{% for p in [] %}{% else %}none{% endfor %}{% for i in range(1, 4) %}{{ i }}{% endfor %}", "none123"),
    ("{% if v1.region %}r{% elif v1.platform == 'openstack' %}o{% else %}none{% endif %}", "o"),
    ("{% if v1.region is defined %}r{% endif %}{{ ds.meta_data.peers | join(',') | upper }}", "A,B"),
    ("{{ v1.region | default('here') }} {{ ds.meta_data.none | default('x') }} {{ '' | d('x', true) }}", "here None x"),
    ("{% set x = 'a-b' %}\n{{ x.split('-')[0] }}{{ x | replace('-', '.') }}{# a note #}\n", "aa.b"),
    ("{% raw %}{{ GetPrivateIP }}{% endraw %}", "{{ GetPrivateIP }}"),
    ("{{ '}}' ~ \"%}\" ~ 1 }}", "}}%}1"),
    ("{{ 'a' in ds.meta_data.peers and 'c' not in ds.meta_data.peers }} {{ not true or 1 > 2 }}", "True False"),
    ("{{ ds.meta_data.peers[-1] }}{{ ds.meta_data.peers.0 }}{{ ds.meta_data.peers | length }}{{ 'xyz'[1] }}", "ba2y"),
    ("{{ ds.meta_data.text | indent(2) }}|{{ ' a ' | trim }}|{{ '7' | int + 1 }}|{{ -1 + 2 - 3 }}", "x\n  y\n|a|8|-2"),
    ("{{ 'x' if false else 'y' }}{{ (1 == 1) and 'z' }}{{ none is none }}{{ '10' < '9' }}", "yzTrueTrue"),
    ("a {%- if true %} b {% endif -%}   c", "a b c"),
    ("{{ 'aBc'.upper() }}{{ 'abc'.startswith('ab') }}{{ ' a'.strip() }}", "ABCTruea"),
];

#[test]
fn what_is_understood_means_what_jinja_means() {
    for (text, want) in SAME_AS_JINJA {
        assert_eq!(of(text).as_deref(), Ok(*want), "{text}");
    }
}

#[test]
fn lists_and_maps_are_shown_as_yaml_reads_them() {
    assert_eq!(
        of("{{ ds.meta_data.peers }} {{ ds.meta_data.meta | tojson }}").unwrap(),
        r#"["a","b"] {"my-role":"server","n":3,"on":true}"#
    );
}

#[test]
fn what_cannot_be_filled_in_is_an_error_with_its_place() {
    for (text, want) in [
        (
            "#cloud-config\nfqdn: {{ v1.instance_id }}.{{ v1.regoin }}",
            "3:31: the metadata has no v1.regoin; `| default(",
        ),
        ("a: {{ ds.meta_data.x.y }}", "2:7: the metadata has no ds.meta_data.x.y"),
        ("a: {{ GetPrivateIP }}", "2:7: the metadata has no GetPrivateIP"),
        ("a: {{ v1.region | upper }}", "2:7: the metadata has no v1.region"),
        ("a: {{ 'x' | frobnicate }}", "2:13: there is no filter \"frobnicate\""),
        ("a: {{ 'x'.frob() }}", "2:10: there is no method \"frob\""),
        ("a: {{ lookup('env') }}", "2:7: there is no function \"lookup\""),
        ("a: {{ 1 is odd }}", "2:12: \"odd\" is no test"),
        ("a: {% if %}", "2:10: an expression is missing"),
        ("a: {% if 1 %}", "2:4: `endif` is missing"),
        ("a: {% endif %}", "2:4: `endif` ends nothing"),
        ("{% if 1 %}{% endfor %}", "2:11: `endfor` stands where `endif`"),
        ("{% if 1 %}{% else %}{% else %}{% endif %}", "2:21: `else` stands where `endif`"),
        ("{% for a in 1 %}{% endfor %}", "2:13: `for` needs a list"),
        ("{% for a, b in [[1]] %}{% endfor %}", "2:16: an item is not 2 values"),
        ("{% for a of b %}", "2:10: `in` is missing"),
        ("a: {{ GetPrivateIP", "2:4: `}}` is missing"),
        ("{{ 'a }}", "2:1: `}}` is missing"),
        ("{% raw %}x", "2:1: `endraw` is missing"),
        ("{% include 'x' %}", "2:1: the block \"include\" is not understood"),
        ("{% macro a() %}{% endmacro %}", "2:1: the block \"macro\""),
        ("{{ 1 2 }}", "2:6: this is not understood"),
        ("{{ 1 + 'a' }}", "2:8: `+` does not go"),
        ("{{ x[1:2] }}", "2:7: `]` is missing"),
        ("{{ 2 * 3 }}", "2:6: '*' is not understood"),
    ] {
        let why = of(text).unwrap_err();
        assert!(why.starts_with(want), "{text}: {why}");
    }
}

#[test]
fn work_memory_and_depth_are_bounded() {
    for text in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned(),
        "{{ range(99999999999) }}".into(),
        format!("{{% set x = 'xxxxxxxx' %}}{}", "{% set x = x ~ x %}".repeat(60)),
        format!("{{% set x = 'aaaaaaaa' %}}{}", "{% set x = x | replace('a', 'aaaaaaaa') %}".repeat(60)),
        format!("{{% set x = [1] %}}{}", "{% set x = [x, x] %}".repeat(60)),
        format!("{{% set x = [1] %}}{}", "{% set x = [x] %}".repeat(5000)),
        format!("{{% for a in range(2000) %}}{}{{% endfor %}}", "x".repeat(1000)),
        format!("{}{}", "{% if 1 %}".repeat(5000), "{% endif %}".repeat(5000)),
        format!("{}{}", "{% for a in [1] %}".repeat(5000), "{% endfor %}".repeat(5000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(5000), "]".repeat(5000)),
        format!("{{{{ {}1{} }}}}", "a[".repeat(5000), "]".repeat(5000)),
        format!("{{{{ {}1 }}}}", "1 if 1 else ".repeat(5000)),
    ] {
        let why = of(&text).unwrap_err();
        let bounded = ["too much work", "too deep", "longer than"].iter().any(|limit| why.contains(limit));
        assert!(bounded, "{}: {why}", &text[..60.min(text.len())]);
    }
    // Rows are no depth.
    for (begin, row) in [("true", " and true"), ("'a'", " ~ 'a'"), ("", "not "), ("'a'", " | lower")] {
        assert!(
            of(&format!("{{{{ {begin}{}{} }}}}", row.repeat(2000), if begin.is_empty() { "1" } else { "" })).is_ok(),
            "{row}"
        );
    }
}

/// The node's sequence has this much stack, in a debug build too.
#[test]
fn the_deepest_template_fits_the_stack() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(MAX_DEPTH - 2), ")".repeat(MAX_DEPTH - 2));
    let text = format!("{}{deep}{}", "{% for a in [1] %}".repeat(MAX_DEPTH - 2), "{% endfor %}".repeat(MAX_DEPTH - 2));
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(move || of(&text)).unwrap();
    assert_eq!(thread.join().unwrap().as_deref(), Ok("1"));
}

#[test]
fn names_and_values_of_other_seeds_are_not_there() {
    let out = render("## template: jinja\n{{ v1.instance_id }}", &Variables::of(&Seed::default()), 100);
    assert!(out.unwrap_err().1.contains("the metadata has no v1.instance_id"));
}

proptest! {
    #[test]
    fn any_text_is_filled_in_or_an_error(text: String) {
        let _ = of(&text);
    }

    #[test]
    fn text_without_tags_stays(text in "[a-z }%#\n\u{e4}]{0,60}") {
        prop_assert_eq!(of(&text), Ok(text));
    }

    #[test]
    fn template_looking_text_is_filled_in_or_an_error(text in "(\\{\\{|\\}\\}|\\{%-?|-?%\\}| for | in | if | endif | endfor | else | elif | set | raw | endraw |v1|ds|loop|\\.|meta_data|peers|\\||join|default|\\(|\\)|\\[|\\]|'|==|=|1|-|~|not |and |is defined|items|\n| |\u{e4}){0,50}") {
        let _ = of(&text);
    }
}
