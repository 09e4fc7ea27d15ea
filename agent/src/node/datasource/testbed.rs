//! What the tests of datasources share: machines, looks, and seeds as text for golden tests.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Datasource, Look, Outcome, Platform, Timing};
use crate::node::{
    clock,
    net::View,
    netconfig::{Interface, NetworkConfig, NetworkPlan, Route},
    seed::{Metadata, Seed},
};

/// A machine with these values in its firmware, by the kernel's file names, and with this command line.
pub(super) fn machine(dmi: &[(&str, &str)], cmdline: &str) -> Platform {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("sys/class/dmi/id");
    std::fs::create_dir_all(&dir).unwrap();
    for (file, value) in dmi {
        std::fs::write(dir.join(file), value).unwrap();
    }
    std::fs::create_dir_all(root.path().join("proc")).unwrap();
    std::fs::write(root.path().join("proc/cmdline"), cmdline).unwrap();
    Platform::read(root.path())
}

/// A look of a machine that has an address. The source of what is found loses the test server's port.
pub(super) fn look(source: &dyn Datasource, platform: &Platform, timing: Timing) -> Outcome {
    let view = View::default();
    let look = Look::new(Path::new("/nonexistent"), platform, &view);
    let mut outcome = source.look(&Look { online: true, timing, deadline: clock::now() + timing.look, ..look });
    if let Outcome::Found(seed) = &mut outcome {
        let port = seed.source.rfind(':').unwrap();
        seed.source.truncate(port);
    }
    outcome
}

/// The seed as JSON, user-data as text. The metadata's document must not hold what is marked as secret.
pub(super) fn golden(seed: &Seed) -> String {
    let shown = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let document = seed.metadata.document.to_string();
    assert!(!document.contains("secret"), "the document holds a secret: {document}");
    let network = match &seed.network {
        None => Value::Null,
        Some(NetworkConfig::Text(text)) => json!({"text": serde_json::from_str::<Value>(text).unwrap()}),
        Some(NetworkConfig::OpenStack(text)) => json!({"openstack": text}),
        Some(NetworkConfig::Plan(plan)) => self::plan(plan),
    };
    let metadata = Metadata { document: Value::Null, ..seed.metadata.clone() };
    let seed = json!({
        "platform": seed.platform,
        "source": seed.source,
        "metadata": less(json!(metadata), &json!(Metadata::default())),
        "user_data": shown(&seed.user_data),
        "vendor_data": seed.vendor_data.iter().map(|bytes| shown(bytes)).collect::<Value>(),
        "network": network,
    });
    serde_json::to_string_pretty(&seed).unwrap()
}

fn plan(plan: &NetworkPlan) -> Value {
    let bare = NetworkPlan { interfaces: Vec::new(), ..plan.clone() };
    let mut out = less(json!(bare), &json!(NetworkPlan::default()));
    out["interfaces"] = plan.interfaces.iter().map(interface).collect();
    out
}

fn interface(interface: &Interface) -> Value {
    let routes: Value = interface.routes.iter().map(route).collect();
    let bare = Interface { routes: Vec::new(), addresses: Vec::new(), ..interface.clone() };
    let mut out = less(json!(bare), &json!(Interface::default()));
    for (key, value) in [
        ("addresses", interface.addresses.iter().map(|cidr| Value::from(cidr.to_string())).collect::<Value>()),
        ("routes", routes),
    ] {
        if value != json!([]) {
            out[key] = value;
        }
    }
    // What DHCP gives is used, but where the golden says otherwise.
    for key in ["dhcp4", "dhcp6"] {
        if let Some(options) = out.get_mut(key) {
            *options = less(options.clone(), &json!(crate::node::netconfig::DhcpOptions::default()));
        }
    }
    out
}

fn route(route: &Route) -> Value {
    let via = route.via.map_or(String::new(), |via| format!(" via {via}"));
    let table = route.table.map_or(String::new(), |table| format!(" table {table}"));
    format!("{}{via}{}{table}", route.to, if route.on_link { " on-link" } else { "" }).into()
}

/// What of `value` differs from `default`.
fn less(value: Value, default: &Value) -> Value {
    match (value, default) {
        (Value::Object(map), Value::Object(default)) => {
            let differs = |(key, value): (String, Value)| match default.get(&key) {
                Some(same) if *same == value => None,
                other => Some((key, less(value, other.unwrap_or(&Value::Null)))),
            };
            Value::Object(map.into_iter().filter_map(differs).collect::<Map<_, _>>())
        }
        (value, _) => value,
    }
}
