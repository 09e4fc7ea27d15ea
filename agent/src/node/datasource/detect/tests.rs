use std::{fs, path::Path};

use super::*;
use crate::node::datasource::Detection;

/// A fake `/sys` with the kernel's names of files.
fn machine(files: &[(&str, &str)]) -> Platform {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }
    Platform::read(root.path())
}

fn file(signal: Signal) -> Option<&'static str> {
    Some(match signal {
        Signal::Dmi("system-manufacturer") => "sys/class/dmi/id/sys_vendor",
        Signal::Dmi("system-product-name") => "sys/class/dmi/id/product_name",
        Signal::Dmi("system-serial-number") => "sys/class/dmi/id/product_serial",
        Signal::Dmi("system-uuid") => "sys/class/dmi/id/product_uuid",
        Signal::Dmi("chassis-asset-tag") => "sys/class/dmi/id/chassis_asset_tag",
        Signal::Dmi("bios-vendor") => "sys/class/dmi/id/bios_vendor",
        Signal::Dmi("bios-version") => "sys/class/dmi/id/bios_version",
        Signal::XenUuid => "sys/hypervisor/uuid",
        Signal::Word => "proc/cmdline",
        Signal::VirtioPort => "sys/class/virtio-ports/vport1p1/name",
        Signal::FwCfg => "sys/firmware/qemu_fw_cfg/by_key/42/name",
        Signal::Hypervisor => return None,
        Signal::Dmi(other) => panic!("{other} has no test"),
    })
}

fn with(signal: Signal, value: &str) -> Platform {
    match file(signal) {
        Some(file) => machine(&[(file, value)]),
        None => Platform {
            surroundings: Surroundings { hypervisor: Some(value.into()), ..Surroundings::default() },
            ..Platform::default()
        },
    }
}

/// Values as they were seen on real machines, and look-alikes that must not fit.
const SEEN: &[(&str, Signal, &str, &str)] = &[
    ("aws", Signal::Dmi("system-manufacturer"), "Amazon EC2", "Amazon"),
    ("aws", Signal::Dmi("bios-vendor"), "Amazon EC2", "SeaBIOS"),
    ("aws", Signal::Dmi("bios-version"), "4.11.amazon", "4.11"),
    ("aws", Signal::XenUuid, "ec2e1916-9099-7caf-fd21-012345abcdef", "cc2e1916-9099-7caf-fd21-012345abcdef"),
    ("aws", Signal::Dmi("system-uuid"), "EC2E1916-9099-7CAF-FD21-012345ABCDEF", "0ec2e191-9099-7caf-fd21-012345abcdef"),
    ("aws", Signal::Dmi("system-uuid"), "45E12AEC-DCD1-B213-94ED-012345ABCDEF", "45E1AEC2-DCD1-B213-94ED-012345ABCDEF"),
    ("brightbox", Signal::Dmi("system-serial-number"), "srv-otuxg.gb1.brightbox.com", "brightbox.com.example"),
    ("zstack", Signal::Dmi("chassis-asset-tag"), "123456.zstack.io", "zstack.io.example"),
    ("e24cloud", Signal::Dmi("system-manufacturer"), "e24cloud", "e24cloudyday"),
    ("tilaa", Signal::Dmi("system-manufacturer"), "Tilaa", "tilaa"),
    ("outscale", Signal::Dmi("system-manufacturer"), "3DS Outscale", "3DS"),
    ("aliyun", Signal::Dmi("system-product-name"), "Alibaba Cloud ECS", "Alibaba Cloud"),
    ("gce", Signal::Dmi("system-product-name"), "Google Compute Engine", "Google Pixelbook"),
    ("gce", Signal::Dmi("system-product-name"), "Google", "google"),
    ("gce", Signal::Dmi("system-serial-number"), "GoogleCloud-8F2E88F6A2D0C8E2", "MyGoogleCloud-1"),
    ("azure", Signal::Dmi("chassis-asset-tag"), "7783-7084-3265-9085-8269-3286-77", "7783-7084-3265-9085-8269-3286-78"),
    ("openstack", Signal::Dmi("system-product-name"), "OpenStack Nova", "OpenStack"),
    ("openstack", Signal::Dmi("system-product-name"), "OpenStack Compute", "Compute"),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "OpenStack Nova", "Nova"),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "OpenStack Compute", ""),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "OpenTelekomCloud", "opentelekomcloud"),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "SAP CCloud VM", "SAP CCloud"),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "HUAWEICLOUD", "HUAWEI"),
    ("openstack", Signal::Dmi("chassis-asset-tag"), "Samsung Cloud Platform", "Samsung"),
    ("digitalocean", Signal::Dmi("system-manufacturer"), "DigitalOcean", "Digital Ocean"),
    ("hetzner", Signal::Dmi("system-manufacturer"), "Hetzner", "Hetzner Online"),
    ("upcloud", Signal::Dmi("system-manufacturer"), "UpCloud", "upcloud"),
    ("scaleway", Signal::Dmi("system-manufacturer"), "Scaleway", "scale"),
    ("scaleway", Signal::Word, "quiet scaleway", "quiet scaleways=1"),
    ("vultr", Signal::Dmi("system-manufacturer"), "Vultr", "VULTR"),
    ("vultr", Signal::Word, "vultr ro", "novultr"),
    ("akamai", Signal::Dmi("system-manufacturer"), "Linode", "Linodes"),
    ("akamai", Signal::Dmi("system-manufacturer"), "Akamai", "akamai"),
    ("oracle", Signal::Dmi("chassis-asset-tag"), "OracleCloud.com", "oracle.com"),
    ("exoscale", Signal::Dmi("system-product-name"), "Exoscale Compute Platform", "An Exoscale"),
    ("vmware", Signal::Hypervisor, "VMwareVMware", "KVMKVMKVM"),
    ("vmware", Signal::Dmi("system-product-name"), "VMware7,1", "VM ware"),
    ("lxd", Signal::VirtioPort, "com.canonical.lxd", "org.qemu.guest_agent.0"),
    ("lxd", Signal::VirtioPort, "org.linuxcontainers.lxd", "org.linuxcontainers"),
    ("qemu", Signal::FwCfg, "opt/com.coreos/config", "etc/boot-fail-wait"),
    ("nocloud", Signal::Dmi("system-serial-number"), "ds=nocloud-net;s=http://10.0.2.2/", "ads=nocloud"),
    ("nwcs", Signal::Dmi("system-manufacturer"), "NWCS", "NWC"),
    ("cloudstack", Signal::Dmi("system-product-name"), "CloudStack KVM Hypervisor", "Apache CloudStack"),
    ("cloudsigma", Signal::Dmi("system-product-name"), "CloudSigma", "CloudSigmas"),
    ("cloudcix", Signal::Dmi("system-product-name"), "CloudCIX", "CIX"),
    ("smartos", Signal::Dmi("system-product-name"), "SmartDC HVM", "SmartOS"),
];

#[test]
fn every_row_has_a_machine_and_a_look_alike() {
    for row in TABLE {
        let words = |value: &'static str| value.split(' ').chain([value]);
        let shown = |(platform, signal, value, _): &(&str, Signal, &'static str, &str)| {
            (*platform, *signal) == (row.platform, row.signal) && words(value).any(|word| row.pattern.fits(word))
        };
        assert!(SEEN.iter().any(shown), "{row:?} has no test");
    }
    for (platform, signal, value, other) in SEEN {
        let found = matches(&with(*signal, value));
        let names: Vec<_> = found.iter().map(|m| m.platform).collect();
        assert_eq!(names, [*platform], "{value:?}");
        assert!(found[0].seen.contains(value.split(' ').next_back().unwrap()) || *signal == Signal::Word);
        assert_eq!(matches(&with(*signal, other)), [], "{other:?} looks like {platform}");
    }
}

#[test]
fn a_proven_cloud_beats_a_volume_that_anybody_can_attach() {
    let hetzner = machine(&[("sys/class/dmi/id/sys_vendor", "Hetzner")]);
    assert_eq!(hetzner.detection("nocloud"), with_source("hetzner", Detection::Absent, Detection::Possible));
    let azure = machine(&[("sys/class/dmi/id/sys_vendor", "Amazon EC2"), ("proc/cmdline", "ds=nocloud")]);
    assert_eq!((azure.detection("nocloud"), azure.detection("aws")), (Detection::Named, Detection::Absent));
    let nothing = machine(&[("sys/class/dmi/id/sys_vendor", "QEMU")]);
    assert_eq!(nothing.detection("nocloud"), Detection::Possible);
    assert!(nothing.describe().starts_with("no known platform: system-manufacturer \"QEMU\", no system-product-name"));
    // There is nobody to ask, so a volume is all there can be.
    let other = machine(&[("sys/class/dmi/id/product_name", "CloudStack KVM Hypervisor")]);
    assert_eq!(other.detection("nocloud"), Detection::Possible);
    assert!(other.describe().contains("for which there is no datasource"), "{}", other.describe());
}

/// What holds when there is such a datasource, and what else.
fn with_source(name: &str, with: Detection, without: Detection) -> Detection {
    if crate::node::datasource::names().any(|n| n == name) { with } else { without }
}

#[test]
fn two_bytes_of_a_uuid_are_no_proof() {
    let unlucky = machine(&[("sys/class/dmi/id/product_uuid", "ec2e1916-9099-7caf-fd21-012345abcdef")]);
    assert_eq!(unlucky.detection("nocloud"), Detection::Possible);
    assert_eq!(unlucky.detection("aws"), Detection::Possible);
}

#[test]
fn what_a_person_says_comes_first() {
    let of = |line: &str, image: Option<&str>| Platform {
        image: image.map(str::to_owned),
        ..machine(&[("proc/cmdline", line), ("sys/class/dmi/id/sys_vendor", "Amazon EC2")])
    };
    let explicit = |line: &str, image| of(line, image).explicit().map(|explicit| (explicit.platform, explicit.said));
    let some = |platform: &str, said: &str| Some((platform.to_owned(), said.to_owned()));
    assert_eq!(explicit("", None), None);
    assert_eq!(explicit("ds=NoCloud-Net;s=http://h/", None), some("nocloud", "ds=NoCloud-Net"));
    assert_eq!(explicit("ds=aws steppe.platform=proxmox", None), some("nocloud", "steppe.platform=proxmox"));
    assert_eq!(explicit("", Some("nocloud")), some("nocloud", "platform \"nocloud\" of the image's recipe"));
    assert_eq!(explicit("ds=nocloud\\;s=http://h/", Some("ec2")), some("nocloud", "ds=nocloud"));
    assert_eq!(explicit("ds=maas", None), None, "nobody is there to be asked");
    assert!(of("steppe.platform=nocluod", None).complaints()[0].starts_with("steppe.platform=nocluod: not one of "));
    let named = of("steppe.platform=nocloud", None);
    assert_eq!((named.detection("nocloud"), named.detection("aws")), (Detection::Named, Detection::Absent));
    assert_eq!(named.describe(), "the platform is nocloud, because of steppe.platform=nocloud");
}

#[test]
fn openstacks_own_volumes_are_looked_at() {
    let openstack = machine(&[("sys/class/dmi/id/product_name", "OpenStack Nova")]);
    let got = openstack.detection("configdrive");
    assert_eq!(got, with_source("openstack", Detection::Named, Detection::Possible));
    assert_eq!(openstack.detection("nocloud"), with_source("openstack", Detection::Absent, Detection::Possible));
}

#[test]
fn nothing_at_all_is_read_of_an_empty_machine() {
    assert_eq!(Surroundings::read(Path::new("/nonexistent")), Surroundings::default());
    assert_eq!(LABELS.iter().filter(|(label, _)| label.eq_ignore_ascii_case("cidata")).count(), 1);
}
