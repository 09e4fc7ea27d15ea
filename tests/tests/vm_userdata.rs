//! One client whose user-data uses as many keys as it can: what they leave on a running machine. The machine boots twice,
//! because the user-data says so, and what is done once is done once.

use std::{process::ExitCode, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use qemu::services::Response;
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, machine},
    guest, suite, wait,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
const SERVER: &str = "server-vm-0";
const CLIENT: &str = "client-vm-0";
const DATA: &str = include_str!("../fixtures/userdata.yaml");

/// What the machine is asked, each answer behind a line with the name of the question.
const QUESTIONS: &str = r#"
echo "== mounts"; $b cat /proc/mounts
echo "== swaps"; $b cat /proc/swaps
echo "== zone"; $b date +%Z; $b cat /etc/timezone
echo "== files"; $b stat -c '%n %U:%G %a %s' /srv/app/secret /srv/app/data /srv/early /opt/nomad/data
echo "== contents"; $b cat /srv/app/packed /srv/app/address /opt/nomad/notes; $b readlink /srv/app/link
echo "== sysctl"; $b cat /proc/sys/vm/max_map_count
echo "== authorities"; $b tail -n 3 /etc/ssl/certs/ca-certificates.crt; $b grep -c BEGIN /etc/ssl/certs/ca-certificates.crt
echo "== partitions"; $b cat /proc/partitions
"#;

/// The two machines after the second boot.
struct Booted {
    cluster: Cluster,
    /// What the client answered.
    answers: String,
}

impl Booted {
    fn new() -> anyhow::Result<Self> {
        let server = machine(SERVER, Role::Server, "")?.user_data(LONE_SERVER_DATA);
        let mut client = machine(CLIENT, Role::Client, "")?.user_data(DATA);
        client.blank_disk = Some(1 << 30);
        let cluster = Cluster::prepare([server, client], |lab| {
            lab.services().site().handle("/home", |_| Response::ok("thank you"));
        })?;
        // The first boot ends by itself.
        cluster.wait_console(CLIENT, "READY role=client", cluster.limit(2 * BOOT))?;
        cluster.wait_console(CLIENT, "shutdown: rebooting", cluster.limit(BOOT))?;
        let mark = cluster.mark(CLIENT);
        cluster.wait_console_after(CLIENT, mark, "READY role=client", cluster.limit(2 * BOOT))?;
        let answers = guest::look(&cluster, CLIENT, "look", QUESTIONS)?;
        Ok(Self { cluster, answers })
    }

    /// The lines of an answer.
    fn answer(&self, question: &str) -> anyhow::Result<Vec<&str>> {
        let lines = self.answers.lines().skip_while(|line| *line != format!("== {question}")).skip(1);
        let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("== ")).collect();
        ensure!(!lines.is_empty(), "no answer to {question:?} in:\n{}", self.answers);
        Ok(lines)
    }

    /// How many lines of the client's console have this.
    fn said(&self, text: &str) -> usize {
        self.cluster.console_lines(CLIENT).iter().filter(|line| line.contains(text)).count()
    }
}

fn main() -> ExitCode {
    suite::run(
        Booted::new,
        &[
            ("a_second_disk_is_made_once_and_holds_nomads_data", second_disk),
            ("a_disk_that_is_in_use_is_left_as_it_is", disk_in_use),
            ("swap_is_a_partition_and_a_file", swap),
            ("files_and_commands_leave_what_they_say", files),
            ("the_zone_and_the_authorities_are_the_machines", zone_and_authorities),
            ("it_phones_home_and_reboots_once", once),
        ],
    )
}

fn second_disk(booted: &mut Booted) -> anyhow::Result<()> {
    let mounts = booted.answer("mounts")?;
    let on = |place: &str| mounts.iter().find(|line| line.split(' ').nth(1) == Some(place)).copied();
    let volume = on("/opt/nomad").context("nothing is mounted on /opt/nomad")?;
    ensure!(volume.starts_with("/dev/vdb1 /opt/nomad ext4 rw,noatime"), "{volume}");
    let memory = on("/srv/fast").context("nothing is mounted on /srv/fast")?;
    ensure!(memory.contains("tmpfs") && memory.contains("size=16384k") && memory.contains("mode=711"), "{memory}");
    // Made at the first boot, found again at the second.
    for (line, times) in [
        ("/dev/vdb: 2 partitions made", 1),
        ("/dev/vdb1: ext4 made", 1),
        ("/dev/vdb2: swap made", 1),
        ("/dev/vdb1 mounted on /opt/nomad", 2),
    ] {
        ensure!(booted.said(line) == times, "{line:?} was said {} times, not {times}", booted.said(line));
    }
    // What Nomad wrote there at the first boot is what it is at the second.
    let nodes = booted.cluster.api(SERVER).nodes().map_err(anyhow::Error::msg)?;
    ensure!(nodes.len() == 1 && nodes[0].0 == CLIENT, "{nodes:?}");
    let data = booted.answer("files")?.into_iter().find(|line| line.starts_with("/opt/nomad/data "));
    ensure!(data.is_some_and(|line| line.contains("root:root 700")), "{data:?}");
    Ok(())
}

fn disk_in_use(booted: &mut Booted) -> anyhow::Result<()> {
    ensure!(booted.said("/dev/vda: it is in use: it is left as it is") == 2, "{:?}", booted.said("/dev/vda: "));
    ensure!(booted.said("/dev/vda1: it is a part of Steppe itself") == 2, "{:?}", booted.said("/dev/vda1: "));
    let partitions = booted.answer("partitions")?;
    let of = |disk: &str| partitions.iter().filter(|line| line.contains(disk)).count();
    ensure!(of("vda") > 3 && of("vdb") == 3, "{partitions:?}");
    let status = booted.cluster.console_command(CLIENT, "status")?;
    ensure!(status.contains("it is in use"), "{status}");
    Ok(())
}

fn swap(booted: &mut Booted) -> anyhow::Result<()> {
    let swaps = booted.answer("swaps")?;
    for (name, kind, least) in [("/var/swap.img", "file", 32_000), ("/dev/vdb2", "partition", 400_000)] {
        let line = swaps.iter().find(|line| line.split_whitespace().next().is_some_and(|path| path.ends_with(name)));
        let fields: Vec<&str> = line.with_context(|| format!("no {name} in {swaps:?}"))?.split_whitespace().collect();
        ensure!(fields.get(1) == Some(&kind), "{fields:?}");
        let size: u64 = fields.get(2).context("no size")?.parse()?;
        ensure!(size > least, "{fields:?}");
    }
    Ok(())
}

fn files(booted: &mut Booted) -> anyhow::Result<()> {
    let files = booted.answer("files")?;
    for want in ["/srv/app/secret nomad:nomad 640 7", "/srv/app/data nomad:nomad 750 ", "/srv/early root:root 755 "] {
        ensure!(files.iter().any(|line| line.starts_with(want)), "no {want:?} in {files:?}");
    }
    let address = format!("address={}", booted.cluster.address(CLIENT));
    let contents = booted.answer("contents")?;
    ensure!(contents == ["hello", &address, "on the volume", "/srv/app/address"], "{contents:?}");
    let sysctl = booted.answer("sysctl")?;
    ensure!(sysctl == ["262145"], "{sysctl:?}");
    Ok(())
}

fn zone_and_authorities(booted: &mut Booted) -> anyhow::Result<()> {
    let zone = booted.answer("zone")?;
    ensure!(matches!(zone.as_slice(), ["CET" | "CEST", "Europe/Berlin"]), "{zone:?}");
    let authorities = booted.answer("authorities")?;
    let [.., last, end, count] = authorities.as_slice() else { anyhow::bail!("{authorities:?}") };
    ensure!(*last == "3ItotH4N4zsIMajJdFRg7dKfFg==" && end.contains("END"), "{authorities:?}");
    ensure!(count.parse::<usize>()? > 100, "the image's own authorities are gone: {count}");
    Ok(())
}

fn once(booted: &mut Booted) -> anyhow::Result<()> {
    let cluster = &booted.cluster;
    ensure!(booted.said("READY role=client") == 2 && booted.said("once and no more") == 1, "another reboot");
    ensure!(booted.said("first boot done after ") == 2, "no final message");
    let calls = || {
        let records = cluster.lab().services().site().requests();
        records.into_iter().filter(|record| record.request.path.starts_with("/home")).collect::<Vec<_>>()
    };
    wait::until("a call home", cluster.limit(BOOT), || if calls().is_empty() { Err("none".into()) } else { Ok(()) })?;
    let calls = calls();
    let call = &calls.first().context("no call")?.request;
    ensure!(calls.len() == 1 && call.method == "POST" && call.path == format!("/home/i-{CLIENT}"), "{calls:?}");
    let body = String::from_utf8_lossy(&call.body);
    ensure!(body == format!("instance_id=i-{CLIENT}&hostname={CLIENT}"), "{body}");
    Ok(())
}
