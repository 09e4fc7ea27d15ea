//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Component, Kind, Sbom, time::rfc3339};

const NOTHING: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The text of the file.
#[must_use]
pub fn text(sbom: &Sbom) -> String {
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": format!("steppe-{}", sbom.name),
        "versionInfo": sbom.version,
        "comment": sbom.comment,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        // No primaryPackagePurpose: the text of 2.3 writes OPERATING-SYSTEM, its schema OPERATING_SYSTEM.
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    let mut references: BTreeMap<&str, &str> = BTreeMap::new();
    let agent = sbom.components.iter().find(|component| component.kind == Kind::Agent).map(identifier);
    for component in &sbom.components {
        let id = identifier(component);
        relationships.push(match (&agent, component.kind) {
            (Some(agent), Kind::Crate) => relationship(agent, "STATIC_LINK", &id),
            _ => relationship(IMAGE, "CONTAINS", &id),
        });
        if let Some(licence) = &component.licence {
            references.extend(licence.references.iter().map(|(id, name)| (id.as_str(), name.as_str())));
        }
        packages.push(package(component, &id));
    }
    let extracted: Vec<Value> = references
        .iter()
        .map(|(id, name)| {
            json!({
                "licenseId": id,
                "name": name,
                "extractedText": format!("{name}: the text is in the copyright file of the Debian package."),
            })
        })
        .collect();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("steppe-{}-{}", sbom.version, sbom.name),
        "documentNamespace": format!("https://spdx.org/spdxdocs/steppe-{}-{}-{}", sbom.version, sbom.name, sbom.identifier()),
        "creationInfo": {
            "created": rfc3339(sbom.epoch),
            "creators": [format!("Tool: steppe-builder-{}", env!("CARGO_PKG_VERSION"))],
            "comment": "The time is that of the image: the newest time at which a package in it was made.",
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !extracted.is_empty() {
        document["hasExtractedLicensingInfos"] = extracted.into();
    }
    super::pretty(&document)
}

fn package(component: &Component, id: &str) -> Value {
    let licence = component.licence.as_ref().map_or(NOTHING, |licence| &licence.expression);
    let supplier =
        component.supplier.as_ref().map_or_else(|| NOTHING.to_owned(), |name| format!("Organization: {name}"));
    let mut value = json!({
        "SPDXID": id,
        "name": component.name,
        "versionInfo": component.version,
        "supplier": supplier,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": licence,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": match component.kind {
            Kind::Package | Kind::Crate => "LIBRARY",
            Kind::Agent | Kind::Nomad => "APPLICATION",
        },
    });
    if let Some(sha256) = component.sha256 {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    if let Some(comment) = &component.comment {
        value["comment"] = comment.as_str().into();
    }
    let purl = component.purl.as_ref().map(
        |purl| json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl }),
    );
    let cpe = component
        .cpe
        .as_ref()
        .map(|cpe| json!({ "referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": cpe }));
    let external: Vec<Value> = purl.into_iter().chain(cpe).collect();
    if !external.is_empty() {
        value["externalRefs"] = external.into();
    }
    value
}

/// Letters, digits, `.` and `-` are what an identifier may have.
fn identifier(component: &Component) -> String {
    let kind = match component.kind {
        Kind::Package => "Package",
        Kind::Agent => "Agent",
        Kind::Crate => "Crate",
        Kind::Nomad => "Nomad",
    };
    let plain = |text: &str| -> String {
        // Each other byte gets a spelling of its own, so that no two names become one.
        text.bytes()
            .map(|byte| match byte {
                b'.' | b'-' => char::from(byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("-{byte:02x}-"),
            })
            .collect()
    };
    format!("SPDXRef-{kind}-{}-{}", plain(&component.name), plain(&component.version))
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}
