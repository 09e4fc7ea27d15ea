//! `make audit-kernel`: holds the images' kernel, its command line and its settings against kernel-hardening-checker, and what
//! the checker would have otherwise against `images/kernel-hardening.toml`. Ends with 1 when the two differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use agent::{facts::Role, init::sysctl};
use anyhow::{Context as _, ensure};
use builder::{cache::Cache, deb::Deb, manifest::Manifest, recipe::Profile};
use serde::Deserialize;
use tests::images::Image;

const CHECKER: &str = "kernel-hardening-checker";
const EXCEPTIONS: &str = include_str!("../../../images/kernel-hardening.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    role: Option<Role>,
    profile: Option<Profile>,
    why: String,
    options: Vec<String>,
}

/// One line of the checker's report.
#[derive(Debug, Deserialize)]
struct Check {
    option_name: String,
    desired_val: String,
    check_result: String,
    check_result_bool: bool,
}

fn main() -> ExitCode {
    let mut sound = true;
    // A client for metal has the kernel of the one and the arguments of the other.
    for (role, profile) in
        [(Role::Server, Profile::Cloud), (Role::Client, Profile::Cloud), (Role::Server, Profile::Metal)]
    {
        match audit(role, profile) {
            Ok(complaints) => {
                sound &= complaints.is_empty();
                for complaint in complaints {
                    println!("{role}, {profile}: {complaint}");
                }
            }
            Err(why) => {
                eprintln!("failed to audit the {role} image for {profile}: {why:#}");
                sound = false;
            }
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What does not agree.
fn audit(role: Role, profile: Profile) -> anyhow::Result<Vec<String>> {
    let table: Exceptions = toml::from_str(EXCEPTIONS).context("images/kernel-hardening.toml")?;
    ensure!(table.exception.iter().all(|exception| !exception.why.is_empty()), "an exception has no reason");
    let mine = table.exception.iter().filter(|exception| {
        exception.role.is_none_or(|only| only == role) && exception.profile.is_none_or(|only| only == profile)
    });
    let excused: BTreeSet<&str> = mine.flat_map(|exception| exception.options.iter().map(String::as_str)).collect();

    let checks = check(&Image::find_for(role, profile)?)?;
    let passed = checks.iter().filter(|check| check.check_result_bool).count();
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.check_result_bool).collect();
    println!("{role}, {profile}: {passed} checks passed, {} did not, {} exceptions", failed.len(), excused.len());
    let names: BTreeSet<&str> = failed.iter().map(|check| check.option_name.as_str()).collect();
    let new = failed.iter().filter(|check| !excused.contains(check.option_name.as_str()));
    let new = new.map(|c| format!("{}: wanted {}, {}", c.option_name, c.desired_val, c.check_result));
    let gone = excused.difference(&names).map(|name| format!("{name}: needs no exception any more"));
    Ok(new.chain(gone).collect())
}

fn check(image: &Image) -> anyhow::Result<Vec<Check>> {
    let manifest = image.manifest();
    let scratch = tempfile::tempdir().context("failed to make a directory")?;
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display())).map(|()| path)
    };
    let config = file("config", &kernel_config(manifest)?)?;
    let cmdline = file("cmdline", manifest.cmdline.as_bytes())?;
    let settings = file("sysctl", settings(image)?.as_bytes())?;
    let mut command = Command::new(CHECKER);
    command.arg("-c").arg(&config).arg("-l").arg(&cmdline).arg("-s").arg(&settings).args(["-m", "json"]);
    let output = command.output().with_context(|| format!("failed to run {CHECKER}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{CHECKER}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("failed to read what {CHECKER} says: {said}"))
}

/// The configuration that the kernel of the image was built with, from its package in the cache.
fn kernel_config(manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    let release = manifest.kernel.as_str();
    let package = manifest.packages.iter().find(|package| package.name == format!("linux-image-{release}"));
    let package = package.with_context(|| format!("no package of the image is of the kernel {release}"))?;
    let cache = Cache::default_folder().context("neither XDG_CACHE_HOME nor HOME says where the cache is")?;
    let deb = Cache::open(Path::new(&cache), || ())?.package(package.sha256);
    let path = format!("boot/config-{release}");
    let tree = Deb::read(&deb, &package.name, &package.version, &|name| name == path)?.tree;
    tree.bytes(&path).map(|bytes| bytes.to_vec()).with_context(|| format!("{} has no {path}", package.name))
}

/// The settings of the image, each as it is in the end: `sysctl -a` of a node prints these lines among others.
fn settings(image: &Image) -> anyhow::Result<String> {
    let has = |path: &str| image.manifest().files.iter().any(|file| file.path.trim_start_matches('/') == &path[1..]);
    let mut text = String::new();
    for path in [agent::paths::SYSCTL, agent::paths::SYSCTL_HEALTHY].into_iter().filter(|path| has(path)) {
        text += &String::from_utf8(tests::images::root_file(image, &path[1..])?)?;
    }
    let last: BTreeMap<_, _> = sysctl::parse(&text).map(|setting| (setting.key, setting.value)).collect();
    Ok(last.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
}
