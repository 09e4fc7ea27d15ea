//! The harness with real machines: what no unit test can show. See `guest/mod.rs` for the variables.

mod guest;

use guest::Guest;
use qemu::lab::BootMethod;
use qemu::services::http::Response;
use qemu::services::{DhcpMode, HttpFault};
use qemu::vm::{Boot, Console, Disk, DiskBus, DiskFormat, Line, Mark, Vm, VmConfig, create_empty, create_overlay};
use qemu::volume::SeedMedium;
use qemu::{Accelerator, BootFiles, Lab, MachineSpec, RunDir};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Runs a command on a machine's console, and gives the lines that it wrote.
fn run(lab: &Lab, machine: &str, command: &str) -> (i32, Vec<Line>) {
    let console = lab.machine(machine).console();
    let mark = console.mark();
    console.type_line(command).unwrap();
    let done = console.wait_after(mark, "GUEST done ", &lab.deadline(20)).unwrap();
    let status = done.text.rsplit(' ').next().unwrap().parse().unwrap();
    (status, console.lines_after(mark))
}

fn succeeds(lab: &Lab, machine: &str, command: &str) -> Vec<Line> {
    let (status, lines) = run(lab, machine, command);
    assert_eq!(status, 0, "{command} on {machine}: {lines:?}");
    lines
}

fn fails(lab: &Lab, machine: &str, command: &str) {
    assert_ne!(run(lab, machine, command).0, 0, "{command} on {machine} must fail");
}

fn wait_ready(lab: &Lab, machine: &str, mark: Mark) {
    lab.machine(machine).console().wait_after(mark, "GUEST ready", &lab.deadline(20)).unwrap();
}

fn http(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn spec(guest: &Guest, name: &str) -> MachineSpec {
    let cmdline = "console=ttyS0,115200 loglevel=6 panic=-1 random.trust_cpu=on";
    MachineSpec::new(name, BootFiles::kernel(&guest.kernel, &guest.initrd, cmdline)).memory_mib(192)
}

fn lab(guest: &Guest, specs: impl IntoIterator<Item = MachineSpec>) -> Lab {
    Lab::builder(Accelerator::probe(&guest.kernel).unwrap()).machines(specs).start().unwrap()
}

#[test]
fn two_machines_a_network_and_a_cloud() {
    let Some(guest) = Guest::from_environment("two_machines_a_network_and_a_cloud") else { return };
    let user_data = "#cloud-config\nhostname: from-the-volume\n";
    let lab = lab(
        &guest,
        [
            spec(&guest, "server-vm-0").user_data(user_data),
            spec(&guest, "server-vm-1").user_data(user_data).medium(SeedMedium::Iso),
        ],
    );
    println!("accelerator: {:?}", lab.accelerator());
    for name in ["server-vm-0", "server-vm-1"] {
        wait_ready(&lab, name, Mark::default());
    }
    lab.check_health().unwrap();

    // DHCP: silent at first, then a lease with everything.
    lab.services().dhcp().set_mode(DhcpMode::Silent);
    let dhcp = "udhcpc -s /udhcpc.sh -i eth0 -q -n -t 2 -T 1 -O staticroutes -O ntpsrv";
    fails(&lab, "server-vm-0", dhcp);
    lab.services().dhcp().set_mode(DhcpMode::Answering);
    let lease = |machine| {
        succeeds(&lab, machine, dhcp).into_iter().find(|line| line.text.contains("GUEST lease")).unwrap().text
    };
    assert_eq!(
        lease("server-vm-0"),
        "GUEST lease 10.0.5.10/24 server-vm-0.steppe.test mtu= ntp=10.0.5.1 for=3600 \
         routes=169.254.169.254/32 10.0.5.1 0.0.0.0/0 10.0.5.1"
    );
    assert!(lease("server-vm-1").starts_with("GUEST lease 10.0.5.11/24 server-vm-1"));

    // Names, between machines.
    succeeds(&lab, "server-vm-0", "ping -c 1 -W 5 server-vm-1");
    succeeds(&lab, "server-vm-0", "wget -q -O - http://server-vm-1.steppe.test:8080/name | grep server-vm-1");
    lab.services().dns().remove("server-vm-1");
    fails(&lab, "server-vm-0", "ping -c 1 -W 2 server-vm-1");

    // Seeds.
    succeeds(&lab, "server-vm-0", "mount -t vfat -o ro /dev/vda /mnt && grep from-the-volume /mnt/user-data");
    succeeds(
        &lab,
        "server-vm-1",
        "mount -t iso9660 -o ro /dev/sr0 /mnt && grep from-the-volume /mnt/user-data && grep i-server-vm-1 /mnt/meta-data",
    );

    // HTTP, with faults.
    let site = lab.services().site();
    site.put("/artifact", "hello artifact\n");
    succeeds(&lab, "server-vm-0", "wget -q -O - http://10.0.5.1/artifact | grep hello");
    succeeds(&lab, "server-vm-0", "wget -q -O - http://169.254.169.254/artifact | grep hello");
    site.fail("/artifact", HttpFault::Instead(Response::status(503)), Some(1));
    fails(&lab, "server-vm-0", "wget -q -O - http://10.0.5.1/artifact");
    assert_eq!(site.count("/artifact"), 3);

    // From this host into a machine, many at a time.
    let address = lab.forward("server-vm-1", 8080).unwrap();
    assert!(http(address, "/name").unwrap().ends_with(b"server-vm-1\n"));
    let start = Instant::now();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || http(address, "/big").unwrap().len())).collect();
    for thread in threads {
        assert!(thread.join().unwrap() >= 8 << 20);
    }
    println!("4 x 8 MiB through a forward: {:?}", start.elapsed());
    let refused = lab.forward("server-vm-1", 81).unwrap();
    assert!(http(refused, "/").is_err());

    // A partition holds and heals.
    let ping = "ping -c 1 -W 2 10.0.5.11";
    lab.switch().partition("server-vm-0", "server-vm-1").unwrap();
    fails(&lab, "server-vm-0", ping);
    lab.switch().heal("server-vm-0", "server-vm-1").unwrap();
    succeeds(&lab, "server-vm-0", ping);
    lab.machine("server-vm-1").vm().unwrap().set_carrier(0, false).unwrap();
    fails(&lab, "server-vm-0", ping);
    lab.machine("server-vm-1").vm().unwrap().set_carrier(0, true).unwrap();
    succeeds(&lab, "server-vm-0", "ping -c 5 -W 2 10.0.5.11");
    lab.finish().unwrap();
}

#[test]
fn power() {
    let Some(guest) = Guest::from_environment("power") else { return };
    let lab = lab(&guest, [spec(&guest, "vm").medium(SeedMedium::None)]);
    let machine = lab.machine("vm");
    let console = machine.console();
    wait_ready(&lab, "vm", Mark::default());
    assert!(machine.power_on().is_err());

    // A reset is the same QEMU, a power cycle another one; both are a new boot on the same console.
    let (mark, process) = (console.mark(), machine.vm().unwrap().process().id());
    machine.vm().unwrap().reset().unwrap();
    wait_ready(&lab, "vm", mark);
    assert_eq!(machine.vm().unwrap().process().id(), process);
    let mark = console.mark();
    machine.power_cycle().unwrap();
    wait_ready(&lab, "vm", mark);
    assert_ne!(machine.vm().unwrap().process().id(), process);

    // Frozen, it does nothing.
    let vm = machine.vm().unwrap();
    vm.stop().unwrap();
    let mark = console.mark();
    console.type_line("echo thawed").unwrap();
    assert!(console.wait_after(mark, "GUEST done", &qemu::Deadline::after(Duration::from_millis(500))).is_err());
    vm.cont().unwrap();
    console.wait_after(mark, "GUEST done", &lab.deadline(10)).unwrap();

    // Off by the guest itself, and the status says that it was in order.
    let events = vm.qmp().event_mark();
    console.type_line("poweroff -f").unwrap();
    vm.qmp().wait_event(events, "SHUTDOWN", &lab.deadline(10)).unwrap();
    assert!(vm.wait_exit(&lab.deadline(10)).unwrap().success());
    assert!(!machine.is_on() && machine.kill().is_err());

    // A panic is noticed at once, whatever one waits for.
    let mark = console.mark();
    machine.power_on().unwrap();
    wait_ready(&lab, "vm", mark);
    console.type_line("echo c > /proc/sysrq-trigger").unwrap();
    let error = console.wait_after(mark, "never", &lab.deadline(30)).unwrap_err();
    assert!(matches!(error, qemu::vm::ConsoleError::Fatal { .. }), "{error}");
    assert!(lab.check_health().is_err());
}

#[test]
fn every_kind_of_drive() {
    let Some(guest) = Guest::from_environment("every_kind_of_drive") else { return };
    let run = RunDir::new().unwrap();
    let base = run.path().join("base.raw");
    std::fs::write(&base, b"what the base holds\n".repeat(1000)).unwrap();
    let mut config = VmConfig::new(
        "drives",
        Accelerator::probe(&guest.kernel).unwrap(),
        Boot::Kernel {
            kernel: guest.kernel.clone(),
            initrd: Some(guest.initrd.clone()),
            cmdline: "console=ttyS0,115200 loglevel=4 panic=-1".to_owned(),
        },
    );
    config.memory_mib = 192;
    for (index, bus) in [DiskBus::Virtio, DiskBus::Scsi, DiskBus::Nvme, DiskBus::Ahci].into_iter().enumerate() {
        let path = run.path().join(format!("{index}.qcow2"));
        // Different sizes tell them apart in the guest.
        create_overlay(&path, &base, DiskFormat::Raw, Some((index as u64 + 1) << 20)).unwrap();
        config.disks.push(Disk::new(path, DiskFormat::Qcow2).on(bus).with_serial(format!("disk-{index}")));
    }
    let console = Console::new("drives", None);
    let vm = Vm::start(config, run.path(), &console).unwrap();
    let deadline = || vm.config().accelerator.time_scale().deadline(Duration::from_secs(20));
    console.wait_for("GUEST ready", &deadline()).unwrap();
    for (kind, blocks) in [("vd", 1024), ("sd", 2048), ("nvme", 3072), ("sd", 4096)] {
        let mark = console.mark();
        // The two that are named sda and sdb are found in any order.
        console.type_line(&format!("disk=$(awk '$3 == {blocks} {{ print $4 }}' /proc/partitions)")).unwrap();
        console
            .type_line(&format!("echo $disk | grep ^{kind} && head -n 1 /dev/$disk && echo x > /dev/$disk"))
            .unwrap();
        let held = console.wait_after(mark, "what the base holds", &deadline()).unwrap();
        assert!(console.wait_after(held.end(), "GUEST done", &deadline()).unwrap().text.ends_with("done 0"));
    }
    vm.quit().unwrap();
    assert!(std::fs::read(&base).unwrap().starts_with(b"what the base"), "the base was written");
}

#[test]
fn firmware_looks_for_something_to_boot() {
    let Some(guest) = Guest::from_environment("firmware_looks_for_something_to_boot") else { return };
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.qcow2");
    create_empty(&empty, 1 << 20).unwrap();
    let boot = BootFiles::uefi(&empty, DiskFormat::Qcow2);
    assert_eq!(boot.method, BootMethod::Uefi);
    let lab = lab(&guest, [MachineSpec::new("firmware", boot).medium(SeedMedium::None)]);
    lab.machine("firmware").console().wait_for(["BdsDxe: ", "Boot0001"], &lab.deadline(20)).unwrap();
    lab.finish().unwrap();
}
