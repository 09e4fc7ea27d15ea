use super::*;
use crate::Accelerator;
use crate::switch::Mac;
use crate::vm::Firmware;
use crate::vm::config::{DiskFormat, Nic, NicModel, Smbios};

fn harness() -> Wiring {
    Wiring::Harness { console: "/run/con".into(), qmp: "/run/qmp".into() }
}

/// One option a line.
fn text(config: &VmConfig, wiring: &Wiring) -> String {
    let mut text = String::new();
    for arg in argv(config, wiring) {
        let arg = arg.into_string().unwrap();
        text.push_str(if arg.starts_with('-') { "\n" } else { " " });
        text.push_str(&arg);
    }
    text.trim_start().to_owned()
}

fn node() -> VmConfig {
    let boot = Boot::Kernel {
        kernel: "/b/vmlinuz".into(),
        initrd: Some("/b/initrd".into()),
        cmdline: "console=ttyS0 root=PARTUUID=1".into(),
    };
    VmConfig {
        memory_mib: 256,
        disks: vec![
            Disk::new("/d/disk.qcow2", DiskFormat::Qcow2).with_serial("root"),
            Disk::new("/d/a,b.img", DiskFormat::Raw).read_only(),
        ],
        nics: vec![Nic { socket: "/d/net".into(), mac: Mac([0x52, 0x54, 0, 0, 0, 1]), model: NicModel::Virtio }],
        smbios: Smbios { serial: Some("ds=nocloud;s=http://10.0.5.1/".into()), ..Smbios::default() },
        ..VmConfig::new("server-vm-0", Accelerator::Tcg, boot)
    }
}

#[test]
fn a_node_with_direct_kernel_boot() {
    let expected = "\
-nodefaults
-no-user-config
-display none
-name server-vm-0
-machine q35
-cpu max,cx16=off
-accel tcg,tb-size=512
-smp 1
-m 256M
-action reboot=reset,shutdown=poweroff,panic=exit-failure
-rtc base=utc
-kernel /b/vmlinuz
-initrd /b/initrd
-append console=ttyS0 root=PARTUUID=1
-smbios type=1,serial=ds=nocloud;s=http://10.0.5.1/
-chardev socket,id=console,path=/run/con,server=off
-serial chardev:console
-chardev socket,id=qmp,path=/run/qmp,server=off
-mon chardev=qmp,mode=control
-drive if=none,id=disk0,format=qcow2,file=/d/disk.qcow2,cache=unsafe,discard=unmap
-device virtio-blk-pci,drive=disk0,serial=root
-drive if=none,id=disk1,format=raw,file=/d/a,,b.img,cache=unsafe,discard=unmap,readonly=on
-device virtio-blk-pci,drive=disk1
-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/d/net
-device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,romfile=,rx_queue_size=1024
-device virtio-rng-pci";
    assert_eq!(text(&node(), &harness()), expected);
}

#[test]
fn firmware_and_every_kind_of_drive() {
    let firmware = Firmware { code: "/f/CODE.fd".into(), variables: "/d/VARS.fd".into() };
    let drive = |name: &str, bus| Disk::new(format!("/d/{name}"), DiskFormat::Raw).on(bus);
    let config = VmConfig {
        disks: vec![
            drive("a", DiskBus::Scsi),
            drive("b", DiskBus::Nvme),
            drive("c", DiskBus::Ahci),
            drive("d", DiskBus::Cdrom),
            drive("e", DiskBus::Scsi),
            drive("f", DiskBus::MegaRaid),
            drive("g", DiskBus::Usb),
            drive("h", DiskBus::Sas),
        ],
        nics: vec![Nic { socket: "/d/net".into(), mac: Mac([2, 0, 0, 0, 0, 1]), model: NicModel::E1000e }],
        smbios: Smbios { asset_tag: Some("7783".into()), oem: vec!["a=b,c".into()], ..Smbios::default() },
        clock: Some("1999-12-31T23:59:00".into()),
        pvpanic: true,
        extra: vec!["-S".into()],
        ..VmConfig::new("vm", Accelerator::Kvm, Boot::Uefi(firmware))
    };
    let text = text(&config, &harness());
    for line in [
        "-accel kvm",
        "-cpu max",
        "-rtc base=1999-12-31T23:59:00,clock=vm",
        "-drive if=pflash,unit=0,format=raw,readonly=on,file=/f/CODE.fd",
        "-drive if=pflash,unit=1,format=raw,file=/d/VARS.fd",
        "-smbios type=3,asset=7783",
        "-smbios type=11,value=a=b,,c",
        "-device virtio-scsi-pci,id=scsi",
        "-device scsi-hd,bus=scsi.0,scsi-id=0,drive=disk0,bootindex=0",
        "-device nvme,drive=disk1,bootindex=1,serial=nvme1",
        "-device ide-hd,bus=ide.0,drive=disk2,bootindex=2",
        "-drive if=none,id=disk3,format=raw,file=/d/d,cache=unsafe,discard=unmap,readonly=on",
        "-device ide-cd,bus=ide.1,drive=disk3,bootindex=3",
        "-device scsi-hd,bus=scsi.0,scsi-id=1,drive=disk4,bootindex=4",
        "-device megasas,id=raid",
        "-device scsi-hd,bus=raid.0,scsi-id=2,drive=disk5,bootindex=5",
        "-device qemu-xhci,id=usb",
        "-device usb-storage,bus=usb.0,removable=on,drive=disk6,bootindex=6",
        "-device mptsas1068,id=sas",
        "-device scsi-hd,bus=sas.0,scsi-id=3,wwn=0x5000c50000000003,drive=disk7,bootindex=7",
        "-device e1000e,netdev=net0,mac=02:00:00:00:00:01,romfile=",
        "-device pvpanic-pci",
        "-S",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
}

#[test]
fn the_replay_script_quotes_and_needs_no_harness() {
    let script = replay_script(&node());
    assert!(script.contains("exec qemu-system-x86_64 \\\n  -nodefaults \\\n"), "{script}");
    assert!(script.contains("-append 'console=ttyS0 root=PARTUUID=1'"), "{script}");
    assert!(script.contains("-serial mon:stdio"), "{script}");
    assert!(script.contains("-netdev user,id=net0"), "{script}");
    assert!(!script.contains("/d/net"), "{script}");
}
