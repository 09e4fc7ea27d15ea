//! NoCloud: files on a volume labelled `cidata`, or below an address that the command line or the firmware names.

use std::collections::BTreeMap;

use super::{Datasource, Get, Look, Outcome, Platform, hints, media};
use crate::node::{
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
    userdata::yaml,
};

/// The label of a seed volume.
const LABEL: &str = "cidata";
/// The files of a seed. Any of them may be absent.
const FILES: [&str; 4] = ["meta-data", "user-data", "vendor-data", "network-config"];

type Files = BTreeMap<String, Vec<u8>>;

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
        let seedfrom = values.remove("seedfrom").or(hints.seedfrom);
        for (key, value) in [("instance-id", hints.instance_id), ("local-hostname", hints.hostname)] {
            if let Some(value) = value {
                values.entry(key.to_owned()).or_insert(value);
            }
        }
        if let Some(base) = seedfrom {
            if !base.starts_with("http://") {
                return Outcome::Failed(format!("the seed address {base:?} must begin with http:// (there is no TLS)"));
            }
            if !look.online {
                return Outcome::Nothing(format!("an address, to ask {base}"));
            }
            match fetch(&base) {
                Ok(fetched) if fetched.is_empty() && source.is_none() => {
                    return Outcome::Nothing(format!("seed files below {base} (it has none)"));
                }
                Ok(fetched) => {
                    source = Some(format!("nocloud ({base})"));
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
        let mut value = |keys: &[&str]| keys.iter().find_map(|key| values.remove(*key)).filter(|v| !v.is_empty());
        let metadata = Metadata {
            instance_id: value(&["instance-id", "instance_id"]),
            local_hostname: value(&["local-hostname", "hostname"]),
            ..Metadata::default()
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Outcome::Found(Box::new(Seed {
            platform: self.name().to_owned(),
            source,
            metadata,
            vendor_data: files.remove("vendor-data").filter(|data| !data.trim_ascii().is_empty()).into_iter().collect(),
            network: files
                .remove("network-config")
                .map(text)
                .filter(|text| !text.trim().is_empty())
                .map(NetworkConfig::Text),
            user_data: files.remove("user-data").unwrap_or_default(),
        }))
    }
}

/// The scalar values of `meta-data`.
fn meta(files: &Files) -> Result<BTreeMap<String, String>, String> {
    let Some(bytes) = files.get("meta-data") else { return Ok(BTreeMap::new()) };
    let text = std::str::from_utf8(bytes).map_err(|_| "meta-data is not UTF-8 text".to_owned())?;
    let document = yaml::load(text).map_err(|error| format!("meta-data:{}: {error}", error.at))?;
    let entries = document.root.as_ref().and_then(yaml::Node::mapping).unwrap_or_default();
    Ok(entries.iter().filter_map(|(k, v)| Some((k.text()?.to_owned(), v.text()?.to_owned()))).collect())
}

/// All files below an address; those that it does not have are absent. The first error ends it.
fn fetch(base: &str) -> Result<Files, String> {
    let get = Get::default();
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
        node::{net::View, testing::serve},
    };

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
        assert!(meta(&files).unwrap_err().starts_with("meta-data:"));
    }
}
