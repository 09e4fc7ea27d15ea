//! Commands that the agent does itself.

use super::{
    Done, NO_SHELL, edit, program_name,
    shell::{Output, Part, Simple, Word},
    state::State,
    step::{Mode, Places, Step},
    text::Text,
    without_sudo,
};

type Outcome = Result<Done, String>;

/// `echo`, `printf` and `cat` of a here-document, with their output in a file.
pub(super) fn print(simple: &Simple, state: &State) -> Option<Outcome> {
    let output = simple.output.as_ref()?;
    Some(printed(simple, state)?.and_then(|content| write(content, output, state)))
}

/// `... | tee FILE`, and `tee FILE` with a here-document.
pub(super) fn tee(source: &Simple, tee: &Simple, state: &State) -> Option<Outcome> {
    let (file, append) = tee_target(tee, state)?;
    if source.output.is_some() {
        return None;
    }
    let output = Output { file, append };
    Some(printed(source, state)?.and_then(|content| write(content, &output, state)))
}

fn tee_target(tee: &Simple, state: &State) -> Option<(Word, bool)> {
    let texts: Vec<Text> = tee.words.iter().map(|word| state.expand(word).ok()).collect::<Option<_>>()?;
    let words: Vec<&str> = texts.iter().map(Text::literal).collect::<Option<_>>()?;
    let (file, append) = match without_sudo(&words) {
        ["tee", "-a" | "--append", file] => (*file, true),
        ["tee", file] if !file.starts_with('-') => (*file, false),
        _ => return None,
    };
    (tee.output.is_none()).then(|| (Word { parts: vec![Part::Text(file.to_owned())], glob: false }, append))
}

/// What a command prints, when it is one that prints its arguments or its input.
fn printed(simple: &Simple, state: &State) -> Option<Result<Text, String>> {
    let program = simple.words.first()?.text()?;
    let (program, args) = match program {
        "sudo" => (simple.words.get(1)?.text()?, simple.words.get(2..)?),
        program => (program, simple.words.get(1..)?),
    };
    let expand =
        |word: &Word| state.expand(word).map_err(|why| format!("{program:?} needs a shell: {why}; {NO_SHELL}"));
    match (program_name(program), &simple.input) {
        ("cat", Some(input)) if args.iter().all(|word| word.text() == Some("-")) => Some(expand(input)),
        ("echo", None) => Some(echo(args, &expand)),
        ("printf", None) => Some(printf(args, &expand)),
        // The here-document of a `tee` in front.
        ("tee", Some(_)) => None,
        _ => None,
    }
}

type Expand<'a> = &'a dyn Fn(&Word) -> Result<Text, String>;

fn echo(args: &[Word], expand: Expand<'_>) -> Result<Text, String> {
    let (mut newline, mut escapes) = (true, false);
    let mut args = args;
    while let [flag, rest @ ..] = args {
        match flag.text() {
            Some("-n") => newline = false,
            Some("-e") => escapes = true,
            Some("-ne" | "-en") => (newline, escapes) = (false, true),
            Some("-E") => escapes = false,
            _ => break,
        }
        args = rest;
    }
    let mut text = Text::default();
    for (n, word) in args.iter().enumerate() {
        if n > 0 {
            text.push_str(" ");
        }
        text.append(expand(word)?);
    }
    if escapes {
        text = unescape(&text);
    }
    if newline {
        text.push_str("\n");
    }
    Ok(text)
}

/// `\n`, `\t` and `\\`, in the literal parts.
fn unescape(text: &Text) -> Text {
    let mut new = Text::default();
    for piece in text.pieces() {
        match piece {
            Ok(literal) => {
                let mut chars = literal.chars();
                while let Some(c) = chars.next() {
                    let c = if c == '\\' {
                        chars.next()
                    } else {
                        new.push_str(c.encode_utf8(&mut [0; 4]));
                        continue;
                    };
                    match c {
                        Some('n') => new.push_str("\n"),
                        Some('t') => new.push_str("\t"),
                        Some('\\') => new.push_str("\\"),
                        Some(other) => {
                            new.push_str("\\");
                            new.push_str(other.encode_utf8(&mut [0; 4]));
                        }
                        None => new.push_str("\\"),
                    }
                }
            }
            Err(value) => new.push(value.clone()),
        }
    }
    new
}

/// `%s`, `%%` and escapes; the format is used again until no argument is left.
fn printf(args: &[Word], expand: Expand<'_>) -> Result<Text, String> {
    let refuse = || Err(format!("\"printf\" with such a format is not followed: {NO_SHELL}"));
    let [format, args @ ..] = args else { return refuse() };
    let format = unescape(&expand(format)?);
    let Some(format) = format.literal() else { return refuse() };
    let mut args = args.iter();
    let mut text = Text::default();
    loop {
        let before = args.len();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push_str(c.encode_utf8(&mut [0; 4]));
                continue;
            }
            match chars.next() {
                Some('%') => text.push_str("%"),
                Some('s') => {
                    if let Some(word) = args.next() {
                        text.append(expand(word)?);
                    }
                }
                _ => return refuse(),
            }
        }
        if args.len() == 0 || args.len() == before {
            return Ok(text);
        }
    }
}

/// Text that goes to a file.
pub(super) fn write(content: Text, output: &Output, state: &State) -> Outcome {
    let file = state.expand(&output.file)?;
    let Some(file) = file.literal() else {
        return Err(format!("a file whose name is not known is written: {NO_SHELL}"));
    };
    if output.file.glob {
        return Err(format!("a pattern names the file that is written: {NO_SHELL}"));
    }
    let path = state.writable(file)?;
    let what = format!("{} {path}", if output.append { "adds to" } else { "writes" });
    Ok(Done::Steps(vec![Step::Write { path, content, append: output.append }], what))
}

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

/// Options and operands of a command. `valued` are the short options that take a value.
struct Arguments<'a> {
    flags: String,
    values: Vec<(char, &'a str)>,
    operands: Vec<&'a str>,
}

fn arguments<'a>(args: &[&'a str], valued: &str) -> Option<Arguments<'a>> {
    let mut found = Arguments { flags: String::new(), values: Vec::new(), operands: Vec::new() };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if *arg == "--" {
            found.operands.extend(rest.by_ref());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let short = LONG.iter().find(|(known, _)| *known == name)?.1;
            if valued.contains(short) {
                found.values.push((short, value.or_else(|| rest.next().copied())?));
            } else {
                found.flags.push(short);
            }
        } else if let Some(short) = arg.strip_prefix('-').filter(|short| !short.is_empty()) {
            for (at, c) in short.char_indices() {
                if valued.contains(c) {
                    let attached = &short[at + c.len_utf8()..];
                    let value = if attached.is_empty() { rest.next().copied()? } else { attached };
                    found.values.push((c, value));
                    break;
                }
                found.flags.push(c);
            }
        } else {
            found.operands.push(arg);
        }
    }
    Some(found)
}

/// Long options of the programs below, and their short forms.
const LONG: [(&str, char); 13] = [
    ("parents", 'p'),
    ("mode", 'm'),
    ("verbose", 'v'),
    ("recursive", 'R'),
    ("force", 'f'),
    ("symbolic", 's'),
    ("no-dereference", 'n'),
    ("archive", 'a'),
    ("preserve", 'p'),
    ("owner", 'o'),
    ("group", 'g'),
    ("directory", 'd'),
    ("write", 'w'),
];

impl<'a> Arguments<'a> {
    fn only(&self, known: &str) -> bool {
        self.flags.chars().all(|c| known.contains(c))
    }

    fn value(&self, short: char) -> Option<&'a str> {
        self.values.iter().rfind(|(c, _)| *c == short).map(|(_, value)| *value)
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

fn make_directories(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "m")?;
    let mode = args.value('m').map(|mode| u32::from_str_radix(mode, 8)).transpose().ok()?;
    if !args.only("pv") || args.operands.is_empty() {
        return None;
    }
    let make =
        |path: &&str| Ok(Step::MakeDirectory { path: state.writable(path)?, parents: args.flags.contains('p'), mode });
    Some(args.operands.iter().map(make).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "makes")))
}

fn touch(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    if !args.only("acm") || args.operands.is_empty() {
        return None;
    }
    let touch = |path: &&str| Ok(Step::Touch { path: state.writable(path)? });
    Some(args.operands.iter().map(touch).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "makes")))
}

/// `PATH` or `PATH/*`.
fn places(path: &str, recursive: bool, state: &State) -> Result<Places, String> {
    let (path, children) = path.strip_suffix("/*").map_or((path, false), |path| (path, true));
    Ok(Places { path: state.writable(path)?, children, recursive })
}

fn own(program: &str, args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let (owner, paths) = args.operands.split_first()?;
    if !args.only("Rvhf") || paths.is_empty() {
        return None;
    }
    let (user, group) = match (program, owner.split_once([':', '.'])) {
        ("chgrp", _) => ("", *owner),
        (_, None) => (*owner, ""),
        // `user:` means the user's own group, which here has the user's name.
        (_, Some((user, ""))) => (user, user),
        (_, Some((user, group))) => (user, group),
    };
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let own = |path: &&str| {
        let path = places(path, args.flags.contains('R'), state)?;
        Ok(Step::Own { path, user: some(user), group: some(group) })
    };
    Some(paths.iter().map(own).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "gives an owner to")))
}

fn mode(args: &[&str], state: &State) -> Option<Outcome> {
    // `-x` is a mode, not an option.
    let at = args.iter().position(|arg| !matches!(*arg, "-R" | "-v" | "-f" | "--recursive" | "--verbose"))?;
    let (flags, rest) = args.split_at(at);
    let (change, paths) = rest.split_first()?;
    let change = Mode::parse(change)?;
    if paths.is_empty() || paths.iter().any(|path| path.starts_with('-')) {
        return None;
    }
    let recursive = flags.iter().any(|flag| matches!(*flag, "-R" | "--recursive"));
    let mode = |path: &&str| Ok(Step::Mode { path: places(path, recursive, state)?, change: change.clone() });
    Some(paths.iter().map(mode).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "sets the mode of")))
}

fn link(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let [target, path] = args.operands.as_slice() else { return None };
    if !args.flags.contains('s') || !args.only("sfnvT") {
        return None;
    }
    Some(state.writable(path).map(|path| steps_done(vec![Step::Link { target: (*target).to_owned(), path }], "makes")))
}

fn copy(program: &str, args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let (to, from) = args.operands.split_last()?;
    if !args.only("afpRrvnuT") || from.is_empty() {
        return None;
    }
    let recursive = args.flags.contains(['a', 'r', 'R']);
    let one = |from: &&str| {
        let to = state.writable(to)?;
        // Copying reads any place; moving takes away.
        Ok(if program == "cp" {
            let from = state.path(from);
            if from.split('/').any(|part| part == "..") {
                return Err(format!("{from:?} is not the plain path of a file"));
            }
            Step::Copy { from, to, recursive }
        } else {
            Step::Move { from: state.writable(from)?, to }
        })
    };
    let verb = if program == "cp" { "copies to" } else { "moves to" };
    Some(from.iter().map(one).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, verb)))
}

fn remove(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    if !args.only("rRfvd") || args.operands.is_empty() {
        return None;
    }
    let recursive = args.flags.contains(['r', 'R']);
    let remove = |path: &&str| {
        let path = places(path, recursive, state)?;
        if path.path != "/tmp" && crate::node::files::roots::WRITABLE.contains(&path.path.as_str()) {
            return Err(format!("{} as a whole is not removed", path.path));
        }
        Ok(Step::Remove { path })
    };
    Some(args.operands.iter().map(remove).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "removes")))
}

/// `install -d` makes directories, `install` copies one file; both with owner and mode.
fn install(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "mog")?;
    let mode = args.value('m').map(|mode| u32::from_str_radix(mode, 8)).transpose().ok()?;
    let make_directories = args.flags.contains('d');
    let paths = match args.operands.as_slice() {
        [] => return None,
        paths if make_directories => paths,
        [_, to] if args.only("vDp") => std::slice::from_ref(to),
        _ => return None,
    };
    let owner = |short| args.value(short).map(str::to_owned);
    let steps = || {
        let mut steps = Vec::new();
        for path in paths {
            let path = state.writable(path)?;
            if make_directories {
                steps.push(Step::MakeDirectory { path: path.clone(), parents: true, mode: None });
            } else {
                steps.push(Step::Copy { from: state.path(args.operands[0]), to: path.clone(), recursive: false });
            }
            let place = Places { path, children: false, recursive: false };
            if owner('o').is_some() || owner('g').is_some() {
                steps.push(Step::Own { path: place.clone(), user: owner('o'), group: owner('g') });
            }
            steps.push(Step::Mode { path: place, change: Mode::Set(mode.unwrap_or(0o755)) });
        }
        Ok(steps)
    };
    Some(steps().map(|steps| steps_done(steps, "makes")))
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
