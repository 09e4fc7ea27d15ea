//! The text that describes the machine: the hardware that VMware gives a cloud's guests, and what only VMware asks for.
//!
//! A node gets its user-data by `guestinfo.userdata` and the like, which are set on the machine (`govc vm.change -e`,
//! Terraform's `extra_config`) and not in the package.

use super::About;

/// The disk of the machine.
pub(super) struct Disk<'a> {
    /// Its file.
    pub(super) file: &'a str,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Bytes of the disk.
    pub(super) capacity: u64,
    /// Bytes of the disk that are stored.
    pub(super) populated: u64,
}

/// vSphere 6.7 U2 and later.
const FAMILY: &str = "vmx-15";
/// "Other Linux, 64 bits" of the Common Information Model, and VMware's word for one with a kernel of series 4 or later,
/// for which it offers the paravirtual devices.
const CIM_LINUX_64: u32 = 101;
const VMWARE_LINUX_64: &str = "other4xLinux64Guest";
/// An item of the machine's hardware: elements of `CIM_ResourceAllocationSettingData`, in the order of the alphabet, as the
/// schema wants them.
type Item = [(&'static str, &'static str)];

/// The paravirtual kinds of each, for which the images have drivers.
const HARDWARE: [&Item; 5] = [
    &[
        ("AllocationUnits", "hertz * 10^6"),
        ("ElementName", "CPU"),
        ("InstanceID", "1"),
        ("ResourceType", "3"),
        ("VirtualQuantity", "2"),
    ],
    &[
        ("AllocationUnits", "byte * 2^20"),
        ("ElementName", "Memory"),
        ("InstanceID", "2"),
        ("ResourceType", "4"),
        ("VirtualQuantity", "2048"),
    ],
    &[
        ("Address", "0"),
        ("ElementName", "SCSI controller"),
        ("InstanceID", "3"),
        ("ResourceSubType", "VirtualSCSI"),
        ("ResourceType", "6"),
    ],
    &[
        ("AddressOnParent", "0"),
        ("ElementName", "Disk"),
        ("HostResource", "ovf:/disk/disk1"),
        ("InstanceID", "4"),
        ("Parent", "3"),
        ("ResourceType", "17"),
    ],
    &[
        ("AddressOnParent", "7"),
        ("AutomaticAllocation", "true"),
        ("Connection", "VM Network"),
        ("ElementName", "Network adapter"),
        ("InstanceID", "5"),
        ("ResourceSubType", "VmxNet3"),
        ("ResourceType", "10"),
    ],
];

pub(super) fn text(about: &About<'_>, disk: &Disk<'_>) -> String {
    let (name, version) = (escape(about.name), escape(about.version));
    let file = escape(disk.file);
    let Disk { size, capacity, populated, .. } = disk;
    let items: String = HARDWARE
        .iter()
        .map(|item| {
            let elements = item.iter().map(|(key, value)| format!("        <rasd:{key}>{value}</rasd:{key}>\n"));
            format!("      <Item>\n{}      </Item>\n", elements.collect::<String>())
        })
        .collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{file}" ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>The disks of the machine</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" ovf:populatedSize="{populated}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The networks that the machine is attached to</Info>
    <Network ovf:name="VM Network">
      <Description>Where the node finds the others of its cluster</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A node of a Nomad cluster</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="{CIM_LINUX_64}" vmw:osType="{VMWARE_LINUX_64}">
      <Info>The kind of guest operating system</Info>
      <Description>Steppe</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>What the machine is made of</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{FAMILY}</vssd:VirtualSystemType>
      </System>
{items}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="tools.syncTimeWithHost" vmw:value="false"/>
    </VirtualHardwareSection>
    <ProductSection>
      <Info>What is on the disk</Info>
      <Product>Steppe</Product>
      <Version>{version}</Version>
    </ProductSection>
  </VirtualSystem>
</Envelope>
"#
    )
}

/// Text in an element or an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
