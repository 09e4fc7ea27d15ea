//! The arguments of a program.

/// Options and operands of a command. `valued` are the short options that take a value.
pub(super) struct Arguments<'a> {
    pub(super) flags: String,
    values: Vec<(char, &'a str)>,
    pub(super) operands: Vec<&'a str>,
}

pub(super) fn arguments<'a>(args: &[&'a str], valued: &str) -> Option<Arguments<'a>> {
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
    pub(super) fn only(&self, known: &str) -> bool {
        self.flags.chars().all(|c| known.contains(c))
    }

    pub(super) fn value(&self, short: char) -> Option<&'a str> {
        self.values.iter().rfind(|(c, _)| *c == short).map(|(_, value)| *value)
    }
}
