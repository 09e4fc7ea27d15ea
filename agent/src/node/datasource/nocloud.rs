//! NoCloud: files on a volume labelled `cidata`, or below an address that the command line or the firmware names.

use serde_json::{Map, Value};

use super::{Datasource, Files, Get, Look, Outcome, Platform, document, hints, media, shown};
use crate::node::{
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
};

/// The label of a seed volume.
const LABEL: &str = "cidata";
/// The files of a seed. Any of them may be absent.
const FILES: [&str; 4] = ["meta-data", "user-data", "vendor-data", "network-config"];

/// The datasource.
#[derive(Debug, Clone, Copy)]
pub struct NoCloud;

impl Datasource for NoCloud {
    fn name(&self) -> &'static str {
        "nocloud"
    }

    fn is_local(&self, platform: &Platform) -> bool {
        hints(platform).seedfrom.is_none()
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let hints = hints(look.platform);
        let (volumes, looked) = media::volumes(look.root, LABEL);
        let mut source = None;
        let mut files = Files::new();
        if let Some(volume) = volumes.first() {
            match volume.read(look.root, &FILES) {
                Ok(found) if found.is_empty() => {
                    return Outcome::Failed(format!(
                        "{} is labelled {LABEL} and holds no seed",
                        volume.device.display()
                    ));
                }
                Ok(found) => {
                    source = Some(format!("nocloud ({})", volume.device.display()));
                    files = found;
                }
                Err(error) => return Outcome::Failed(error.to_string()),
            }
        }
        let mut values = match meta(&files) {
            Ok(values) => values,
            Err(why) => return Outcome::Failed(why),
        };
        if text(&values, &["dsmode"]).is_some_and(|mode| mode.eq_ignore_ascii_case("disabled")) {
            return Outcome::Nothing("a seed that is not switched off (dsmode: disabled)".into());
        }
        let seedfrom = text(&values, &["seedfrom"]).or(hints.seedfrom);
        values.remove("seedfrom");
        for (key, value) in [("instance-id", hints.instance_id), ("local-hostname", hints.hostname)] {
            if let Some(value) = value {
                values.entry(key).or_insert(value.into());
            }
        }
        if let Some(base) = seedfrom {
            if !base.starts_with("http://") {
                let base = shown(&base);
                return Outcome::Failed(format!("the seed address {base:?} must begin with http:// (there is no TLS)"));
            }
            if !look.online {
                return Outcome::Nothing(format!("an address, to ask {}", shown(&base)));
            }
            match fetch(&Get::within(look.timing, look.deadline), &base) {
                Ok(fetched) if fetched.values().all(|file| file.trim_ascii().is_empty()) && source.is_none() => {
                    return Outcome::Nothing(format!("seed files below {} (it has none)", shown(&base)));
                }
                Ok(fetched) => {
                    source = Some(format!("nocloud ({})", shown(&base)));
                    match meta(&fetched) {
                        // What is on the volume and on the line wins, key by key.
                        Ok(more) => {
                            for (key, value) in more {
                                values.entry(key).or_insert(value);
                            }
                        }
                        Err(why) => return Outcome::Failed(why),
                    }
                    files.extend(fetched.into_iter().filter(|(name, _)| name != "meta-data"));
                }
                Err(why) => return Outcome::Failed(why),
            }
        }
        let Some(source) = source else {
            let devices = if looked.is_empty() { "no disk".to_owned() } else { looked.join(", ") };
            return Outcome::Nothing(format!("a volume labelled {LABEL} (looked at {devices})"));
        };
        Outcome::Found(Box::new(seed(source, values, files)))
    }
}

/// The first of the keys that has a value.
fn text(values: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| document::text(values.get(*key)?, ""))
}

/// Makes a seed of the values of `meta-data` and the other files.
fn seed(source: String, mut values: Map<String, Value>, mut files: Files) -> Seed {
    let of = |keys: &[&str]| text(&values, keys);
    let metadata = Metadata {
        instance_id: of(&["instance-id", "instance_id"]),
        local_hostname: of(&["local-hostname", "hostname"]),
        public_keys: document::keys(values.get("public-keys").or_else(|| values.get("public_keys"))),
        availability_zone: of(&["availability-zone", "availability_zone"]),
        region: of(&["region"]),
        launch_index: of(&["launch-index", "launch_index"]).and_then(|index| index.parse().ok()),
        ..Metadata::default()
    };
    let mut file = |name: &str| files.remove(name).filter(|bytes| !bytes.trim_ascii().is_empty());
    // The old way: the text of `/etc/network/interfaces` in `meta-data`.
    let interfaces = of(&["network-interfaces"]);
    let network = file("network-config").map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).or(interfaces);
    values.remove("network-interfaces");
    Seed {
        platform: "nocloud".into(),
        source,
        metadata: Metadata { document: Value::Object(values), ..metadata },
        vendor_data: file("vendor-data").into_iter().collect(),
        network: network.map(NetworkConfig::Text),
        user_data: file("user-data").unwrap_or_default(),
    }
}

/// The values of `meta-data`.
fn meta(files: &Files) -> Result<Map<String, Value>, String> {
    let Some(bytes) = files.get("meta-data") else { return Ok(Map::new()) };
    match document::yaml(bytes, "meta-data")? {
        Value::Object(values) => Ok(values),
        _ => Ok(Map::new()),
    }
}

/// All files below an address; those that it does not have are absent. The first error ends it.
fn fetch(get: &Get, base: &str) -> Result<Files, String> {
    let mut files = Files::new();
    for name in FILES {
        let body = get.get(&address(base, name)).map_err(|error| error.to_string())?;
        files.extend(body.map(|body| (name.to_owned(), body)));
    }
    Ok(files)
}

/// `%s` is replaced by the name; without it, it goes behind a slash, or as it is behind a query.
fn address(base: &str, name: &str) -> String {
    if base.contains("%s") {
        base.replace("%s", name)
    } else if base.ends_with('/') || base.contains('?') {
        format!("{base}{name}")
    } else {
        format!("{base}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cmdline::Cmdline,
        node::{
            datasource::testbed,
            net::View,
            testing::{Cloud, faults::survives, serve},
        },
    };

    #[test]
    fn a_server_that_fails_is_survived() {
        let cloud = Cloud::default().secret("s3cret").get("/meta-data", "instance-id: i-1\n").absent_ok();
        let cloud =
            cloud.get("/user-data", "#cloud-config\n# s3cret\n").absent_ok().get("/vendor-data", "").absent_ok();
        survives(&cloud.get("/network-config", "version: 2\n").absent_ok(), |endpoint, timing| {
            let line = format!("ds=nocloud;s=http://{}:{}/", endpoint.address, endpoint.port);
            let platform = Platform { cmdline: Cmdline::parse(&line), ..Platform::default() };
            testbed::look(&NoCloud, &platform, timing)
        });
    }

    fn look(cmdline: &str, online: bool) -> Outcome {
        let root = tempfile::tempdir().unwrap();
        let platform = Platform { cmdline: Cmdline::parse(cmdline), ..Platform::default() };
        let view = View::default();
        NoCloud.look(&Look { online, ..Look::new(root.path(), &platform, &view) })
    }

    #[test]
    fn files_by_http_and_404_is_absent() {
        let server = serve(|path| match path {
            "/seed/user-data" => (200, "#cloud-config\n".into()),
            "/seed/meta-data" => (200, "instance-id: i-1\nlocal-hostname: fetched\n".into()),
            _ => (404, String::new()),
        });
        let line = format!("ds=nocloud;s=http://{}/seed/;h=line", server.address());
        let Outcome::Found(seed) = look(&line, true) else { panic!() };
        assert_eq!(seed.user_data, b"#cloud-config\n");
        assert_eq!(seed.metadata.instance_id.as_deref(), Some("i-1"));
        assert_eq!(seed.metadata.local_hostname.as_deref(), Some("line"), "the line wins over what is fetched");
        assert_eq!(server.requests(), 4, "each file is asked for once");
        assert!(matches!(look(&line, false), Outcome::Nothing(what) if what.starts_with("an address")));
    }

    #[test]
    fn nothing_yet_says_what_was_looked_at() {
        assert!(matches!(look("", true), Outcome::Nothing(what) if what.contains("no disk")));
        let server = serve(|_| (404, String::new()));
        let line = format!("ds=nocloud;s=http://{}/", server.address());
        assert!(matches!(look(&line, true), Outcome::Nothing(_)));
        assert!(matches!(look("ds=nocloud;s=https://x/", true), Outcome::Failed(why) if why.contains("TLS")));
    }

    #[test]
    fn addresses() {
        assert_eq!(address("http://h/a", "user-data"), "http://h/a/user-data");
        assert_eq!(address("http://h/?f=", "user-data"), "http://h/?f=user-data");
        assert_eq!(address("http://h/%s.txt", "user-data"), "http://h/user-data.txt");
    }

    #[test]
    fn broken_metadata_names_the_place() {
        let files = Files::from([("meta-data".to_owned(), b"a: 1\nb: [\n".to_vec())]);
        assert!(meta(&files).unwrap_err().starts_with("failed to read meta-data:"));
    }

    #[test]
    fn everything_that_meta_data_may_say() {
        let text = "instance-id: 007\nhostname: second\nlaunch-index: 2\npublic-keys:\n  ops: ssh-rsa A a\n\
                    availability-zone: z\nregion: r\nnetwork-interfaces: |\n  auto eth0\n  iface eth0 inet dhcp\n";
        let files = Files::from([("meta-data".to_owned(), text.as_bytes().to_vec())]);
        let found = seed("nocloud (/dev/vdb)".into(), meta(&files).unwrap(), files);
        let metadata = &found.metadata;
        assert_eq!((metadata.instance_id.as_deref(), metadata.launch_index), (Some("007"), Some(2)));
        assert_eq!((metadata.local_hostname.as_deref(), metadata.region.as_deref()), (Some("second"), Some("r")));
        assert_eq!(metadata.public_keys, ["ssh-rsa A a"]);
        assert_eq!(metadata.document["availability-zone"], "z");
        assert!(matches!(found.network, Some(NetworkConfig::Text(text)) if text.starts_with("auto eth0")));
    }

    #[test]
    fn a_query_takes_the_name_behind_it_and_is_not_shown() {
        let server = serve(|path| match path {
            "/seed?token=secret&file=user-data" => (200, "#cloud-config\n".into()),
            _ => (404, String::new()),
        });
        let line = format!("ds=nocloud;s=http://{}/seed?token=secret&file=", server.address());
        let Outcome::Found(seed) = look(&line, true) else { panic!() };
        assert_eq!(seed.user_data, b"#cloud-config\n");
        assert!(!seed.source.contains("secret"), "{}", seed.source);
        assert!(matches!(look(&line, false), Outcome::Nothing(what) if !what.contains("secret")));
    }
}
