//! `builder convert`: from a shell script to a `#cloud-config`.
//!
//! The script is read by the recogniser that reads `runcmd` on a node. What writes a file becomes an entry of
//! `write_files`, other commands that a node follows become `runcmd`, what a node has no need of is left out, and what it
//! would refuse is listed with its line.

use std::fmt::Write as _;

use agent::node::userdata::commands::{
    Done, Mode, Recogniser, Step,
    shell::{Script, Statement},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// A line that could not be carried over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The line of the script.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// What became of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// The new user-data.
    pub text: String,
    /// What it lacks.
    pub lost: Vec<Lost>,
    /// What was left out because nothing has to be done.
    pub needless: Vec<Lost>,
}

/// A file of `write_files`.
#[derive(Debug, Default)]
struct File {
    path: String,
    content: String,
    append: bool,
    permissions: Option<u32>,
    owner: Option<String>,
}

/// Converts a script.
#[must_use]
pub fn convert(script: &str) -> Converted {
    let mut recogniser = Recogniser::default();
    let mut files: Vec<File> = Vec::new();
    let mut commands: Vec<String> = Vec::new();
    // Variables are wanted only when a command that stays uses one.
    let mut settings: Vec<String> = Vec::new();
    let mut converted = Converted::default();
    for statement in Script::new(script) {
        let statement = match statement {
            Ok(statement) => statement,
            Err(error) => {
                converted.lost.push(Lost { line: error.line, why: format!("{} needs a shell", error.what) });
                continue;
            }
        };
        match recogniser.statement(&statement) {
            Err(why) => converted.lost.push(Lost { line: statement.line, why }),
            Ok(Done::Hostname(name)) => commands.push(format!("hostnamectl set-hostname {name}")),
            Ok(Done::Nothing(why)) if sets(&statement) => {
                settings.push(statement.text.clone());
                converted.needless.push(Lost { line: statement.line, why });
            }
            Ok(Done::Nothing(why)) => converted.needless.push(Lost { line: statement.line, why }),
            Ok(Done::Steps(steps, _)) => {
                if !steps.iter().all(|step| take(step, &mut files)) {
                    commands.append(&mut settings);
                    commands.push(statement.text.clone());
                }
            }
        }
    }
    converted.text = render(&files, &commands, &converted.lost);
    converted
}

/// Whether a statement changes what later ones mean.
fn sets(statement: &Statement) -> bool {
    let [simple] = statement.commands.as_slice() else { return false };
    let word = simple.words.first().and_then(|word| word.text());
    (simple.words.is_empty() && !simple.assignments.is_empty()) || matches!(word, Some("export" | "cd" | "readonly"))
}

/// Takes a step into the files; false when it has to stay a command.
fn take(step: &Step, files: &mut Vec<File>) -> bool {
    match step {
        Step::Write { path, content, append } => {
            let Some(text) = content.literal() else { return false };
            match files.iter_mut().find(|file| file.path == *path) {
                Some(file) if *append => file.content += text,
                Some(file) => text.clone_into(&mut file.content),
                None => {
                    files.push(File { path: path.clone(), content: text.into(), append: *append, ..File::default() });
                }
            }
            true
        }
        Step::Mode { path, change: Mode::Set(mode) } if !path.children && !path.recursive => {
            let file = files.iter_mut().find(|file| file.path == path.path);
            file.map(|file| file.permissions = Some(*mode)).is_some()
        }
        Step::Own { path, user: Some(user), group } if !path.children && !path.recursive => {
            let file = files.iter_mut().find(|file| file.path == path.path);
            let owner = format!("{user}:{}", group.as_ref().unwrap_or(user));
            file.map(|file| file.owner = Some(owner)).is_some()
        }
        _ => false,
    }
}

fn render(files: &[File], commands: &[String], lost: &[Lost]) -> String {
    let mut out = String::from("#cloud-config\n");
    if !lost.is_empty() {
        out += "# Not carried over:\n";
        for lost in lost {
            let _ = writeln!(out, "#   line {}: {}", lost.line, lost.why.replace('\n', " "));
        }
    }
    if !files.is_empty() {
        out += "write_files:\n";
    }
    for file in files {
        let _ = writeln!(out, "  - path: {}", quoted(&file.path));
        if let Some(owner) = &file.owner {
            let _ = writeln!(out, "    owner: {}", quoted(owner));
        }
        if let Some(mode) = file.permissions {
            let _ = writeln!(out, "    permissions: '{mode:04o}'");
        }
        if file.append {
            out += "    append: true\n";
        }
        let _ = write!(out, "    content: {}", block(&file.content, 6));
    }
    if !commands.is_empty() {
        out += "runcmd:\n";
        for command in commands {
            let _ = write!(out, "  - {}", block(command, 4));
        }
    }
    out
}

/// A string in single quotes, where every character but the quote stands for itself; one with line breaks and their like in double
/// quotes with escapes, as JSON has them.
fn quoted(text: &str) -> String {
    if text.contains(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// A string as a block (YAML 1.2, 8.1), or in one line when it has one.
fn block(text: &str, indent: usize) -> String {
    let printable = text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()) && !text.contains('\u{feff}');
    if !printable {
        return format!("!!binary {}\n", BASE64_STANDARD.encode(text));
    }
    if !text.contains('\n') {
        return quoted(text) + "\n";
    }
    let keep = match text.strip_suffix('\n') {
        None => "-",
        Some(body) if body.ends_with('\n') || body.is_empty() => "+",
        Some(_) => "",
    };
    // The indentation is said where the first line would be taken for more of it.
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let pad = " ".repeat(indent);
    let mut out = format!("|{hint}{keep}\n");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            out += &pad;
            out += line;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use agent::{
        facts::Role,
        node::{
            seed::Metadata,
            userdata::{Plan, yaml},
        },
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_commands_and_what_is_lost() {
        let script = "#!/bin/bash\nset -e\nsudo mkdir -p /opt/nomad\nIP=$(hostname -I | awk '{print $1}')\ncat > \
                      /etc/nomad.d/server.hcl <<EOF\nserver {\n  enabled = true\n}\nEOF\nchmod 640 \
                      /etc/nomad.d/server.hcl\nchown nomad:nomad /etc/nomad.d/server.hcl\ncat >> /etc/nomad.d/a.hcl \
                      <<EOF\nbind_addr = \"$IP\"\nEOF\ncurl http://x/install.sh | bash\nsystemctl start nomad\n";
        let converted = convert(script);
        assert_eq!(converted.lost.len(), 1, "{converted:#?}");
        assert_eq!(converted.lost[0].line, 15);
        assert!(converted.text.contains("#   line 15: \"curl\" is not run"), "{}", converted.text);
        let plan = Plan::from_user_data(converted.text.as_bytes(), &Metadata::default(), Role::Server);
        assert_eq!(plan.refused().count(), 0, "{}\n{:?}", converted.text, plan.findings);
        assert_eq!((plan.files.len(), plan.files[0].mode, plan.files[0].user.as_str()), (1, 0o640, "nomad"));
        assert_eq!(plan.files[0].content.0, b"server {\n  enabled = true\n}\n");
        assert_eq!(plan.commands.late.len(), 2, "{}", converted.text);
        assert!(converted.needless.iter().any(|needless| needless.why.contains("systemctl")));
    }

    #[test]
    fn a_script_that_is_nothing_but_shell_is_all_lost() {
        let converted = convert("#!/bin/sh\nfor i in 1 2; do\n  echo $i\ndone\n");
        assert_eq!((converted.lost.len(), converted.lost[0].line), (1, 2));
        assert!(!converted.text.contains("runcmd") && !converted.text.contains("write_files"));
    }

    #[test]
    fn a_path_with_a_line_break_stays_one_path() {
        let text = convert("echo x >'/etc/a\n'\n").text;
        let document = yaml::load(&text).unwrap();
        let files = document.root.as_ref().unwrap().get("write_files").unwrap();
        assert!(format!("{files:?}").contains("/etc/a\\n"), "{text}");
    }

    proptest! {
        /// Whatever a file holds, it comes back from the YAML as it was.
        #[test]
        fn content_survives(content in "[ a\n\t:#'\"|-]{0,30}") {
            let mut text = String::from("a:\n  b:\n    content: ");
            text += &block(&content, 6);
            text += "    after: x\n";
            let document = yaml::load(&text).unwrap();
            let node = document.root.as_ref().unwrap().get("a").unwrap().get("b").unwrap();
            prop_assert_eq!(&node.get("content").unwrap().scalar().unwrap().text, &content, "{}", text);
            prop_assert_eq!(node.get("after").unwrap().text(), Some("x"));
        }

        #[test]
        fn any_script_is_converted(script in "(cat|echo|>|/etc/a|<<E|E|\n| |a|if|fi|;|'|\\$X|chmod|0644){0,30}") {
            let text = convert(&script).text;
            prop_assert!(yaml::load(&text).is_ok(), "{}", text);
        }
    }
}
