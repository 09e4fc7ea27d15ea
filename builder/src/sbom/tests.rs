use std::path::PathBuf;

use agent::facts::{NomadFacts, Role};
use serde_json::Value;

use super::*;
use crate::{manifest::Parts, tree::FileRecord};

fn manifest(source: NomadSource) -> Manifest {
    let package = |name: &str, licences: &[&str]| Locked {
        name: name.into(),
        version: "1:2+deb".into(),
        sha256: Digest::of(name.as_bytes()),
        size: 1,
        licences: licences.iter().map(|name| (*name).to_owned()).collect(),
    };
    let file = |path: &str, name: &str| FileRecord {
        path: path.into(),
        mode: "0644".into(),
        size: 1,
        sha256: None,
        target: None,
        origin: Origin::Package { name: name.into(), version: "1:2+deb".into() },
    };
    Manifest {
        format: Manifest::FORMAT,
        name: "test".into(),
        profile: crate::recipe::Profile::Cloud,
        version: "0.1.0".into(),
        image_version: None,
        role: Role::Server,
        architecture: crate::architecture::Architecture::X86_64,
        standin: source == NomadSource::StandIn,
        nomad: NomadFacts { version: "2.0.5".into(), source, sha256: Digest::of(b"nomad").hex() },
        kernel: "6.12-test".into(),
        epoch: 1_700_000_000,
        cmdline: String::new(),
        root_hash: Digest::of(b"root"),
        partitions: Vec::new(),
        parts: Parts { kernel: 0, initramfs: 0, root: 0, nomad: 0, libraries: 0 },
        artefacts: Vec::new(),
        packages: vec![
            package("libblkid1", &["GPL-2"]),
            package("libc6", &["LGPL-2.1+", "public-domain"]),
            package("linux-image-6.12-test", &["GPL-2"]),
            package("systemd-boot-efi", &[]),
        ],
        files: vec![file("/usr/lib/libc.so.6", "libc6")],
        initramfs: Vec::new(),
        folder: PathBuf::new(),
    }
}

fn sbom(source: NomadSource) -> Sbom {
    of(&manifest(source))
}

fn of(manifest: &Manifest) -> Sbom {
    Sbom::new(manifest, &BTreeSet::from(["systemd-boot-efi"]), "trixie", Digest::of(b"agent"))
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array().unwrap().iter().find(|one| one["name"] == name)
}

#[test]
fn both_formats_have_what_is_in_the_image_and_nothing_else() {
    let sbom = sbom(NomadSource::Release);
    let spdx: Value = serde_json::from_str(&spdx(&sbom)).unwrap();
    let cyclonedx: Value = serde_json::from_str(&cyclonedx(&sbom)).unwrap();
    for list in [&spdx["packages"], &cyclonedx["components"]] {
        for name in ["libc6", "linux-image-6.12-test", "systemd-boot-efi", "nomad", "steppe-agent", "nix"] {
            assert!(named(list, name).is_some(), "{name} is not in {list}");
        }
        assert!(named(list, "libblkid1").is_none(), "downloaded, and not in the image");
    }
    let libc = named(&spdx["packages"], "libc6").unwrap();
    assert_eq!(libc["licenseDeclared"], "LGPL-2.1-or-later AND LicenseRef-Debian-public-domain");
    assert_eq!(libc["checksums"][0]["checksumValue"], Digest::of(b"libc6").hex());
    assert_eq!(libc["externalRefs"][0]["referenceLocator"], "pkg:deb/debian/libc6@1%3A2%2Bdeb?distro=trixie");
    assert_eq!(named(&spdx["packages"], "systemd-boot-efi").unwrap()["licenseDeclared"], "NOASSERTION");
    assert_eq!(spdx["hasExtractedLicensingInfos"][0]["licenseId"], "LicenseRef-Debian-public-domain");
    assert_eq!(named(&cyclonedx["components"], "nomad").unwrap()["licenses"][0]["expression"], "BUSL-1.1");
    assert_eq!(cyclonedx["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
}

#[test]
fn the_image_has_its_own_version_and_the_agent_steppes() {
    let own = Manifest { image_version: Some("1.3.0".into()), ..manifest(NomadSource::Release) };
    for (manifest, version) in [(&own, "1.3.0"), (&manifest(NomadSource::Release), "0.1.0")] {
        let sbom = of(manifest);
        let spdx: Value = serde_json::from_str(&spdx(&sbom)).unwrap();
        let cyclonedx: Value = serde_json::from_str(&cyclonedx(&sbom)).unwrap();
        assert_eq!(named(&spdx["packages"], "steppe-test").unwrap()["versionInfo"], version);
        assert_eq!(spdx["name"], format!("steppe-{version}-test"));
        let image = &cyclonedx["metadata"]["component"];
        assert_eq!((&image["version"], &image["bom-ref"]), (&version.into(), &format!("image:test@{version}").into()));
        for list in [&spdx["packages"], &cyclonedx["components"]] {
            let agent = named(list, "steppe-agent").unwrap();
            assert!(agent["versionInfo"] == "0.1.0" || agent["version"] == "0.1.0", "{agent}");
        }
    }
    assert_ne!(of(&own).identifier(), sbom(NomadSource::Release).identifier());
}

/// What the schemas cannot say: every reference leads somewhere, and nothing is named twice.
#[test]
fn references_lead_somewhere() {
    let sbom = sbom(NomadSource::Path);
    let spdx: Value = serde_json::from_str(&spdx(&sbom)).unwrap();
    let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT"]);
    for package in spdx["packages"].as_array().unwrap() {
        let id = package["SPDXID"].as_str().unwrap();
        assert!(ids.insert(id), "{id} twice");
        let plain = id.strip_prefix("SPDXRef-").unwrap();
        assert!(plain.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)), "{id}");
    }
    for relationship in spdx["relationships"].as_array().unwrap() {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(ids.contains(relationship[end].as_str().unwrap()), "{relationship}");
        }
    }
    let cyclonedx: Value = serde_json::from_str(&cyclonedx(&sbom)).unwrap();
    let mut references = BTreeSet::from([cyclonedx["metadata"]["component"]["bom-ref"].as_str().unwrap()]);
    for component in cyclonedx["components"].as_array().unwrap() {
        assert!(references.insert(component["bom-ref"].as_str().unwrap()), "{component} twice");
    }
    for dependency in cyclonedx["dependencies"].as_array().unwrap() {
        let needed = dependency["dependsOn"].as_array().unwrap();
        assert!(!needed.is_empty());
        for end in needed.iter().chain([&dependency["ref"]]) {
            assert!(references.contains(end.as_str().unwrap()), "{end}");
        }
    }
}

#[test]
fn the_stand_in_is_not_called_nomad() {
    let text = spdx(&sbom(NomadSource::StandIn)) + &cyclonedx(&sbom(NomadSource::StandIn));
    assert!(text.contains("\"nomad-standin\"") && text.contains("is not Nomad"), "{text}");
    for wrong in ["BUSL", "pkg:golang", "cpe:", "HashiCorp"] {
        assert!(!text.contains(wrong), "{wrong} in {text}");
    }
}

#[test]
fn another_list_has_another_identifier_and_the_same_has_the_same() {
    let (one, other) = (sbom(NomadSource::Release), sbom(NomadSource::Path));
    assert_eq!(one.identifier(), sbom(NomadSource::Release).identifier());
    assert_ne!(one.identifier(), other.identifier());
    assert_eq!(spdx(&one), spdx(&sbom(NomadSource::Release)));
}
