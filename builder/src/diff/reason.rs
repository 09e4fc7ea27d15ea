//! Why a file differs: what it comes from, as the manifests say, and what became of that.

use std::collections::BTreeMap;

use agent::facts::NomadFacts;

use crate::{
    lock::{self, Change},
    manifest::Manifest,
    tree::Origin,
};

/// What two manifests tell.
pub(super) struct Reasons<'a> {
    origins: BTreeMap<&'a str, &'a Origin>,
    packages: BTreeMap<String, Change>,
    nomad: Option<[&'a NomadFacts; 2]>,
    versions: Option<[&'a str; 2]>,
    kernels: Option<[&'a str; 2]>,
}

/// Where modules are, in a folder named after their kernel.
const MODULES: &str = "/usr/lib/modules/";

impl<'a> Reasons<'a> {
    pub(super) fn new(old: Option<&'a Manifest>, new: Option<&'a Manifest>) -> Self {
        let both = old.zip(new);
        let files = old.into_iter().chain(new).flat_map(|manifest| manifest.files.iter().chain(&manifest.initramfs));
        let packages = both.map(|(old, new)| lock::packages(&old.packages, &new.packages)).unwrap_or_default();
        Self {
            origins: files.map(|file| (file.path.as_str(), &file.origin)).collect(),
            packages: packages.into_iter().map(|change| (change.name.clone(), change)).collect(),
            nomad: both.map(|(old, new)| [&old.nomad, &new.nomad]),
            versions: both.map(|(old, new)| [old.version.as_str(), &new.version]),
            kernels: both.map(|(old, new)| [old.kernel.as_str(), &new.kernel]),
        }
    }

    /// Where the old image has what is at `path` in the new one: a module of another kernel is in another folder.
    pub(super) fn place(&self, path: &str) -> String {
        let Some([old, new]) = self.kernels else { return path.to_owned() };
        match path.strip_prefix(MODULES).and_then(|path| path.strip_prefix(new)).filter(|rest| rest.starts_with('/')) {
            Some(rest) => format!("{MODULES}{old}{rest}"),
            None => path.to_owned(),
        }
    }

    /// Why the file at `path` differs, which is a path of [`Self::place`]; nothing when no manifest knows it.
    pub(super) fn of(&self, path: &str) -> Option<String> {
        if path.starts_with(MODULES)
            && let Some([old, new]) = self.kernels
        {
            if old != new {
                return Some(format!("kernel {old} -> {new}"));
            }
            if let Some(change) = self.packages.get(&format!("linux-image-{new}")) {
                return Some(change.to_string());
            }
        }
        Some(match *self.origins.get(path)? {
            Origin::Package { name, .. } => match self.packages.get(name) {
                Some(change) => change.to_string(),
                None => format!("{name} is the same: the recipe or the builder changed"),
            },
            Origin::Agent => "the agent changed".to_owned(),
            Origin::Nomad => match self.nomad {
                Some([old, new]) if old.version != new.version => format!("Nomad {} -> {}", old.version, new.version),
                _ => "another Nomad of the same version".to_owned(),
            },
            Origin::Recipe => "a file of the recipe changed".to_owned(),
            Origin::Builder => match self.versions {
                Some([old, new]) if old != new => format!("Steppe {old} -> {new}"),
                _ => "the recipe or the builder changed".to_owned(),
            },
        })
    }
}
