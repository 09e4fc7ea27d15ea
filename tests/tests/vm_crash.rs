//! What a machine knows of the end of its boot before: a kernel that died, a plug that was pulled, an orderly shutdown.

use std::{process::ExitCode, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use qemu::{Deadline, vm::Mark};
use serde_json::json;
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, machine, with_error_store},
    suite,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(30);
const NAME: &str = "server-vm-0";

fn main() -> ExitCode {
    suite::run(
        start,
        &[
            ("a_kernel_that_dies_leaves_its_last_words", panic),
            ("a_pulled_plug_leaves_the_logs_of_all_but_the_last_seconds", power_cut),
            ("an_orderly_shutdown_leaves_all_logs", shutdown),
        ],
    )
}

/// A server with a store for errors of the machine (ERST), as servers of metal have one in their firmware.
struct Lone {
    cluster: Cluster,
    _store: tempfile::TempDir,
}

fn start() -> anyhow::Result<Lone> {
    let store = tempfile::tempdir()?;
    let spec = machine(NAME, Role::Server, "unknown_nmi_panic")?.user_data(LONE_SERVER_DATA);
    let spec = with_error_store(spec, &store.path().join("erst"));
    let lone = Lone { cluster: Cluster::start([spec])?, _store: store };
    lone.wait(Mark::default(), "READY role=server")?;
    Ok(lone)
}

impl Lone {
    fn wait(&self, mark: Mark, text: &str) -> anyhow::Result<String> {
        self.cluster.wait_console_after(NAME, mark, text, self.cluster.limit(BOOT))
    }

    fn previous(&self, what: &str) -> anyhow::Result<String> {
        self.cluster.console_command(NAME, &format!("log --previous {what}"))
    }
}

fn panic(lone: &mut Lone) -> anyhow::Result<()> {
    let Lone { cluster, .. } = &*lone;
    let console = cluster.lab().machine(NAME).console();
    console.allow("Kernel panic - not syncing");
    let mark = cluster.mark(NAME);
    // What a cloud calls a diagnostic interrupt.
    cluster.lab().machine(NAME).vm()?.qmp().execute("inject-nmi", &json!({}))?;
    lone.wait(mark, "Kernel panic - not syncing: NMI")?;
    let line = lone.wait(mark, "the kernel died before this boot")?;
    ensure!(line.contains("Kernel panic - not syncing: NMI"), "{line}");
    lone.wait(mark, "READY role=server")?;
    let words = lone.previous("kernel 400")?;
    let (before, after) = words.split_once("--- and when it died:").context("no last words")?;
    ensure!(before.contains("phase initramfs"), "the boot left no log of its own:\n{words}");
    // Whichever of the two has it: it was said just before.
    ensure!(words.contains("READY role=server"), "a gap:\n{words}");
    ensure!(after.contains("Kernel panic - not syncing: NMI"), "{words}");
    Ok(())
}

fn power_cut(lone: &mut Lone) -> anyhow::Result<()> {
    let Lone { cluster, .. } = &*lone;
    // What is said now is on the disk soon, although the machine has nothing to do with it any more: only time shows it.
    let soon = Deadline::after(cluster.limit(Duration::from_secs(8)));
    let never = cluster.lab().machine(NAME).console().wait_after(cluster.mark(NAME), "the end of the world", &soon);
    ensure!(never.is_err(), "{never:?}");
    let mark = cluster.mark(NAME);
    cluster.pull_the_plug(NAME)?;
    cluster.power_on(NAME)?;
    lone.wait(mark, "READY role=server")?;
    let words = lone.previous("kernel 400")?;
    ensure!(words.contains("the kernel died before this boot"), "not the log of the boot before:\n{words}");
    ensure!(words.contains("READY role=server"), "the end is missing:\n{words}");
    ensure!(lone.previous("nomad 5")?.contains("[INFO]"), "no log of Nomad");
    // The record of the boot before that is not there any more.
    ensure!(!words.contains("when it died:"), "{words}");
    Ok(())
}

fn shutdown(lone: &mut Lone) -> anyhow::Result<()> {
    let Lone { cluster, .. } = &*lone;
    let mark = cluster.mark(NAME);
    cluster.lab().machine(NAME).vm()?.ctrl_alt_del()?;
    lone.wait(mark, "shutdown: rebooting")?;
    lone.wait(mark, "READY role=server")?;
    let lines: Vec<String> =
        cluster.lab().machine(NAME).console().lines_after(mark).into_iter().map(|line| line.text).collect();
    ensure!(!lines.iter().any(|line| line.contains("the kernel died")), "{lines:?}");
    let words = lone.previous("kernel 400")?;
    ensure!(words.contains("shutdown: saving the logs"), "{words}");
    let missing = lone.previous("nothing")?;
    ensure!(missing.contains("there is no log of \"nothing\" of the previous boot: there is kernel"), "{missing}");
    Ok(())
}
