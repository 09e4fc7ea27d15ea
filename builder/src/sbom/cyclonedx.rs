//! CycloneDX 1.6 as JSON (<https://cyclonedx.org/docs/1.6/json/>).

use serde_json::{Value, json};

use super::{Component, Kind, Sbom, time::rfc3339};

/// The text of the file.
#[must_use]
pub fn text(sbom: &Sbom) -> String {
    let image = format!("image:{}@{}", sbom.name, sbom.version);
    let all = |linked: bool| -> Vec<String> {
        sbom.components.iter().filter(|one| (one.kind == Kind::Crate) == linked).map(reference).collect()
    };
    let mut dependencies = vec![json!({ "ref": image, "dependsOn": all(false) })];
    if let Some(agent) = sbom.components.iter().find(|component| component.kind == Kind::Agent) {
        dependencies.push(json!({ "ref": reference(agent), "dependsOn": all(true) }));
    }
    super::pretty(&json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", sbom.identifier()),
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(sbom.epoch),
            "tools": { "components": [
                { "type": "application", "name": "steppe-builder", "version": env!("CARGO_PKG_VERSION") },
            ] },
            "component": {
                "type": "operating-system",
                "bom-ref": image,
                "name": format!("steppe-{}", sbom.name),
                "version": sbom.version,
                "description": sbom.comment,
            },
        },
        "components": sbom.components.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

fn component(component: &Component) -> Value {
    let mut value = json!({
        "type": match component.kind {
            Kind::Package | Kind::Crate => "library",
            Kind::Agent | Kind::Nomad => "application",
        },
        "bom-ref": reference(component),
        "name": component.name,
        "version": component.version,
    });
    let mut set = |key: &str, content: Option<Value>| {
        if let Some(content) = content {
            value[key] = content;
        }
    };
    set("description", component.comment.as_ref().map(|text| json!(text)));
    set("supplier", component.supplier.as_ref().map(|name| json!({ "name": name })));
    set("purl", component.purl.as_ref().map(|purl| json!(purl)));
    set("cpe", component.cpe.as_ref().map(|cpe| json!(cpe)));
    set("hashes", component.sha256.map(|sha256| json!([{ "alg": "SHA-256", "content": sha256 }])));
    set("licenses", component.licence.as_ref().map(|licence| json!([{ "expression": licence.expression }])));
    value
}

fn reference(component: &Component) -> String {
    let kind = match component.kind {
        Kind::Package => "deb",
        Kind::Agent => "agent",
        Kind::Crate => "crate",
        Kind::Nomad => "nomad",
    };
    format!("{kind}:{}@{}", component.name, component.version)
}
