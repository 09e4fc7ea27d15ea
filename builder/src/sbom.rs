//! Bills of materials: what an image is made of, for programs that look for known vulnerabilities and licences.
//!
//! The same list in the two formats that they read: SPDX 2.3 ([`spdx`]) and CycloneDX 1.6 ([`cyclonedx`]). Nothing in them
//! depends on when or where they were written: identifiers are made from the list itself, and their time is the image's.
//!
//! The list has what is in the image: packages of which it has a file, not those that were only downloaded.

mod crates;
mod cyclonedx;
mod licence;
mod purl;
mod spdx;
mod time;

use std::collections::BTreeSet;

use agent::facts::NomadSource;
use uuid::Uuid;

use self::{crates::Crate, licence::Licence};
pub use self::{cyclonedx::text as cyclonedx, spdx::text as spdx};
use crate::{
    content::{Digest, Key},
    disk,
    lock::Locked,
    manifest::Manifest,
    tree::Origin,
};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Debian package with files in the image.
    Package,
    /// Steppe's agent.
    Agent,
    /// A crate that is linked into the agent.
    Crate,
    /// Nomad, or what stands in for it.
    Nomad,
}

/// A part of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Which part.
    pub kind: Kind,
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A line about it, where the name does not say it.
    pub comment: Option<String>,
    /// Who makes it.
    pub supplier: Option<String>,
    /// Its package URL, where it has one.
    pub purl: Option<String>,
    /// Its name for the National Vulnerability Database, where it is known.
    pub cpe: Option<String>,
    /// Digest: of the `.deb`, of the program, of the crate's archive.
    pub sha256: Option<Digest>,
    /// Its licence, where that is known.
    pub licence: Option<Licence>,
}

/// A bill of materials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// Name of the image.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What the image promises to be.
    pub comment: String,
    /// Time of the image, seconds since 1970.
    pub epoch: u64,
    /// What is in it.
    pub components: Vec<Component>,
}

impl Sbom {
    /// The list of the image that `manifest` describes. `boots` names the packages of which files boot it: they are in no file list.
    /// `agent` is the digest of its agent, `suite` that of its packages.
    #[must_use]
    pub fn new(manifest: &Manifest, boots: &BTreeSet<&str>, suite: &str, agent: Digest) -> Self {
        let mut components = vec![nomad(manifest)];
        let used: BTreeSet<&str> = manifest
            .files
            .iter()
            .chain(&manifest.initramfs)
            .filter_map(|file| match &file.origin {
                Origin::Package { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .chain(boots.iter().copied())
            .collect();
        components.push(Component {
            kind: Kind::Agent,
            name: "steppe-agent".to_owned(),
            version: manifest.version.clone(),
            comment: Some("PID 1. Its crates are those of the source that this builder is from.".to_owned()),
            supplier: None,
            purl: None,
            cpe: None,
            sha256: Some(agent),
            licence: Licence::known(env!("CARGO_PKG_LICENSE")),
        });
        let kernel = format!("linux-image-{}", manifest.kernel);
        let in_image = |package: &&Locked| used.contains(package.name.as_str()) || package.name == kernel;
        components.extend(manifest.packages.iter().filter(in_image).map(|locked| package(locked, suite)));
        components.extend(crates::of_agent().map(of_crate));
        let standin = if manifest.standin { ", with a stand-in for Nomad: for tests only" } else { "" };
        Self {
            name: manifest.name.clone(),
            version: manifest.image_version().to_owned(),
            comment: format!("Steppe image, role {}, {}{standin}", manifest.role, manifest.architecture),
            epoch: manifest.epoch,
            components,
        }
    }

    /// An identifier that is another one for every other list.
    #[must_use]
    pub fn identifier(&self) -> Uuid {
        disk::identifier(Key::new("sbom", 1).with("list", format!("{self:?}")).finish(), "sbom")
    }
}

fn package(locked: &Locked, suite: &str) -> Component {
    Component {
        kind: Kind::Package,
        name: locked.name.clone(),
        version: locked.version.clone(),
        comment: None,
        supplier: Some("Debian".to_owned()),
        purl: Some(purl::debian(&locked.name, &locked.version, suite)),
        cpe: None,
        sha256: Some(locked.sha256),
        licence: Licence::of_debian(&locked.licences),
    }
}

fn nomad(manifest: &Manifest) -> Component {
    let version = &manifest.nomad.version;
    let mut component = Component {
        kind: Kind::Nomad,
        name: "nomad".to_owned(),
        version: version.clone(),
        comment: None,
        supplier: Some("HashiCorp".to_owned()),
        purl: Some(purl::go("github.com/hashicorp/nomad", version)),
        cpe: Some(format!("cpe:2.3:a:hashicorp:nomad:{}:*:*:*:*:*:*:*", version.replace(['-', '+'], "_"))),
        sha256: Digest::parse(&manifest.nomad.sha256),
        licence: Licence::known("BUSL-1.1"),
    };
    match manifest.nomad.source {
        NomadSource::Release => component.comment = Some("The official release, its signature checked.".to_owned()),
        NomadSource::Path => component.comment = Some("As it was named to the builder.".to_owned()),
        NomadSource::StandIn => {
            component = Component {
                name: "nomad-standin".to_owned(),
                version: manifest.version.clone(),
                comment: Some(format!("It takes the place of Nomad {version} in tests and is not Nomad.")),
                supplier: None,
                purl: None,
                cpe: None,
                licence: Licence::known(env!("CARGO_PKG_LICENSE")),
                ..component
            }
        }
    }
    component
}

fn of_crate(one: Crate<'_>) -> Component {
    Component {
        kind: Kind::Crate,
        name: one.name.to_owned(),
        version: one.version.to_owned(),
        comment: None,
        supplier: None,
        purl: Some(purl::cargo(one.name, one.version)),
        cpe: None,
        sha256: Digest::parse(one.sha256),
        licence: Licence::known(one.licence),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    // Strings, numbers and lists of them always are JSON.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests;
