//! What SECURITY.md says of a running node, asked of a running node: one server, one client.

use std::{process::ExitCode, time::Duration};

use agent::{confine, facts::Role, init::sysctl};
use anyhow::{Context as _, ensure};
use builder::embedded;
use qemu::Deadline;
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, machine},
    guest,
    images::Image,
    suite, wait,
};

const SERVER: &str = "server-vm-0";
const CLIENT: &str = "client-vm-0";
/// What no console and no log shows.
const SECRET: &str = "word-that-nobody-shows";
const JOB: &str = include_str!("../fixtures/confined.nomad.hcl");

fn main() -> ExitCode {
    suite::run(
        || {
            let file = format!("  - path: /opt/token\n    permissions: '0600'\n    content: {SECRET}\n");
            let env = format!("  - path: /etc/nomad.d/nomad.env\n    content: STEPPE_WORD={SECRET}\n");
            let server = machine(SERVER, Role::Server, "")?.user_data(format!("{LONE_SERVER_DATA}{file}{env}"));
            let mut client = machine(CLIENT, Role::Client, "")?;
            client.extra.extend(["-device", "i6300esb"].map(Into::into));
            let cluster = Cluster::start([server, client])?;
            let limit = cluster.limit(Duration::from_secs(60));
            cluster.wait_console(SERVER, "READY role=server", limit)?;
            cluster.wait_console(CLIENT, "READY role=client", limit)?;
            Ok(cluster)
        },
        &[
            ("the_kernel_was_told_what_the_recipe_says_and_is_locked_down", command_line),
            ("every_setting_of_the_image_holds", settings),
            ("programs_cannot_be_run_from_where_a_server_writes", mounts),
            ("units_have_the_rights_that_they_need", units),
            ("a_secret_of_the_user_data_is_shown_nowhere", secrets),
            ("raw_exec_and_exec_run_programs_where_tasks_are", jobs),
            ("an_init_that_hangs_is_ended_by_the_machines_watchdog", hung),
        ],
    )
}

fn kernel(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    cluster.console_command(name, "kernel")
}

fn command_line(cluster: &mut Cluster) -> anyhow::Result<()> {
    for (name, role, lockdown) in [(SERVER, Role::Server, "[confidentiality]"), (CLIENT, Role::Client, "[integrity]")] {
        let text = kernel(cluster, name)?;
        let line = text.lines().find_map(|line| line.strip_prefix("command line: ")).context("no command line")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let recipe = builder::recipe::Recipe::embedded(role, None)?;
        for word in &recipe.kernel.cmdline {
            ensure!(words.contains(&word.as_str()), "{word} is not in {line:?}");
        }
        for word in ["slab_nomerge", "init_on_alloc=1", "module.sig_enforce=1"] {
            ensure!(words.contains(&word), "{word} is not in {line:?}");
        }
        let state = text.lines().find_map(|line| line.strip_prefix("lockdown: ")).context("no lockdown")?;
        ensure!(state.contains(lockdown), "{name}: {state}");
        // What no part of the kernel knows is handed to init, and said.
        let lines = cluster.console_lines(name);
        let unknown = lines.iter().find(|line| line.contains("Unknown kernel command line parameters"));
        ensure!(unknown.is_none_or(|line| !line.contains("harden") && !line.contains("proc_mem")), "{unknown:?}");
    }
    Ok(())
}

fn settings(cluster: &mut Cluster) -> anyhow::Result<()> {
    for (name, more) in [(SERVER, embedded::SYSCTL_SERVER), (CLIENT, "")] {
        let text = kernel(cluster, name)?;
        let wanted = format!("{}{more}", embedded::SYSCTL);
        for sysctl::Setting { key, value, .. } in sysctl::parse(&wanted) {
            let last = sysctl::parse(&wanted).filter(|setting| setting.key == key).last();
            let value = last.map_or(value, |setting| setting.value);
            let line = text.lines().rfind(|line| line.split(" = ").next() == Some(key));
            let line = line.with_context(|| format!("{name} does not show {key}"))?;
            // The console has not the right to read it; init had the right to set it, and a task of root reads it below.
            let shown = if key == "net.core.bpf_jit_harden" { "not shown (the image says 2)" } else { value };
            ensure!(line == format!("{key} = {shown}"), "{name}: {line}");
        }
    }
    for name in [SERVER, CLIENT] {
        let lines = cluster.console_lines(name);
        let failed = lines.iter().find(|line| line.contains("failed to set"));
        ensure!(failed.is_none(), "{name}: {failed:?}");
    }
    let text = kernel(cluster, SERVER)?;
    ensure!(text.lines().any(|line| line == "kernel.modules_disabled = 1"), "{text}");
    Ok(())
}

/// Type, options of the mount and of the file system, by target; the last one is on top.
fn mount_table(cluster: &Cluster, name: &str) -> anyhow::Result<Vec<[String; 4]>> {
    let text = cluster.console_command(name, "mounts")?;
    let rows = text.lines().filter(|line| line.starts_with('/'));
    let mut rows: Vec<_> = rows
        .filter_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().try_into().ok())
        .collect::<Vec<[String; 4]>>();
    rows.reverse();
    let mut seen = Vec::new();
    rows.retain(|row| {
        !seen.contains(&row[0]) && {
            seen.push(row[0].clone());
            true
        }
    });
    Ok(rows)
}

fn mounts(cluster: &mut Cluster) -> anyhow::Result<()> {
    for name in [SERVER, CLIENT] {
        let rows = mount_table(cluster, name)?;
        let options = |target: &str| -> anyhow::Result<Vec<&str>> {
            let row = rows.iter().find(|row| row[0] == target).with_context(|| format!("nothing is on {target}"))?;
            Ok(row[2].split(',').chain(row[3].split(',')).collect())
        };
        let root = options("/")?;
        ensure!(root.contains(&"ro") && root.contains(&"nodev"), "the root is {root:?}");
        ensure!(options("/proc")?.contains(&"hidepid=invisible"), "{:?}", options("/proc"));
        for target in ["/proc", "/sys", "/run", "/dev/shm", "/etc", "/sys/fs/cgroup"] {
            let options = options(target)?;
            for flag in ["nosuid", "nodev", "noexec"] {
                ensure!(options.contains(&flag), "{name}: {target} is {options:?}");
            }
        }
        for target in ["/tmp", "/state", "/var", "/opt", "/srv", "/home"] {
            let options = options(target)?;
            ensure!(options.contains(&"nosuid"), "{name}: {target} is {options:?}");
            ensure!(options.contains(&"noexec") == (name == SERVER), "{name}: {target} is {options:?}");
            // Devices of tasks lie on a client's state.
            ensure!(
                options.contains(&"nodev") || (name == CLIENT && target != "/tmp"),
                "{name}: {target} is {options:?}"
            );
        }
        // Of all that is left, what is writable takes no programs.
        let open = rows.iter().filter(|[_, _, own, _]| own.starts_with("rw") && !own.contains("noexec"));
        let open: Vec<&str> = open.map(|row| row[0].as_str()).filter(|target| *target != "/dev").collect();
        ensure!(name == CLIENT || open.is_empty(), "programs can be run from {open:?}");
    }
    Ok(())
}

fn units(cluster: &mut Cluster) -> anyhow::Result<()> {
    for name in [SERVER, CLIENT] {
        let text = cluster.console_command(name, "ps")?;
        // PID PARENT UID RESIDENT-KIB CAPABILITIES CONFINED NAME ROLE
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let of = |role: &str| rows.iter().find(|row| row.last() == Some(&role)).with_context(|| format!("no {role}"));
        let confined = |kept: confine::Capabilities| [format!("{:016x}", kept.0), "nnp+filter".to_owned()];
        ensure!(of("node")?[4..6] == confined(confine::NODE), "{text}");
        ensure!(of("console")?[4..6] == confined(confine::CONSOLE), "{text}");
        if name == SERVER {
            ensure!(of("nomad")?[4..6] == confined(confine::NONE), "{text}");
        } else {
            // Its tasks may be anything, set-uid programs of a container too.
            ensure!(of("nomad")?[5] == "-", "{text}");
        }
    }
    Ok(())
}

fn secrets(cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut shown = cluster.console_lines(SERVER).join("\n");
    ensure!(shown.contains("3 files written"), "the file with the secret was not written");
    for command in ["plan", "status", "kernel", "ps", "log node 500", "log nomad 500", "log kernel 2000"] {
        shown.push_str(&cluster.console_command(SERVER, command)?);
    }
    ensure!(shown.contains("/opt/token"), "the plan does not name the file");
    let line = shown.lines().find(|line| line.contains(SECRET));
    ensure!(line.is_none(), "{line:?}");
    Ok(())
}

/// The client's init has long been healthy when it stops. The machine has a watchdog of hardware, which goes on watching it.
fn hung(cluster: &mut Cluster) -> anyhow::Result<()> {
    let armed = "a watchdog restarts this machine when it hangs for 60 s";
    ensure!(cluster.console_lines(CLIENT).iter().any(|line| line.contains(armed)), "no watchdog");
    let mark = cluster.mark(CLIENT);
    let vm = cluster.lab().machine(CLIENT).vm()?;
    let events = vm.qmp().event_mark();
    guest::look(cluster, CLIENT, "freeze", "          $b echo 1 > /sys/fs/cgroup/steppe/init/cgroup.freeze")?;
    vm.qmp().wait_event(events, "WATCHDOG", &Deadline::after(cluster.limit(Duration::from_secs(70))))?;
    cluster.wait_console_after(CLIENT, mark, "READY role=client", cluster.limit(Duration::from_secs(60)))?;
    Ok(())
}

fn jobs(cluster: &mut Cluster) -> anyhow::Result<()> {
    let raw = "b=local/busybox; test $($b cat /proc/sys/net/core/bpf_jit_harden) = 2; test $($b stat -c %a /run/steppe/units/nomad.json) = 600; $b cp $b /tmp; /tmp/busybox true; $b cp $b /run; if /run/busybox true; then exit 9; fi; $b rm /tmp/busybox /run/busybox";
    let mut jobs = vec![("raw_exec", raw)];
    // The stand-in knows no other driver.
    if !Image::find(Role::Client)?.manifest().standin {
        jobs.push(("exec", "b=local/busybox; $b grep -q Seccomp /proc/self/status; $b id -u"));
    }
    for (driver, script) in jobs {
        cluster.run_job(SERVER, &JOB.replace("DRIVER", driver).replace("SCRIPT", script))?;
        let end = wait::until(driver, cluster.limit(Duration::from_secs(45)), || {
            match cluster.any_server().allocs(driver)?.as_slice() {
                [only] if ["complete", "failed"].contains(&only.client_status.as_str()) => {
                    Ok(only.client_status.clone())
                }
                other => Err(format!("{other:?}")),
            }
        })?;
        ensure!(end == "complete", "the {driver} task {end}: {script}");
    }
    Ok(())
}
