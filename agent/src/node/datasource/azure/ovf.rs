//! `ovf-env.xml`: an OVF environment (DMTF DSP8027) with Azure's sections.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use roxmltree::{Document, Node, ParsingOptions};

/// More elements than this no such file has.
const MOST: u32 = 10_000;

/// What the file says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ovf {
    /// `HostName`.
    pub hostname: Option<String>,
    /// `CustomData`, decoded. May hold secrets.
    pub custom_data: Vec<u8>,
    /// `SSH/PublicKeys/PublicKey/Value`.
    pub keys: Vec<String>,
    /// `PreprovisionedVMType`, or that of an older file which only says that it is.
    pub pool: Option<String>,
    /// `ProvisionGuestProxyAgent`.
    pub proxy_agent: bool,
}

/// Shows nothing that may hold secrets.
impl std::fmt::Debug for Ovf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ovf").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// Why a file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvfError {
    /// Not text.
    #[error("not UTF-8 text")]
    Text,
    /// Not XML. The place is `line:column`.
    #[error("{0}: not XML")]
    Xml(String),
    /// A section that has to be there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// Not what it should be.
    #[error("CustomData is not base64")]
    CustomData,
}

impl Ovf {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not what Azure hands out. Messages show nothing of its content.
    pub fn parse(bytes: &[u8]) -> Result<Self, OvfError> {
        let text = std::str::from_utf8(bytes).map_err(|_| OvfError::Text)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let options = ParsingOptions { nodes_limit: MOST, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| OvfError::Xml(format!("{}:{}", error.pos().row, error.pos().col)))?;
        let root = document.root_element();
        let section = child(root, "ProvisioningSection").ok_or(OvfError::Missing("ProvisioningSection"))?;
        let linux = child(section, "LinuxProvisioningConfigurationSet")
            .ok_or(OvfError::Missing("LinuxProvisioningConfigurationSet"))?;
        let settings = child(root, "PlatformSettingsSection").and_then(|section| child(section, "PlatformSettings"));
        let setting = |name: &str| settings.and_then(|settings| text_of(settings, name));
        let is = |name: &str| setting(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let kind = setting("PreprovisionedVMType").filter(|kind| !kind.eq_ignore_ascii_case("none"));
        let custom_data: String = text_of(linux, "CustomData").unwrap_or_default().split_ascii_whitespace().collect();
        let keys = child(linux, "SSH").and_then(|ssh| child(ssh, "PublicKeys"));
        Ok(Self {
            hostname: text_of(linux, "HostName"),
            custom_data: BASE64_STANDARD.decode(custom_data).map_err(|_| OvfError::CustomData)?,
            keys: keys
                .into_iter()
                .flat_map(|keys| keys.children().filter(|node| node.tag_name().name() == "PublicKey"))
                .filter_map(|key| text_of(key, "Value"))
                .collect(),
            pool: kind.or_else(|| is("PreprovisionedVm").then(|| "Running".to_owned())),
            proxy_agent: is("ProvisionGuestProxyAgent"),
        })
    }
}

/// The first child of that name, whatever name space: Azure's has changed its prefix over the years.
fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(node, name)?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
