//! The table of signals: that of cloud-init's `ds-identify`, with one rule more. Two bytes of a UUID are no proof: a
//! machine whose random UUID happens to begin with `ec2` (one of 4096) must not be lost on a cloud that is not there.
//! Such signals only make a source worth asking.

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A value of the firmware, by cloud-init's name for it.
    Dmi(&'static str),
    /// `/sys/hypervisor/uuid`, which Xen shows.
    XenUuid,
    /// The hypervisor's signature, from the processor (CPUID leaf 0x40000000).
    Hypervisor,
    /// A word of the kernel's command line.
    Word,
    /// The name of a port of the virtio console.
    VirtioPort,
    /// A file that QEMU hands over (`fw_cfg`), below `opt/`.
    FwCfg,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Just this.
    Is(&'static str),
    /// It begins so, in any case.
    Starts(&'static str),
    /// It ends so.
    Ends(&'static str),
    /// It has this in it, in any case.
    Has(&'static str),
    /// One of its words begins so, in any case.
    Word(&'static str),
    /// A UUID that begins with `ec2` when the bytes of its first group are turned round: `45E12AEC-...`.
    SwappedEc2,
}

impl Pattern {
    pub(super) fn fits(self, value: &str) -> bool {
        let begins = |text: &str, with: &str| {
            text.as_bytes().get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
        };
        match self {
            Self::Is(want) => value == want,
            Self::Starts(want) => begins(value, want),
            Self::Ends(want) => value.ends_with(want),
            Self::Has(want) => value.to_ascii_lowercase().contains(&want.to_ascii_lowercase()),
            Self::Word(want) => value.split_whitespace().any(|word| begins(word, want)),
            Self::SwappedEc2 => {
                let bytes = value.as_bytes();
                bytes.get(8) == Some(&b'-')
                    && bytes.get(4) == Some(&b'2')
                    && bytes.get(6..8).is_some_and(|end| end.eq_ignore_ascii_case(b"ec"))
            }
        }
    }
}

/// How much a fitting row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The source is worth asking.
    Hint,
    /// The machine is there: removable media are not looked at, because whoever can attach a volume must not be able to
    /// give the machine another identity.
    Proof,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The platform, by the name of its datasource, or of what has none here.
    pub platform: &'static str,
    /// Which value.
    pub signal: Signal,
    /// What it looks like.
    pub pattern: Pattern,
    /// How much it says.
    pub weight: Weight,
}

const VENDOR: Signal = Signal::Dmi("system-manufacturer");
const PRODUCT: Signal = Signal::Dmi("system-product-name");
const SERIAL: Signal = Signal::Dmi("system-serial-number");
const UUID: Signal = Signal::Dmi("system-uuid");
const ASSET: Signal = Signal::Dmi("chassis-asset-tag");

const fn proof(platform: &'static str, signal: Signal, pattern: Pattern) -> Row {
    Row { platform, signal, pattern, weight: Weight::Proof }
}

const fn hint(platform: &'static str, signal: Signal, pattern: Pattern) -> Row {
    Row { platform, signal, pattern, weight: Weight::Hint }
}

use Pattern::{Ends, Has, Is, Starts, SwappedEc2, Word};

/// All signals.
pub const TABLE: &[Row] = &[
    proof("aws", VENDOR, Is("Amazon EC2")),
    proof("aws", Signal::Dmi("bios-vendor"), Is("Amazon EC2")),
    proof("aws", Signal::Dmi("bios-version"), Has("amazon")),
    hint("aws", Signal::XenUuid, Starts("ec2")),
    hint("aws", UUID, Starts("ec2")),
    hint("aws", UUID, SwappedEc2),
    proof("brightbox", SERIAL, Ends(".brightbox.com")),
    proof("zstack", ASSET, Ends(".zstack.io")),
    proof("e24cloud", VENDOR, Is("e24cloud")),
    proof("tilaa", VENDOR, Is("Tilaa")),
    proof("outscale", VENDOR, Is("3DS Outscale")),
    proof("aliyun", PRODUCT, Is("Alibaba Cloud ECS")),
    proof("gce", PRODUCT, Is("Google Compute Engine")),
    proof("gce", PRODUCT, Is("Google")),
    proof("gce", SERIAL, Starts("GoogleCloud-")),
    proof("azure", ASSET, Is("7783-7084-3265-9085-8269-3286-77")),
    proof("openstack", PRODUCT, Is("OpenStack Nova")),
    proof("openstack", PRODUCT, Is("OpenStack Compute")),
    proof("openstack", ASSET, Is("OpenStack Nova")),
    proof("openstack", ASSET, Is("OpenStack Compute")),
    proof("openstack", ASSET, Is("OpenTelekomCloud")),
    proof("openstack", ASSET, Is("SAP CCloud VM")),
    proof("openstack", ASSET, Is("HUAWEICLOUD")),
    proof("openstack", ASSET, Is("Samsung Cloud Platform")),
    proof("digitalocean", VENDOR, Is("DigitalOcean")),
    proof("hetzner", VENDOR, Is("Hetzner")),
    proof("upcloud", VENDOR, Is("UpCloud")),
    proof("scaleway", VENDOR, Is("Scaleway")),
    proof("scaleway", Signal::Word, Is("scaleway")),
    proof("vultr", VENDOR, Is("Vultr")),
    proof("vultr", Signal::Word, Is("vultr")),
    proof("akamai", VENDOR, Is("Linode")),
    proof("akamai", VENDOR, Is("Akamai")),
    proof("oracle", ASSET, Is("OracleCloud.com")),
    proof("exoscale", PRODUCT, Starts("Exoscale")),
    hint("vmware", Signal::Hypervisor, Is("VMwareVMware")),
    hint("vmware", PRODUCT, Has("VMware")),
    hint("lxd", Signal::VirtioPort, Is("com.canonical.lxd")),
    hint("lxd", Signal::VirtioPort, Is("org.linuxcontainers.lxd")),
    hint("qemu", Signal::FwCfg, Starts("opt/")),
    proof("nocloud", SERIAL, Word("ds=nocloud")),
    // Known, without a datasource here: the node says so, and looks for a seed volume.
    proof("nwcs", VENDOR, Is("NWCS")),
    proof("cloudstack", PRODUCT, Starts("CloudStack")),
    proof("cloudsigma", PRODUCT, Is("CloudSigma")),
    proof("cloudcix", PRODUCT, Is("CloudCIX")),
    proof("smartos", PRODUCT, Starts("SmartDC")),
];

/// Labels of volumes that belong to a platform.
pub const LABELS: &[(&str, &str)] = &[
    ("cidata", "nocloud"),
    ("config-2", "configdrive"),
    ("CONTEXT", "opennebula"),
    ("CLOUDMD", "rbxcloud"),
    ("OVF-TRANSPORT", "ovf"),
    ("OVFENV", "ovf"),
    ("OVF ENV", "ovf"),
];

/// Volumes on which a cloud itself hands over its metadata.
pub(super) const MEDIA: &[(&str, &str)] = &[("openstack", "configdrive"), ("digitalocean", "configdrive")];

/// Other names that people know platforms by: in `ds=`, `steppe.platform=` and recipes.
const ALIASES: &[(&str, &str)] = &[
    ("alibaba", "aliyun"),
    ("amazon", "aws"),
    ("config-drive", "configdrive"),
    ("ec2", "aws"),
    ("fw_cfg", "qemu"),
    ("gcp", "gce"),
    ("google", "gce"),
    ("guestinfo", "vmware"),
    ("incus", "lxd"),
    ("linode", "akamai"),
    ("nocloud-net", "nocloud"),
    ("nutanix", "configdrive"),
    ("oci", "oracle"),
    ("proxmox", "nocloud"),
];

/// The platform of a name, in any case.
#[must_use]
pub fn canonical(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, platform)| (*platform).to_owned())
}
