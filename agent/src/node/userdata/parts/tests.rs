use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::node::seed::{Metadata, Seed};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn no_fetch(_: Include<'_>) -> Result<Vec<u8>, String> {
    Err("not fetched here".into())
}

/// Labels and texts, and findings as people read them.
fn of(payload: &[u8]) -> (Vec<(String, String)>, Vec<String>) {
    with(payload, Some(0), &mut no_fetch)
}

fn machine(launch_index: Option<u32>) -> Machine {
    Machine { launch_index, variables: Variables::of(&Seed::default()) }
}

fn with(payload: &[u8], index: Option<u32>, fetch: &mut Fetch<'_>) -> (Vec<(String, String)>, Vec<String>) {
    let out = expand("user-data", payload, &machine(index), fetch);
    let parts = out.parts.into_iter().map(|part| (part.label, part.text)).collect();
    (parts, out.findings.iter().map(ToString::to_string).collect())
}

/// As Terraform's `cloudinit_config` writes it.
const TERRAFORM: &str = "Content-Type: multipart/mixed; boundary=\"MIMEBOUNDARY\"\nMIME-Version: 1.0\r\n\r\n\
    --MIMEBOUNDARY\r\nContent-Disposition: attachment; filename=\"base.yaml\"\r\nContent-Transfer-Encoding: 7bit\r\n\
    Content-Type: text/cloud-config\r\nMime-Version: 1.0\r\n\r\n#cloud-config\nhostname: a\n\r\n\
    --MIMEBOUNDARY\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: text/cloud-config\r\nMime-Version: 1.0\r\n\
    X-Merge-Type: list(append)+dict()\r\n\r\n#cloud-config\nntp: {}\n\r\n--MIMEBOUNDARY--\r\n";

#[test]
fn plain_text_stays_and_has_no_number() {
    let text = "#cloud-config\nhostname: a\n";
    let want = vec![("user-data".to_owned(), text.to_owned())];
    for payload in [
        text.as_bytes().to_vec(),
        format!("\u{feff}{text}").into_bytes(),
        gzip(text.as_bytes()),
        BASE64_STANDARD.encode(text).into_bytes(),
        BASE64_STANDARD.encode(gzip(text.as_bytes())).into_bytes(),
        gzip(BASE64_STANDARD.encode(BASE64_STANDARD.encode(text)).as_bytes()),
        format!("Content-Type: text/cloud-config\n\n{text}").into_bytes(),
    ] {
        assert_eq!(of(&payload), (want.clone(), vec![]));
    }
    assert_eq!(of(b" \n"), (vec![], vec![]));
}

#[test]
fn what_terraform_makes_by_default() {
    for payload in [TERRAFORM.into(), BASE64_STANDARD.encode(gzip(TERRAFORM.as_bytes())).into_bytes()] {
        let out = expand("user-data", &payload, &machine(None), &mut no_fetch);
        assert!(out.findings.is_empty());
        let labels: Vec<_> = out.parts.iter().map(|part| part.label.as_str()).collect();
        assert_eq!(labels, ["user-data part 1 (base.yaml)", "user-data part 2"]);
        assert_eq!(out.parts[0].text, "#cloud-config\nhostname: a\n");
        assert_eq!(out.parts[1].headers.merge_type.as_deref(), Some("list(append)+dict()"));
    }
}

#[test]
fn all_packings_inside_a_message() {
    let config = "#cloud-config\na: 1\n";
    let archive =
        format!("#cloud-config-archive\n- content: |\n    {}\n  filename: in.yaml\n", config.replace('\n', "\n    "));
    let text = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n\
         --i\nContent-Type: application/x-gzip\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=z.gz\n\n{}\n\
         --i\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config=0Aa: 1=0A=\n\n--i--\n\
         --o\n\n{archive}\n--o\nContent-Type: text/x-shellscript\n\n{config}\n--o\nContent-Type: text/cloud-config\n\na: 1\n--o--\n",
        BASE64_STANDARD.encode(gzip(config.as_bytes()))
    );
    let (parts, findings) = of(text.as_bytes());
    assert!(findings.is_empty(), "{findings:?}");
    let labels: Vec<_> = parts.iter().map(|(label, _)| label.trim_start_matches("user-data part ")).collect();
    assert_eq!(labels, ["1 (z.gz)", "2", "4 (in.yaml)", "5", "6"]);
    assert!(parts.iter().all(|(_, text)| text.ends_with("a: 1\n") || text == "a: 1"), "{parts:?}");
}

#[test]
fn archives() {
    let text = "#cloud-config-archive\n- hostname: a\n- |\n  #cloud-config\n  a: 1\n- 'a: 1'\n- {type: text/cloud-config, content: 'a: 2', \
        filename: \"b\\n.yaml\"}\n- {content: !!binary YTogMw==}\n- {content: '#!/bin/sh', filename: x.sh}\n- {type: text/part-handler, content: x}\n\
        - 5\n- {content: 'a: 4', launch-index: 1}\n- {content: [x]}\n- [x]\n- {content: ''}\n";
    let (parts, findings) = of(text.as_bytes());
    let texts: Vec<_> = parts.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["#cloud-config\na: 1\n", "a: 1", "a: 2", "a: 3"]);
    assert_eq!(parts[2].0, "user-data part 3 (b .yaml)");
    for (n, want) in [
        "user-data:2:3: a part needs content",
        "user-data part 5 (x.sh):1:1: a script",
        "user-data part 6:1:1: `#part-handler`",
        "user-data:11:3: content must be a string, not a number",
        "ignored: user-data part 7:1:1: is for the machine with launch-index 1; this one has 0",
        "user-data:13:13: content must be a string, not a list",
        "user-data:14:3: a part must be",
    ]
    .iter()
    .enumerate()
    {
        assert!(findings[n].contains(want), "{want}: {findings:#?}");
    }
    assert_eq!(findings.len(), 7);
    assert!(
        of(b"#cloud-config-archive\na: 1\n").1[0].contains("user-data:2:1: a #cloud-config-archive must be a list")
    );
    assert!(of(b"#cloud-config-archive\n- [\n").1[0].contains("not YAML"));
}

#[test]
fn includes() {
    let asked = std::cell::RefCell::new(Vec::new());
    let mut fetch = |include: Include<'_>| {
        asked.borrow_mut().push((include.url.to_owned(), include.once));
        match include.url {
            "http://h/a?t=hunter2" => Ok(gzip(b"#cloud-config\na: 1\n")),
            "http://h/b" => Ok(b"#include http://h/c".to_vec()),
            "http://h/c" => Ok(TERRAFORM.into()),
            "http://h/loop" => Ok(b"#include\nhttp://h/loop\n".to_vec()),
            _ => Err("status 404".into()),
        }
    };
    let (parts, findings) = with(b"#include\nhttp://h/a?t=hunter2\n#include-once\nhttp://h/b\n", None, &mut fetch);
    assert!(findings.is_empty(), "{findings:?}");
    let labels: Vec<_> = parts.iter().map(|(label, _)| label.trim_start_matches("user-data part ")).collect();
    assert_eq!(labels, ["1 (http://h/a)", "3 (base.yaml)", "4 (http://h/c)"]);
    assert_eq!(asked.borrow().iter().map(|(_, once)| *once).collect::<Vec<_>>(), [false, true, false]);

    let (parts, findings) = with(b"#include http://h/loop", None, &mut fetch);
    assert!(parts.is_empty() && findings.len() == 1 && findings[0].contains("deeper than 3 levels"), "{findings:?}");
    let (_, findings) =
        with(b"#include\nhttp://me:hunter2@h/none\nhttps://h/x\nfile:///etc/passwd\n", None, &mut fetch);
    assert_eq!(findings.len(), 3);
    assert_eq!(findings[0], "refused: user-data:2:1: failed to include http://h/none: status 404");
    assert!(findings[1].contains("user-data:3:1") && findings[1].contains("TLS"), "{findings:?}");
    assert!(findings[2].contains("must be an http address"), "{findings:?}");
}

#[test]
fn a_failed_fetch_is_remembered_as_such() {
    assert!(expand("user-data", b"#include http://h/a", &machine(None), &mut no_fetch).unfetched);
    assert!(!expand("user-data", b"#!/bin/sh", &machine(None), &mut no_fetch).unfetched);
}

#[test]
fn templates() {
    let seed =
        Seed { metadata: Metadata { local_hostname: Some("a".into()), ..Metadata::default() }, ..Seed::default() };
    let machine = Machine { launch_index: None, variables: Variables::of(&seed) };
    let of = |text: &str| {
        let out = expand("user-data", text.as_bytes(), &machine, &mut no_fetch);
        let texts: Vec<_> = out.parts.into_iter().map(|part| part.text).collect();
        (texts, out.findings.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let text = "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}-b\n";
    let want = (vec!["\n#cloud-config\nhostname: a-b\n".to_owned()], vec![]);
    assert_eq!(of(text), want);
    assert_eq!(of(&format!("Content-Type: text/jinja2\n\n{text}")), want);
    for (text, want) in [
        ("## template: jinja\n#cloud-config\nhostname: {{ v2 }}\n", "refused: user-data:3:14: the metadata has no v2"),
        ("## template: jinja\n#!/bin/sh\n", "user-data:1:1: a script"),
        ("## template: jinja\n#include http://h/a\n", "user-data:1:1: filled in, a template must be"),
        ("Content-Type: text/jinja2\n\n#cloud-config\n", "must begin with `## template: jinja`"),
        (
            "Content-Type: text/cloud-config\n\n## template: jinja\n#cloud-config\n",
            "ignored: user-data:1:1: the jinja header",
        ),
    ] {
        let (_, findings) = of(text);
        assert!(findings.len() == 1 && findings[0].contains(want), "{want}: {findings:?}");
    }
}

#[test]
fn launch_index_chooses_before_anything_is_refused() {
    let text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\nLaunch-Index: 0\nContent-Type: text/cloud-config\n\na: 0\n\
        --o\nLaunch-Index: 1\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--o\nLaunch-Index: x\n\n#cloud-config\n--o\nContent-Type: text/cloud-config\n\na: 2\n--o--\n";
    let (parts, findings) = of(text.as_bytes());
    assert_eq!(parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["a: 0", "a: 2"]);
    assert!(
        findings[0].starts_with("ignored: user-data part 2:1:1: is for the machine with launch-index 1"),
        "{findings:?}"
    );
    assert!(findings[1].starts_with("refused: user-data part 3:1:1: launch-index must be a number"), "{findings:?}");
    // A machine that does not know its place takes every part.
    let (parts, findings) = with(text.as_bytes(), None, &mut no_fetch);
    assert_eq!((parts.len(), findings.len()), (2, 2), "{findings:?}");
}

#[test]
fn what_is_wrong_in_a_message_has_the_name_of_its_part() {
    let message = |part: &str| {
        format!(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\n\n#cloud-config\n--o\n{part}\n--o--\n"
        )
    };
    for (part, want) in [
        ("Content-Type: text/x-shellscript; name=a.sh\n\necho", "refused: user-data part 2 (a.sh):1:1: a script"),
        ("Content-Type: text/cloud-boothook\n\n#!", "refused: user-data part 2:1:1: `#cloud-boothook`"),
        ("Content-Type: image/png\n\nx", "unknown content type \"image/png\""),
        ("Content-Transfer-Encoding: base64\n\n?", "user-data part 2:1:1: not base64"),
        ("Content-Type: application/gzip\n\nx", "user-data part 2:1:1: not gzip"),
        (
            "Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n/w==",
            "user-data part 2:1:1: not UTF-8",
        ),
        ("Content-Type: multipart/mixed\n\nx", "user-data part 2:1:1: a multipart type needs a boundary"),
        ("\nhello world", "begins with \"hello world\""),
    ] {
        let (parts, findings) = of(message(part).as_bytes());
        assert!(parts.len() == 1 && findings.len() == 1 && findings[0].contains(want), "{want}: {findings:?}");
    }
    let cut = message("\n#cloud-config").replace("--o--", "");
    assert!(of(cut.as_bytes()).1[0].starts_with("ignored: user-data:1:1: the closing boundary is missing"));
}

#[test]
fn nothing_grows_beyond_its_limits() {
    let bomb = gzip(&vec![b' '; MAX_UNPACKED + 1]);
    assert!(of(&bomb).1[0].contains("unpacks to more than"));
    // Two that fit alone, and not together.
    let half = BASE64_STANDARD.encode(gzip(&vec![b' '; MAX_UNPACKED - (1 << 20)]));
    let part = format!("--o\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{half}\n");
    let two = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n{part}{part}--o--\n");
    let findings = of(two.as_bytes()).1;
    assert!(findings.len() == 1 && findings[0].contains("part 1:1:1: unpacks to more than"), "{findings:?}");
    let deep: String = (0..1000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    let findings = of(deep.as_bytes()).1;
    assert!(findings.iter().any(|finding| finding.contains("nested deeper than")), "{findings:?}");
    let mut nested = b"#cloud-config\n".to_vec();
    for _ in 0..=MAX_DEPTH {
        nested = gzip(&nested);
    }
    assert!(of(&nested).1[0].contains("deeper than"));
    assert!(of(&vec![b'a'; MAX_BYTES + 1]).1[0].contains("more than"));
    let many = format!("#cloud-config-archive\n{}", "- 'a: 1'\n".repeat(MAX_PARTS + 5));
    let (parts, findings) = of(many.as_bytes());
    assert!(
        parts.len() == MAX_PARTS && findings.len() == 1 && findings[0].contains("more than 256 parts"),
        "{findings:?}"
    );
}

#[test]
fn the_beginning_of_what_is_unknown_is_shown() {
    assert_eq!(
        of(b"hostname: a\n").1,
        ["refused: user-data:1:1: the first line must be `#cloud-config`; this begins with \"hostname: a\\n\""]
    );
    // Base64 of nothing known stays what it is.
    assert!(of(b"aGVsbG8gd29ybGQ=").1[0].contains("begins with \"aGVsbG8gd29ybGQ=\""));
    assert!(of(BASE64_STANDARD.encode("#!/bin/sh\n").as_bytes()).1[0].contains("a script"));
}

proptest! {
    #[test]
    fn any_bytes_expand(bytes: Vec<u8>) {
        let _ = of(&bytes);
    }

    #[test]
    fn anything_that_looks_like_parts_expands(text in "(MIME-Version: 1.0\n|Content-Type: (multipart/mixed; boundary=b|text/plain|text/cloud-config|text/x-include-url|application/gzip)\n|--b\n|--b--\n|\n|#cloud-config\n|#cloud-config-archive\n|- |content: |type: |#include |http://h/a\n|Content-Transfer-Encoding: base64\n|YTogMQ==\n|Launch-Index: 1\n){0,30}") {
        let mut fetch = |_: Include<'_>| Ok(text.clone().into_bytes());
        let out = expand("user-data", text.as_bytes(), &machine(Some(0)), &mut fetch);
        prop_assert!(out.parts.len() <= MAX_PARTS);
    }

    #[test]
    fn packing_does_not_change_a_text(text in "[a-z: \n]{0,50}", packing in proptest::collection::vec(any::<bool>(), 0..6)) {
        let text = format!("#cloud-config\n{text}");
        let mut payload = text.clone().into_bytes();
        let mut row = 0;
        for gz in packing {
            // Base64 in base64 is undone three times.
            row = if gz { 0 } else { row + 1 };
            if row < 3 {
                payload = if gz { gzip(&payload) } else { BASE64_STANDARD.encode(&payload).into_bytes() };
            }
        }
        prop_assert_eq!(of(&payload), (vec![("user-data".to_owned(), text)], vec![]));
    }
}
