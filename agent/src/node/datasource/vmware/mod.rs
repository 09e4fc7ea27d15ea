//! VMware: values that the hypervisor keeps for the machine ("guestinfo"), read through its I/O port in this process. No
//! tools of VMware's are needed.

mod guestinfo;
mod ovf;
mod rpc;
mod sys;

use guestinfo::Answers;
pub use guestinfo::seed;
pub use ovf::environment;
use rpc::{Channel, Rpc};

use super::{Datasource, Look, Outcome, Platform, ReportState, media};
use crate::warning;

/// The datasource.
#[derive(Debug, Clone, Copy)]
pub struct VmWare;

impl Datasource for VmWare {
    fn name(&self) -> &'static str {
        "vmware"
    }

    fn is_local(&self, _: &Platform) -> bool {
        true
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        match sys::IoPort::open() {
            Some(port) => read(&mut Rpc(port), look),
            None => Outcome::Nothing("a machine of VMware".into()),
        }
    }

    /// When the node is well it needs the values no more: what is to be redacted is, and the address is told.
    fn report(&self, look: &Look<'_>, state: ReportState<'_>) {
        if let (ReportState::Ready, Some(port)) = (state, sys::IoPort::open()) {
            let address = look.view.primary().map(|address| address.address.to_string());
            tidy(&mut Rpc(port), address.as_deref());
        }
    }
}

fn read(channel: &mut dyn Channel, look: &Look<'_>) -> Outcome {
    let answers = match Answers::read(channel) {
        Ok(answers) => answers,
        Err(why) => return Outcome::Failed(why),
    };
    let uuid = look.platform.dmi.get("system-uuid");
    let found = if answers.is_empty() {
        properties(channel, look).and_then(|bytes| bytes.map_or(Ok(None), |bytes| environment(&bytes, uuid)))
    } else {
        seed(answers.metadata.as_deref(), answers.userdata, answers.vendordata, uuid).map(Some)
    };
    match found {
        Ok(Some(seed)) => Outcome::Found(Box::new(seed)),
        Ok(None) => Outcome::Nothing("guestinfo.metadata, userdata, vendordata or properties of an OVF package".into()),
        Err(why) => Outcome::Failed(why),
    }
}

/// The environment of the package that the machine was made of: as a value, or on a CD.
fn properties(channel: &mut dyn Channel, look: &Look<'_>) -> Result<Option<Vec<u8>>, String> {
    const FILE: &str = "ovf-env.xml";
    if let Some(bytes) = guestinfo::value(channel, "ovfEnv")? {
        return Ok(Some(bytes));
    }
    for volume in LABELS.iter().flat_map(|label| media::volumes(look.root, label).0) {
        let mut files = volume.read(look.root, &[FILE]).map_err(|error| error.to_string())?;
        if let Some(bytes) = files.remove(FILE) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Labels of CDs with the environment.
const LABELS: [&str; 3] = ["OVF ENV", "OVFENV", "OVF-TRANSPORT"];

/// Overwrites what the metadata names, now that it is remembered on the state partition, and says the address.
fn tidy(channel: &mut dyn Channel, address: Option<&str>) {
    let keys =
        Answers::read(channel).ok().and_then(|answers| answers.metadata).map(|bytes| guestinfo::to_redact(&bytes));
    for key in keys.unwrap_or_default() {
        for (key, value) in [(key.clone(), guestinfo::UNSET), (format!("{key}.encoding"), " ")] {
            if let Err(error) = channel.ask(&format!("info-set guestinfo.{key} {value}")) {
                warning!("failed to redact guestinfo.{key}: {error}");
            }
        }
    }
    if let Some(address) = address
        && let Err(error) = channel.ask(&format!("info-set guestinfo.local-ipv4 {address}"))
    {
        warning!("failed to set guestinfo.local-ipv4: {error}");
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{rpc::tests::Hypervisor, *};
    use crate::node::{
        datasource::testbed::{golden, machine},
        net::View,
    };

    const METADATA: &[u8] = include_bytes!("../fixtures/vmware.yaml");
    const USER_DATA: &[u8] = b"#cloud-config\n# secret of the user\n";

    fn look(channel: &mut dyn Channel) -> Outcome {
        let platform = machine(&[("product_uuid", "420F0A0B-0C0D-0E0F-1011-121314151617")], "");
        let view = View::default();
        read(channel, &Look::new(std::path::Path::new("/nonexistent"), &platform, &view))
    }

    fn machine_with(values: &[(&str, &[u8])]) -> Rpc<Hypervisor> {
        Rpc(Hypervisor::new(values))
    }

    #[test]
    fn a_virtual_machine() {
        let metadata = BASE64_STANDARD.encode(METADATA);
        let user_data = BASE64_STANDARD.encode(USER_DATA);
        let mut channel = machine_with(&[
            ("guestinfo.metadata", metadata.as_bytes()),
            ("guestinfo.metadata.encoding", b"base64\n"),
            ("guestinfo.userdata", user_data.as_bytes()),
            ("guestinfo.userdata.encoding", b"b64"),
            ("guestinfo.vendordata", b"---"),
        ]);
        let Outcome::Found(seed) = look(&mut channel) else { panic!() };
        insta::assert_snapshot!("vmware", golden(&seed));
    }

    #[test]
    fn nothing_is_waited_for_and_nonsense_is_said() {
        for value in [&b""[..], b"---\n", b"  "] {
            assert!(matches!(look(&mut machine_with(&[("guestinfo.userdata", value)])), Outcome::Nothing(_)));
        }
        let why = |values: &[(&str, &[u8])]| match look(&mut machine_with(values)) {
            Outcome::Failed(why) => why,
            other => panic!("{other:?}"),
        };
        let text = why(&[("guestinfo.userdata", b"secret"), ("guestinfo.userdata.encoding", b"rot13")]);
        assert!(text.contains("guestinfo.userdata.encoding") && text.contains("rot13") && !text.contains("secret"));
        let text = why(&[("guestinfo.userdata", b"se*cret"), ("guestinfo.userdata.encoding", b"gz+b64")]);
        assert!(text.contains("guestinfo.userdata") && !text.contains("cret"), "{text}");
        assert!(why(&[("guestinfo.metadata", b"a: [")]).starts_with("failed to read guestinfo.metadata:"));
    }

    #[test]
    fn the_environment_counts_where_guestinfo_says_nothing() {
        let environment =
            b"<Environment><PropertySection><Property key='hostname' value='of-ovf'/></PropertySection></Environment>";
        let mut both = vec![("guestinfo.ovfEnv", &environment[..]), ("guestinfo.userdata", USER_DATA)];
        let name = |values: &[(&str, &[u8])]| match look(&mut machine_with(values)) {
            Outcome::Found(seed) => (seed.source, seed.metadata.local_hostname),
            other => panic!("{other:?}"),
        };
        assert_eq!(name(&both), ("vmware (guestinfo)".into(), None));
        both.pop();
        assert_eq!(name(&both), ("vmware (OVF environment)".into(), Some("of-ovf".into())));
        let broken = look(&mut machine_with(&[("guestinfo.ovfEnv", b"<a")]));
        assert!(matches!(broken, Outcome::Failed(why) if why.contains("OVF environment")));
    }

    #[test]
    fn without_an_id_the_uuid_is_it() {
        let Outcome::Found(seed) = look(&mut machine_with(&[("guestinfo.userdata", USER_DATA)])) else { panic!() };
        assert_eq!(seed.metadata.instance_id.as_deref(), Some("420f0a0b-0c0d-0e0f-1011-121314151617"));
        assert_eq!(seed.user_data, USER_DATA.trim_ascii_end());
    }

    #[test]
    fn what_is_to_be_redacted_is_and_is_not_found_again() {
        let metadata = b"{\"instance-id\": \"i\", \"redact\": [\"userdata\", \"vendordata\"]}";
        let mut channel = machine_with(&[
            ("guestinfo.metadata", metadata),
            ("guestinfo.userdata", b"c2VjcmV0"),
            ("guestinfo.userdata.encoding", b"base64"),
        ]);
        tidy(&mut channel, Some("10.0.0.9"));
        let value = |key: &str| channel.0.values.get(key).map(Vec::as_slice);
        assert_eq!(value("guestinfo.userdata"), Some(&b"---"[..]));
        assert_eq!(value("guestinfo.userdata.encoding"), Some(&b" "[..]));
        assert_eq!(value("guestinfo.metadata"), Some(&metadata[..]));
        assert_eq!(value("guestinfo.local-ipv4"), Some(&b"10.0.0.9"[..]));
        let Outcome::Found(seed) = look(&mut channel) else { panic!() };
        assert_eq!(seed.user_data, b"");
    }
}
