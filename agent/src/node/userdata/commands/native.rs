//! Commands that the agent does itself.

mod arguments;
mod files;
mod print;

use arguments::arguments;
use files::{copy, install, link, make_directories, mode, own, remove, touch};
pub(super) use print::{print, tee, write};

use super::{Done, NO_SHELL, edit, program_name, shell::Word, state::State, step::Step, text::Text};

type Outcome = Result<Done, String>;

/// `sed -i PROGRAM FILE...`; `words` begins with the program or with `sudo`.
pub(super) fn sed(first: &Text, words: &[Text], state: &State) -> Option<Outcome> {
    let skip = usize::from(first.literal() == Some("sudo"));
    if program_name(words.get(skip)?.literal()?) != "sed" {
        return None;
    }
    let mut in_place = false;
    let mut programs = Vec::new();
    let mut files = Vec::new();
    let mut rest = words[skip + 1..].iter();
    while let Some(word) = rest.next() {
        match word.literal() {
            Some("-e" | "--expression") => programs.push(rest.next()?),
            Some("-ie" | "-i -e") => {
                return Some(Err(format!("\"sed\": -ie makes a copy called e: write -i -e; {NO_SHELL}")));
            }
            Some(flag) if flag == "-i" || flag.starts_with("-i.") || flag.starts_with("--in-place") => in_place = true,
            Some("-r" | "-E" | "-s" | "--") => {}
            Some(flag) if flag.starts_with('-') => return Some(unclear("sed")),
            _ if programs.is_empty() => programs.push(word),
            Some(file) => files.push(file.to_owned()),
            None => return Some(unclear("sed")),
        }
    }
    let mut edits = Vec::new();
    for program in programs {
        match edit::program(program) {
            Some(more) => edits.extend(more),
            None => {
                let message = "\"sed\": only s/text/other/g with plain text, `.`, `.*`, `^` and `$` is followed here";
                return Some(Err(format!("{message}; write the file by write_files")));
            }
        }
    }
    if !in_place || files.is_empty() {
        return Some(unclear("sed"));
    }
    let edit = |file: &String| Ok(Step::Edit { path: state.writable(file)?, edits: edits.clone() });
    Some(files.iter().map(edit).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "edits")))
}

/// Whether a word is `DIRECTORY/*`.
pub(super) fn is_children(word: &Word) -> bool {
    word.text().and_then(|text| text.strip_suffix("/*")).is_some_and(|rest| !rest.contains(['*', '?', '[', '{', '~']))
}

fn unclear<T>(program: &str) -> Result<T, String> {
    Err(format!("{program:?} with such arguments is not followed: {NO_SHELL}"))
}

fn steps_done(steps: Vec<Step>, verb: &str) -> Done {
    let first = steps.first().map(path).unwrap_or_default();
    let more = if steps.len() > 1 { " and others" } else { "" };
    let what = format!("{verb} {first}{more}");
    Done::Steps(steps, what)
}

fn path(step: &Step) -> String {
    match step {
        Step::MakeDirectory { path, .. }
        | Step::Touch { path }
        | Step::Link { path, .. }
        | Step::Write { path, .. }
        | Step::Edit { path, .. } => path.clone(),
        Step::Own { path, .. } | Step::Mode { path, .. } | Step::Remove { path } => path.path.clone(),
        Step::Copy { to, .. } | Step::Move { to, .. } => to.clone(),
        Step::Sysctl { key, .. } => key.clone(),
        Step::SysctlFiles { path } => path.clone().unwrap_or_else(|| "/etc/sysctl.d".into()),
        Step::Module { name } => name.clone(),
    }
}

/// A command with known words; `None` when the program is none of these.
pub(super) fn judge(words: &[&str], state: &State) -> Option<Outcome> {
    let (program, args) = words.split_first()?;
    let program = program_name(program);
    let result = match program {
        "mkdir" => make_directories(args, state),
        "touch" => touch(args, state),
        "chown" | "chgrp" => own(program, args, state),
        "chmod" => mode(args, state),
        "ln" => link(args, state),
        "cp" | "mv" => copy(program, args, state),
        "rm" => remove(args, state),
        "install" => install(args, state),
        "sysctl" => sysctl(args, state),
        "modprobe" => modprobe(args),
        _ => return None,
    };
    Some(result.unwrap_or_else(|| unclear(program)))
}

fn sysctl(args: &[&str], state: &State) -> Option<Outcome> {
    let files = |path| Some(Ok(steps_done(vec![Step::SysctlFiles { path }], "reads")));
    match args {
        ["--system" | "-p"] => files(None),
        ["-p" | "--load", path] => match state.writable(path) {
            Ok(path) => files(Some(path)),
            Err(why) => Some(Err(why)),
        },
        args => {
            let args = arguments(args, "")?;
            if !args.only("wqe") || args.operands.is_empty() {
                return None;
            }
            let set = |word: &&str| {
                let (key, value) = word.split_once('=')?;
                let key = key.trim().replace('/', ".");
                let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                (key.chars().all(legal) && !key.contains("..") && !key.is_empty())
                    .then(|| Step::Sysctl { key, value: value.trim().to_owned() })
            };
            args.operands.iter().map(set).collect::<Option<Vec<_>>>().map(|steps| Ok(steps_done(steps, "sets")))
        }
    }
}

fn modprobe(args: &[&str]) -> Option<Outcome> {
    let names: Vec<&str> = args.iter().copied().filter(|arg| !matches!(*arg, "-a" | "-q" | "-v")).collect();
    let legal = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if names.is_empty() || !names.iter().all(legal) {
        return None;
    }
    let steps = names.iter().map(|name| Step::Module { name: name.replace('-', "_") }).collect();
    Some(Ok(steps_done(steps, "loads")))
}
