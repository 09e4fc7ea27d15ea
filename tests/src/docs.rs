//! What the documents name is there: files, modules, targets of make, and the tests that their tables promise.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The documents at the top of the repository.
const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "SPECIFICATION.md", "SECURITY.md", "CONTRIBUTING.md", "GLOSSARY.md"];
/// Folders that a path of the repository begins with.
const TOP: [&str; 7] = ["agent/", "builder/", "images/", "qemu/", "tests/", ".cargo/", ".ci/"];
/// Where the crates are.
const CRATES: [&str; 5] = ["agent", "builder", "qemu", "tests", "tests/standin"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn document(name: &str) -> String {
    fs::read_to_string(top().join(name)).unwrap()
}

/// The lines of a document that are prose, with their numbers: no examples.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            lines.push((number + 1, line));
        }
    }
    lines
}

/// What stands in backticks on a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Every Rust file of a folder, deeply.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files of a module and of those in it: `a/b.rs`, and all of `a/b/`.
fn module(crate_name: &str, path: &str) -> Vec<PathBuf> {
    let at = top().join(crate_name).join("src").join(path.replace("::", "/"));
    let mut files = Vec::new();
    sources(&at, &mut files);
    files.extend([at.with_extension("rs")].into_iter().filter(|file| file.exists()));
    files
}

fn has_tests(files: &[PathBuf]) -> bool {
    files.iter().any(|file| fs::read_to_string(file).unwrap().contains("#[test]"))
}

/// Names of the steps and tests of a suite.
fn steps(suite: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(top().join("tests/tests").join(suite).with_extension("rs")).ok()?;
    let step = |line: &str| {
        let line = line.trim();
        let name = line.strip_prefix("(\"").and_then(|rest| rest.split_once('"')).map(|(name, _)| name);
        name.or_else(|| line.strip_prefix("fn ")?.split(['(', '<']).next()).map(str::to_owned)
    };
    Some(text.lines().filter_map(step).collect())
}

/// What is wrong with one item of a table's cell: `` `vm_x`: words of a step ``, `` `crate`: `module`, `tests/file` ``, `` `make x` ``.
fn mistake(item: &str) -> Option<String> {
    let mut named = spans(item);
    let Some(first) = named.next() else { return Some("names no test".to_owned()) };
    if first.starts_with("make ") {
        return spans(item).find(|span| !is_target(span)).map(|span| format!("{span}: no such target"));
    }
    if let Some(steps) = steps(first) {
        let words = item.split_once("`: ").map_or("", |(_, words)| words);
        let wanted = words.to_lowercase().replace([' ', '-'], "_");
        let found = steps.iter().any(|step| step.contains(&wanted));
        return (!found).then(|| format!("{first} has no step with {words:?} in its name"));
    }
    if !CRATES.contains(&first) {
        return Some(format!("{first} is neither a suite nor a crate"));
    }
    let mut named = named.filter(|name| *name != "veritysetup").peekable();
    if named.peek().is_none() {
        return Some(format!("names nothing of {first}"));
    }
    named.find_map(|name| {
        let found = match name.strip_prefix("tests/") {
            Some(file) => top().join(first).join("tests").join(file).with_extension("rs").exists(),
            None => has_tests(&module(first, name)),
        };
        (!found).then(|| format!("{first} has no tests in {name}"))
    })
}

/// Every row of SECURITY.md's features and SPECIFICATION.md's budgets names a test, and it is there.
#[test]
fn every_promise_has_a_test_that_exists() {
    for name in ["SECURITY.md", "SPECIFICATION.md"] {
        let text = document(name);
        let mut rows = 0;
        let mut promises = false;
        for (number, line) in prose(&text) {
            let cells: Vec<&str> = line.split(" | ").collect();
            let last = cells.last().unwrap().trim_end_matches('|').trim();
            promises = line.starts_with('|') && (promises || last == "test");
            if !promises || last == "test" || line.starts_with("|-") {
                continue;
            }
            rows += 1;
            for item in last.split("; ") {
                assert_eq!(mistake(item), None, "{name}:{number}: {line}");
            }
        }
        assert!(rows > 20, "{name} has {rows} rows with tests");
    }
}

fn is_target(span: &str) -> bool {
    let makefile = document("Makefile");
    let words = span.split_whitespace().skip(1).filter(|word| !word.contains('='));
    words.into_iter().all(|word| makefile.lines().any(|line| line.starts_with(&format!("{word}:"))))
}

/// Whether a path exists; `*` stands for anything in its last part. Paths of a crate may leave out the crate.
fn is_there(path: &str) -> bool {
    let bases =
        [top()].into_iter().chain(CRATES.iter().flat_map(|name| [top().join(name), top().join(name).join("src")]));
    let (folder, last) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    bases.into_iter().any(|base| {
        if let Some((before, after)) = last.split_once('*') {
            let mut names =
                fs::read_dir(base.join(folder)).into_iter().flatten().map(|entry| entry.unwrap().file_name());
            return names
                .any(|name| name.to_str().is_some_and(|name| name.starts_with(before) && name.ends_with(after)));
        }
        let at = base.join(path);
        at.exists() || Path::new(&format!("{}.rs", at.display())).exists()
    })
}

/// Whether a name with `::` is a module, or something in one.
fn is_named(name: &str, all: &[(String, String)]) -> bool {
    let inside = |path: &str, part: &str| path == part || path.ends_with(&format!("::{part}"));
    let (outer, last) = name.rsplit_once("::").unwrap();
    all.iter().any(|(path, text)| {
        let item =
            || ["fn ", "struct ", "enum ", "trait ", "mod "].iter().any(|kind| text.contains(&format!("{kind}{last}")));
        let kind = || ["struct ", "enum ", "trait "].iter().any(|kind| text.contains(&format!("{kind}{outer}")));
        let first = name.split("::").next().unwrap();
        let short = name.strip_prefix(&format!("{first}::")).unwrap();
        inside(path, name)
            || (CRATES.contains(&first) && inside(path, short))
            || (inside(path, outer) && item())
            || (kind() && text.contains(&format!("fn {last}")))
    })
}

#[test]
fn what_stands_in_backticks_exists() {
    let mut all = Vec::new();
    for name in CRATES {
        let src = top().join(name).join("src");
        let mut files = Vec::new();
        sources(&src, &mut files);
        for file in files {
            let path = file.strip_prefix(&src).unwrap().with_extension("");
            let path = path.to_str().unwrap().replace('/', "::");
            all.push((path.trim_end_matches("::mod").to_owned(), fs::read_to_string(&file).unwrap()));
        }
    }
    let mut missing = BTreeSet::new();
    let mut looked = 0;
    for name in DOCUMENTS {
        let text = document(name);
        for (number, line) in prose(&text) {
            for span in spans(line) {
                let word = !span.contains([' ', '<', '&', '{']);
                let good = if word
                    && (TOP.iter().any(|top| span.starts_with(top)) || span.ends_with(".rs") && span.contains('/'))
                {
                    is_there(span)
                } else if word && span.ends_with(".rs") {
                    all.iter().any(|(path, _)| format!("{}.rs", path.rsplit("::").next().unwrap()) == span)
                } else if word && (span.starts_with("vm_") || span.starts_with("contract_")) {
                    steps(span).is_some()
                } else if word && span.contains("::") {
                    is_named(span, &all)
                } else if span.starts_with("make ") {
                    is_target(span)
                } else {
                    continue;
                };
                looked += 1;
                if !good {
                    missing.insert(format!("{name}:{number}: {span}"));
                }
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap();
                if !link.contains("://") && !file.is_empty() && !top().join(file).exists() {
                    missing.insert(format!("{name}:{number}: {link}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "the documents name what is not there: {missing:#?}");
    assert!(looked > 150, "only {looked} names were looked at");
}

#[test]
fn a_name_that_is_wrong_is_found_out() {
    for good in [
        "`vm_node`: refuses",
        "`agent`: `init::mounts`, `update::fat`",
        "`builder`: `tests/formats`",
        "`make test`, `make fuzz`",
    ] {
        assert_eq!(mistake(good), None, "{good}");
    }
    for bad in [
        "reviewed",
        "`vm_node`: flies",
        "`vm_nothing`",
        "`agent`: `init::nothing`",
        "`builder`: `tests/nothing`",
        "`make nothing`",
        "`agent`",
    ] {
        assert!(mistake(bad).is_some(), "{bad}");
    }
    assert!(is_there("images/profile-*.toml") && is_there("agent/src/init/") && !is_there("agent/src/nothing.rs"));
    assert!(!is_there("images/nothing-*.toml") && !is_target("make nothing") && is_target("make bench PARTS=sizes"));
    assert!(!is_named("userdata::nothing", &[("node::userdata::parts".to_owned(), "fn some() {}".to_owned())]));
}

/// The table of README.md has every word of the command line that the agent reads by a name of its own, and no other; the platforms that
/// it names are some.
#[test]
fn the_words_of_the_command_line_are_in_the_table() {
    let words = |text: &str, begin: &str, end: &[char]| -> BTreeSet<String> {
        let rest = text.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned());
        rest.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect()
    };
    let readme = document("README.md");
    let section =
        readme.split("\n## ").find(|section| section.starts_with("Words of the kernel's command line")).unwrap();
    let (mut files, mut read) = (Vec::new(), BTreeSet::new());
    sources(&top().join("agent/src"), &mut files);
    // What begins so there is a key of user-data.
    files.retain(|file| !file.to_str().unwrap().contains("/userdata/"));
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        read.extend(words(code, "\"steppe.", &['"']));
    }
    assert_eq!(words(section, "`steppe.", &['=', '`']), read);
    assert!(read.len() > 5, "{read:?}");
    let row = section.lines().find(|line| line.contains("steppe.platform=")).unwrap();
    let named: Vec<&str> = spans(row).skip(1).filter(|name| *name != "...").collect();
    assert!(
        named.len() > 2 && named.iter().all(|name| agent::node::datasource::names().any(|known| known == *name)),
        "{named:?}"
    );
}
