//! Commands that print, with their output in a file.

use super::{
    super::{
        Done, NO_SHELL, program_name,
        shell::{Output, Part, Simple, Word},
        state::State,
        step::Step,
        text::Text,
        without_sudo,
    },
    Outcome,
};

/// `echo`, `printf` and `cat` of a here-document, with their output in a file.
pub(in super::super) fn print(simple: &Simple, state: &State) -> Option<Outcome> {
    let output = simple.output.as_ref()?;
    Some(printed(simple, state)?.and_then(|content| write(content, output, state)))
}

/// `... | tee FILE`, and `tee FILE` with a here-document.
pub(in super::super) fn tee(source: &Simple, tee: &Simple, state: &State) -> Option<Outcome> {
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
pub(in super::super) fn write(content: Text, output: &Output, state: &State) -> Outcome {
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
