//! Package managers, their repositories, and downloads of what the image holds: none of it has anything to do here.

use super::{
    absent::SPARE,
    program_name,
    shell::{Simple, Statement},
    state::State,
};
use crate::node::userdata::{
    finding::{Finding, Verdict},
    yaml::Node,
};

/// Packages whose content is in every image.
const PRESENT: [&str; 4] = ["nomad", "ca-certificates", "tzdata", "e2fsprogs"];
/// Programs for scripts and for package managers: absent, and not missed where no script can run.
const SCRIPT_TOOLS: [&str; 17] = [
    "apt-transport-https",
    "bash-completion",
    "curl",
    "dnf-plugins-core",
    "git",
    "gnupg",
    "gnupg2",
    "htop",
    "jq",
    "lsb-release",
    "net-tools",
    "software-properties-common",
    "unzip",
    "vim",
    "wget",
    "yum-utils",
    "zip",
];

const NO_MANAGER: &str = "there is no package manager";
const IN_IMAGE: &str = "Nomad is in the image; its version is the image's";

/// The key `packages`.
pub(super) fn packages(config: Option<&Node>, findings: &mut Vec<Finding>) {
    let Some(node) = config.and_then(|c| c.get("packages")).filter(|node| !node.is_null()) else { return };
    let Some(items) = node.sequence() else {
        let message = format!("must be a list, not {}", node.describe());
        findings.push(Finding::new(Verdict::Refused, node.at, "packages", message));
        return;
    };
    for (n, item) in items.iter().enumerate() {
        // A name, `[name, version]`, or `{apt: [names]}`, which only a package manager could tell apart.
        let name = item.text().or_else(|| item.sequence()?.first()?.text()).unwrap_or("");
        let (verdict, message) = package(name);
        findings.push(Finding::new(verdict, item.at, format!("packages[{n}]"), message));
    }
}

fn package(name: &str) -> (Verdict, String) {
    let plain = plain(name);
    if SCRIPT_TOOLS.contains(&plain) {
        (Verdict::Ignored, format!("{plain}: a tool for scripts, and no script runs here"))
    } else if SPARE.contains(&plain) || matches!(plain, "openssh-server" | "cloud-guest-utils" | "cloud-init") {
        (Verdict::Ignored, format!("{plain}: a node does without it"))
    } else if PRESENT.contains(&plain) {
        (Verdict::Ignored, format!("{plain} is in the image; its version is the image's"))
    } else {
        (Verdict::Refused, format!("{name:?} is not in this image: add it when the image is built"))
    }
}

fn plain(name: &str) -> &str {
    name.split(['=', '~', '<', '>']).next().unwrap_or(name).trim()
}

/// Why a call of a package manager needs no doing.
pub(super) fn manager(program: &str, args: &[&str]) -> Option<String> {
    let mut words = args.iter().filter(|a| !a.starts_with('-'));
    let why = match (program, *words.next()?) {
        ("apt-key" | "apt-add-repository" | "add-apt-repository" | "yum-config-manager", _) => NO_MANAGER,
        ("apt-mark" | "apt-cache", _) => NO_MANAGER,
        ("rpm", _) if args.contains(&"--import") => NO_MANAGER,
        (
            _,
            "update" | "upgrade" | "dist-upgrade" | "full-upgrade" | "makecache" | "clean" | "autoremove" | "autoclean"
            | "config-manager",
        ) => NO_MANAGER,
        ("dpkg", file) if args.contains(&"-i") || args.contains(&"--install") => {
            nomad_file(file).then_some(IN_IMAGE)?
        }
        (_, "install" | "add" | "reinstall") => {
            let known = |name: &&str| {
                let name = plain(name);
                PRESENT.contains(&name) || SCRIPT_TOOLS.contains(&name) || nomad_file(name)
            };
            words.all(known).then_some("what it installs is in the image, or serves scripts only")?
        }
        (_, "remove" | "purge") => words.all(|name| !PRESENT.contains(name)).then_some("there is no such package")?,
        _ => return None,
    };
    Some(why.to_owned())
}

/// A download or an archive of Nomad itself.
fn nomad_file(path: &str) -> bool {
    let name = program_name(path);
    name == "nomad"
        || (name.starts_with("nomad") && [".zip", ".deb", ".rpm"].iter().any(|ending| name.ends_with(ending)))
}

/// Why fetching, unpacking or placing a file needs no doing: it is Nomad, or a package manager's key.
pub(super) fn download(program: &str, args: &[&str]) -> Option<String> {
    let operands: Vec<&str> = args.iter().copied().filter(|a| !a.starts_with('-')).collect();
    let why = match program {
        "curl" | "wget" => {
            let url = args.iter().find(|arg| arg.starts_with("https://") || arg.starts_with("http://"))?;
            let rest = url.split_once("://")?.1;
            if rest.starts_with("releases.hashicorp.com/nomad/") {
                IN_IMAGE
            } else if rest.starts_with("apt.releases.hashicorp.com/") || rest.starts_with("rpm.releases.hashicorp.com/")
            {
                NO_MANAGER
            } else {
                return None;
            }
        }
        "unzip" => operands.first().is_some_and(|file| nomad_file(file)).then_some(IN_IMAGE)?,
        // Below the program's usual places only: data may be called nomad as well.
        "mv" | "cp" | "install" | "ln" | "chmod" | "chown" => {
            let place = |arg: &&str| {
                ["/usr/local/bin", "/usr/bin", "/usr/local/bin/nomad", "/usr/bin/nomad"]
                    .contains(&arg.trim_end_matches('/'))
            };
            let last = operands.last().filter(|arg| place(arg))?;
            let nomad = last.ends_with("/nomad") || operands.iter().any(|arg| nomad_file(arg));
            nomad.then_some(IN_IMAGE)?
        }
        "rm" => (!operands.is_empty() && operands.iter().all(|arg| arg.ends_with(".zip") && nomad_file(arg)))
            .then_some(IN_IMAGE)?,
        "gpg" => args.contains(&"--dearmor").then_some(NO_MANAGER)?,
        _ => return None,
    };
    Some(why.to_owned())
}

/// Directories that only a package manager reads.
const REPOSITORIES: [&str; 4] = ["/etc/apt/", "/etc/yum.repos.d/", "/usr/share/keyrings/", "/etc/pki/rpm-gpg/"];

/// Why a whole pipeline needs no doing: it sets up a package manager. Its words need not be known
/// (`$(lsb_release -cs)`).
pub(super) fn repository(statement: &Statement, state: &State) -> Option<String> {
    let texts = |simple: &Simple| -> Vec<String> {
        simple.words.iter().filter_map(|word| Some(state.expand(word).ok()?.literal()?.to_owned())).collect()
    };
    let last = statement.commands.last()?;
    let below = |path: &str| REPOSITORIES.iter().any(|root| path.starts_with(root));
    let redirected = last.output.as_ref().is_some_and(|output| output.file.text().is_some_and(below));
    let words = texts(last);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = super::without_sudo(&words);
    let (program, args) = words.split_first()?;
    let writes = match program_name(program) {
        "tee" => args.iter().any(|arg| below(arg)),
        "gpg" => args.contains(&"--dearmor") && (redirected || args.iter().any(|arg| below(arg))),
        "apt-key" => true,
        "echo" | "printf" | "cat" => redirected,
        "curl" | "wget" | "install" | "chmod" | "mkdir" | "rm" => {
            statement.commands.len() == 1 && (redirected || args.iter().any(|arg| below(arg)))
        }
        _ => false,
    };
    writes.then(|| format!("{:?}: {NO_MANAGER}", program_name(program)))
}
