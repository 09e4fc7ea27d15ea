//! `runcmd` and `bootcmd`: no shell runs them. Each command is recognised as something that this image does by itself
//! ([`absent`]), as something that the agent can do ([`native`]), or refused by name.
//!
//! cloud-init makes one script of all items of a list, so variables and the working directory hold to its end.

mod absent;
mod edit;
mod native;
mod packages;
mod preview;
pub mod shell;
mod state;
mod step;
mod text;
mod values;

pub use edit::Edit;
pub(super) use preview::preview;
pub use step::{Clause, Mode, Places, Step};
pub use text::{Text, Value};

use serde::Serialize;
use shell::{Link, Part, Script, Simple, Statement, Word};
use state::State;

use super::{
    finding::{Finding, Verdict},
    yaml::{self, Node},
};

const NO_SHELL: &str = "there is no shell in this image; what Nomad needs goes into write_files";

/// What the commands ask of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// `bootcmd`: before files are written.
    pub early: Vec<Step>,
    /// `runcmd`: after files are written and the network is up, before Nomad starts.
    pub late: Vec<Step>,
    /// `hostnamectl set-hostname`.
    pub hostname: Option<String>,
}

impl Commands {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing has to be done; why.
    Nothing(String),
    /// The agent does it; what, for people.
    Steps(Vec<Step>, String),
    /// The machine's name.
    Hostname(String),
}

pub(super) fn commands(config: Option<&Node>, findings: &mut Vec<Finding>) -> Commands {
    let mut commands = Commands::default();
    for key in ["bootcmd", "runcmd"] {
        let Some(node) = config.and_then(|c| c.get(key)).filter(|node| !node.is_null()) else { continue };
        let Some(items) = node.sequence() else {
            let message = format!("must be a list, not {}", node.describe());
            findings.push(Finding::new(Verdict::Refused, node.at, key, message));
            continue;
        };
        let mut recogniser = Recogniser::default();
        for (n, item) in items.iter().enumerate() {
            let path = format!("{key}[{n}]");
            for outcome in recogniser.item(item) {
                let (verdict, message) = match outcome {
                    Ok(Done::Nothing(why)) => (Verdict::Ignored, why),
                    Ok(Done::Steps(steps, what)) => {
                        if key == "bootcmd" { &mut commands.early } else { &mut commands.late }.extend(steps);
                        (Verdict::Applied, what)
                    }
                    Ok(Done::Hostname(name)) => {
                        let message = format!("the name is {name}");
                        commands.hostname = Some(name);
                        (Verdict::Applied, message)
                    }
                    Err(why) => (Verdict::Refused, why),
                };
                findings.push(Finding::new(verdict, item.at, path.clone(), message));
            }
        }
    }
    packages::packages(config, findings);
    commands
}

/// Recognises the statements of one script, one after the other.
#[derive(Debug, Default)]
pub struct Recogniser {
    state: State,
    /// Behind an `exit`.
    ended: bool,
}

impl Recogniser {
    /// What becomes of an item of a list: a string is shell text, a list is one command.
    fn item(&mut self, item: &Node) -> Vec<Result<Done, String>> {
        if let Some(words) = item.sequence() {
            let word = |node: &Node| {
                let text = node.scalar().map(|scalar| scalar.text.clone())?;
                Some(Word { parts: vec![Part::Text(text)], glob: false })
            };
            let Some(words) = words.iter().map(word).collect::<Option<Vec<_>>>() else {
                return vec![Err("must hold words only".into())];
            };
            return vec![self.listed(words)];
        }
        if matches!(item.value, yaml::Value::Mapping(_)) {
            return vec![Err("must be a string or a list".into())];
        }
        let outcomes: Vec<_> = self.script(item.text().unwrap_or("")).into_iter().map(|(_, outcome)| outcome).collect();
        if outcomes.is_empty() { vec![Ok(Done::Nothing("nothing to do".into()))] } else { outcomes }
    }

    /// A command whose words are known. `[sh, -c, TEXT]` is the text.
    fn listed(&mut self, words: Vec<Word>) -> Result<Done, String> {
        if words.is_empty() {
            return Ok(Done::Nothing("nothing to do".into()));
        }
        let commands = vec![Simple { words, ..Simple::default() }];
        self.statement(&Statement { line: 1, commands, ..Statement::default() })
    }

    /// All statements of a text, with their lines.
    pub fn script(&mut self, text: &str) -> Vec<(usize, Result<Done, String>)> {
        let several = text.trim_end().contains('\n');
        let mut outcomes = Vec::new();
        for statement in Script::new(text) {
            match statement {
                Ok(statement) => {
                    let outcome = self.statement(&statement);
                    let outcome =
                        outcome.map_err(|why| if several { format!("line {}: {why}", statement.line) } else { why });
                    outcomes.push((statement.line, outcome));
                }
                Err(error) => {
                    let place = if several { format!("line {}: ", error.line) } else { String::new() };
                    outcomes.push((error.line, Err(format!("{place}{} needs a shell: {NO_SHELL}", error.what))));
                }
            }
        }
        outcomes
    }

    /// One pipeline.
    ///
    /// # Errors
    /// Why it is refused; never with an argument, which may be a secret.
    pub fn statement(&mut self, statement: &Statement) -> Result<Done, String> {
        if self.ended {
            return Ok(Done::Nothing("stands behind `exit`".into()));
        }
        if statement.link == Link::Or {
            // Everything that is recognised succeeds, so what stands behind `||` would never run.
            return Ok(Done::Nothing("the command before it succeeds, so this one has no turn".into()));
        }
        if let Some(why) = packages::repository(statement, &self.state) {
            return Ok(Done::Nothing(why));
        }
        match statement.commands.as_slice() {
            [only] => self.simple(only),
            [source, tee] => native::tee(source, tee, &self.state).unwrap_or_else(|| Err(refusal(source))),
            [first, ..] => Err(refusal(first)),
            [] => Ok(Done::Nothing("nothing to do".into())),
        }
    }

    fn simple(&mut self, simple: &Simple) -> Result<Done, String> {
        if simple.words.is_empty() {
            for (name, word) in &simple.assignments {
                let value = self.state.expand(word).map_err(|why| format!("`{name}` needs a shell: {why}"))?;
                self.state.set(name, value);
            }
            return match &simple.output {
                Some(output) => native::write(Text::default(), output, &self.state),
                None => Ok(Done::Nothing("a variable for what follows".into())),
            };
        }
        let name = shown(simple);
        if let Some(done) = native::print(simple, &self.state) {
            return done;
        }
        let needs = |why: String| format!("{name:?} needs a shell: {why}; {NO_SHELL}");
        let glob = simple.words.iter().any(|word| word.glob && !native::is_children(word));
        let words: Vec<Text> =
            simple.words.iter().map(|word| self.state.expand(word)).collect::<Result<_, _>>().map_err(needs)?;
        if let [export, rest @ ..] = words.as_slice()
            && matches!(export.literal(), Some("export" | "readonly" | "local" | "declare"))
        {
            for (name, value) in rest.iter().filter_map(Text::assignment) {
                self.state.set(name, value);
            }
            return Ok(Done::Nothing("a variable for what follows".into()));
        }
        if let [sed, ..] = words.as_slice()
            && let Some(done) = native::sed(sed, &words, &self.state)
        {
            return done;
        }
        let Some(words) = words.iter().map(|text| text.literal().map(str::to_owned)).collect::<Option<Vec<_>>>() else {
            return Err(needs("a value that only the running machine knows stands in its arguments".into()));
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = without_sudo(&words);
        if let ["sh" | "bash" | "/bin/sh" | "/bin/bash", "-c", text] = words {
            return self.nested(text);
        }
        if let ["cloud-init-per", _, _, rest @ ..] = words {
            let words = rest.iter().map(|w| Word { parts: vec![Part::Text((*w).to_owned())], glob: false }).collect();
            return self.listed(words);
        }
        if let Some(done) = self.builtin(words) {
            return done;
        }
        if let Some(why) = absent::judge(words) {
            // Its output would be missing in the file.
            return if simple.output.is_none() { Ok(Done::Nothing(why)) } else { Err(refusal(simple)) };
        }
        if glob || simple.output.is_some() || simple.input.is_some() {
            return Err(refusal(simple));
        }
        native::judge(words, &self.state).unwrap_or_else(|| Err(refusal(simple)))
    }

    /// `sh -c TEXT`, whose statements become one outcome.
    fn nested(&self, text: &str) -> Result<Done, String> {
        if text.contains("sh -c") {
            return Err(format!("\"sh\" within itself is not followed: {NO_SHELL}"));
        }
        // What it sets is gone when it ends.
        let mut inner = Self { state: self.state.clone(), ended: false };
        let mut steps = Vec::new();
        let mut what = String::from("nothing to do");
        for (_, outcome) in inner.script(text) {
            match outcome? {
                Done::Nothing(why) => what = why,
                Done::Steps(more, _) => steps.extend(more),
                Done::Hostname(name) => return Ok(Done::Hostname(name)),
            }
        }
        Ok(if steps.is_empty() { Done::Nothing(what) } else { Done::Steps(steps, "done by the agent".into()) })
    }

    /// Commands that change the state of the script itself.
    fn builtin(&mut self, words: &[&str]) -> Option<Result<Done, String>> {
        match words {
            ["exit", ..] => {
                self.ended = true;
                Some(Ok(Done::Nothing("what follows has no turn".into())))
            }
            ["cd"] => {
                self.state.change_directory("/root".into());
                Some(Ok(Done::Nothing("the working directory of what follows".into())))
            }
            ["cd" | "pushd", path] => {
                self.state.change_directory(self.state.path(path));
                Some(Ok(Done::Nothing("the working directory of what follows".into())))
            }
            ["hostnamectl", "set-hostname" | "hostname", name] | ["hostname", name] if !name.starts_with('-') => {
                Some(super::hostname::check(name).map(|()| Done::Hostname((*name).to_owned())))
            }
            _ => None,
        }
    }
}

/// A refusal by the program's name, which is all that a message shows of a command: its arguments, and what is
/// assigned before it (`TOKEN=...`), may be secrets. Its place in the user-data says the rest.
fn refusal(simple: &Simple) -> String {
    format!("{:?} is not run: {NO_SHELL}", shown(simple))
}

/// The program's name for a message.
fn shown(simple: &Simple) -> String {
    let text = |word: &Word| match word.parts.first() {
        Some(Part::Text(text)) => text.clone(),
        _ => "$...".into(),
    };
    let mut words = simple.words.iter().map(text);
    let first = words.next().unwrap_or_default();
    let name = if first == "sudo" { words.find(|w| !w.starts_with('-') && !w.contains('=')) } else { None };
    let name = name.unwrap_or(first);
    let name = program_name(&name);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !"_-.+:[$".contains(c)).unwrap_or(name.len());
    name[..end].to_owned()
}

/// The last part of a path.
fn program_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The command behind `sudo` and its options; for another user it is another command.
fn without_sudo<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    let mut rest = words;
    while let [wrapper, tail @ ..] = rest {
        match program_name(wrapper) {
            "sudo" => {
                rest = tail;
                while let [flag, tail @ ..] = rest {
                    match *flag {
                        "-u" if tail.first() == Some(&"root") => rest = &tail[1..],
                        "-E" | "-H" | "-n" | "-S" | "--" => rest = tail,
                        _ if flag.contains('=') && !flag.starts_with('-') => rest = tail,
                        _ => break,
                    }
                }
            }
            "nice" | "nohup" | "command" | "exec" if !tail.is_empty() && !tail[0].starts_with('-') => rest = tail,
            _ => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests;
