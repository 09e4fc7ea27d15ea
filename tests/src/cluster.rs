//! Machines made from the images, on a network of their own, and what a test does with them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use agent::facts::Role;
use anyhow::{Context as _, bail, ensure};
use builder::manifest::Kind;
use qemu::{
    Accelerator, Lab, MachineSpec,
    lab::{LabBuilder, StartOrder},
    vm::{Mark, check_clock},
};

use crate::{api::Api, images::Image, wait};

/// User-data of the reference cluster's servers.
pub const SERVER_DATA: &str = include_str!("../../images/examples/cloud-init-server.yaml");
/// User-data of the reference cluster's clients.
pub const CLIENT_DATA: &str = include_str!("../../images/examples/cloud-init-client.yaml");

/// A program without libraries that jobs run; Debian's package `busybox-static`.
pub const WORKLOAD: &str = "/bin/busybox";
/// Memory of a server, in MiB.
const SERVER_MEMORY: u32 = 320;
/// Memory of a client: about 65 MiB for each task comes on top of Nomad.
const CLIENT_MEMORY: u32 = 448;

/// A lab of machines made from the images.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
}

/// A machine of the reference cluster: its name gives it its address, its role the image and the user-data.
///
/// # Errors
/// When there is no image of the role.
pub fn machine(name: &str, role: Role, more: &str) -> anyhow::Result<MachineSpec> {
    let (data, memory) = match role {
        Role::Client => (CLIENT_DATA, CLIENT_MEMORY),
        Role::Server | Role::Dev => (SERVER_DATA, SERVER_MEMORY),
    };
    let boot = Image::find(role)?.direct(more)?;
    Ok(MachineSpec::new(name, boot).user_data(data).memory_mib(memory))
}

/// Gives a machine a store for its errors (ERST), as servers of metal have one in their firmware, in `file`.
#[must_use]
pub fn with_error_store(mut spec: MachineSpec, file: &Path) -> MachineSpec {
    let memory = format!("memory-backend-file,id=erst,mem-path={},size=64K,share=on", file.display());
    for pair in [["-object", memory.as_str()], ["-device", "acpi-erst,memdev=erst"]] {
        spec.extra.extend(pair.map(Into::into));
    }
    spec
}

/// User-data of a server that is a cluster by itself.
pub const LONE_SERVER_DATA: &str = "\
#cloud-config
write_files:
  - path: /etc/nomad.d/server.hcl
    content: |
      server {
        enabled = true
        bootstrap_expect = 1
      }
";

impl Cluster {
    /// Six machines in one instant, with nothing but the two files of user-data.
    ///
    /// # Errors
    /// When images or QEMU are missing.
    pub fn reference() -> anyhow::Result<Self> {
        let mut specs = Vec::new();
        for (role, prefix) in [(Role::Server, "server-vm"), (Role::Client, "client-vm")] {
            for number in 0..3 {
                specs.push(machine(&format!("{prefix}-{number}"), role, "")?);
            }
        }
        Self::start(specs)
    }

    /// These machines on one network, powered on.
    ///
    /// # Errors
    /// When images or QEMU are missing.
    pub fn start(specs: impl IntoIterator<Item = MachineSpec>) -> anyhow::Result<Self> {
        Self::prepare(specs, |_| {})
    }

    /// As [`Self::start`], with the network's services changed before any machine is on.
    ///
    /// # Errors
    /// When images or QEMU are missing.
    pub fn prepare(specs: impl IntoIterator<Item = MachineSpec>, change: impl FnOnce(&Lab)) -> anyhow::Result<Self> {
        let specs: Vec<MachineSpec> = specs.into_iter().collect();
        let autostart: Vec<String> = specs.iter().filter(|spec| spec.autostart).map(|spec| spec.name.clone()).collect();
        let builder: LabBuilder =
            Lab::builder(accelerator()?).machines(specs.into_iter().map(MachineSpec::powered_off));
        let lab = builder.start()?;
        check_workload(Path::new(WORKLOAD))?;
        let files = Arc::new(qemu::services::Site::default());
        files.put_file("/busybox", WORKLOAD);
        lab.services().serve_http(8000, &files);
        lab.services().dns().set("files", [lab.services().config().address]);
        change(&lab);
        let cluster = Self { lab };
        let autostart: Vec<&str> = autostart.iter().map(String::as_str).collect();
        cluster.lab.power_on(&autostart, &StartOrder::Together)?;
        Ok(cluster)
    }

    /// The lab beneath.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// `base` on a quiet host with KVM, longer where machines are slower.
    #[must_use]
    pub fn limit(&self, base: Duration) -> Duration {
        self.lab.time_scale().stretch(base)
    }

    /// Names of all machines.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lab.machines().iter().map(|machine| machine.name().to_owned()).collect()
    }

    /// Address of a machine inside its network.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.lab.machine(name).address().to_string()
    }

    /// Nomad's API on a machine, through a port of this host.
    ///
    /// # Panics
    /// When no port of this host can be had.
    #[must_use]
    pub fn api(&self, name: &str) -> Api {
        match self.lab.forward(name, 4646) {
            Ok(address) => Api::new(address),
            Err(why) => panic!("{why}"),
        }
    }

    /// The API of the first server that is on.
    ///
    /// # Panics
    /// When none is on.
    #[must_use]
    pub fn any_server(&self) -> Api {
        let mut servers = self.lab.machines().iter().filter(|machine| machine.name().starts_with("server"));
        match servers.find(|machine| machine.is_on()) {
            Some(machine) => self.api(machine.name()),
            None => panic!("no server is on"),
        }
    }

    /// Which machine is the leader.
    ///
    /// # Errors
    /// When there is none.
    pub fn leader_name(&self) -> anyhow::Result<String> {
        let leader = self.any_server().leader().map_err(anyhow::Error::msg)?;
        let address = leader.rsplit_once(':').map_or(leader.as_str(), |(address, _)| address);
        let found = self.lab.machines().iter().find(|machine| machine.address().to_string() == address);
        Ok(found.with_context(|| format!("no machine has the leader's address {leader}"))?.name().to_owned())
    }

    /// Checks that the guest's clock runs at the right speed.
    ///
    /// # Errors
    /// When it does not, or the kernel did not say.
    pub fn check_clock(&self, name: &str) -> anyhow::Result<()> {
        if self.lab.accelerator() == Accelerator::Tcg {
            check_clock(self.lab.machine(name).console(), Mark::default()).with_context(|| name.to_owned())?;
        }
        Ok(())
    }

    /// Everything a console has shown.
    #[must_use]
    pub fn console_lines(&self, name: &str) -> Vec<String> {
        let lines = self.lab.machine(name).console().lines_after(Mark::default());
        lines.into_iter().map(|line| line.text).collect()
    }

    /// The end of a console, to look behind later.
    #[must_use]
    pub fn mark(&self, name: &str) -> Mark {
        self.lab.machine(name).console().mark()
    }

    /// Waits for a line anywhere on a console.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_console(&self, name: &str, pattern: &str, limit: Duration) -> anyhow::Result<String> {
        self.wait_console_after(name, Mark::default(), pattern, limit)
    }

    /// Waits for a line behind a mark.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_console_after(&self, name: &str, mark: Mark, pattern: &str, limit: Duration) -> anyhow::Result<String> {
        let deadline = qemu::Deadline::after(limit);
        let line = self.lab.machine(name).console().wait_after(mark, pattern, &deadline);
        // A test that ends with this error does not panic, and has as much to leave behind.
        Ok(line.inspect_err(|_| self.lab.mark_failed())?.text)
    }

    /// Types a command on a machine's console and gives what it printed up to the next prompt.
    ///
    /// # Errors
    /// When the prompt does not come back in time.
    pub fn console_command(&self, name: &str, command: &str) -> anyhow::Result<String> {
        let console = self.lab.machine(name).console();
        let limit = self.limit(Duration::from_secs(15));
        let deadline = qemu::Deadline::after(limit);
        Ok(console.command(&format!("{name}> "), command, &deadline)?.join("\n"))
    }

    /// Runs the `nomad` program on this host against a machine, and gives what it wrote to stdout.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn nomad(&self, name: &str, arguments: &str) -> anyhow::Result<String> {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        self.nomad_program(name, &arguments)
    }

    fn nomad_program(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let program = nomad_program()?;
        let output = Command::new(&program)
            .args(arguments)
            .env_clear()
            .env("NOMAD_ADDR", self.api(name).base())
            .output()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "nomad {}: {}\n{stdout}{stderr}", arguments.join(" "), output.status);
        Ok(stdout.into_owned())
    }

    /// `nomad job run` with a job file.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run_job(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let file = self.lab.directory().join("job.nomad.hcl");
        std::fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        self.nomad_program(name, &["job", "run", &file.to_string_lossy()])
    }

    /// Power loss.
    ///
    /// # Errors
    /// When it is off already.
    pub fn pull_the_plug(&self, name: &str) -> anyhow::Result<()> {
        self.lab.machine(name).kill()?;
        Ok(())
    }

    /// Power.
    ///
    /// # Errors
    /// When it is on already.
    pub fn power_on(&self, name: &str) -> anyhow::Result<()> {
        self.lab.machine(name).power_on()?;
        Ok(())
    }

    /// Presses the power button; the machine has to go through every step of its shutdown, be off within the bound, and leave
    /// a state partition in which `e2fsck` finds nothing.
    ///
    /// # Errors
    /// When it does not.
    pub fn power_button(&self, name: &str) -> anyhow::Result<()> {
        let machine = self.lab.machine(name);
        let mark = machine.console().mark();
        machine.shut_down(&self.lab.deadline(15))?;
        let lines: Vec<String> = machine.console().lines_after(mark).into_iter().map(|line| line.text).collect();
        let mut rest = lines.iter();
        for step in ["power button", "stopping nomad", "unmounted", "powering off"] {
            ensure!(
                rest.any(|line| line.contains(step)),
                "no line with {step:?}, in this order, in:\n{}",
                lines.join("\n")
            );
        }
        check_state(&machine.disk(), self.lab.directory())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lab.mark_failed();
        }
    }
}

/// What executes the machines.
///
/// # Errors
/// When QEMU is missing.
pub fn accelerator() -> anyhow::Result<Accelerator> {
    let kernel = Image::find(Role::Server)?.path(Kind::Kernel)?;
    Ok(Accelerator::probe(&kernel)?)
}

/// The `nomad` program for this host: the one that went into the images.
fn nomad_program() -> anyhow::Result<PathBuf> {
    for variable in ["NOMAD", "STEPPE_STANDIN"] {
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("neither NOMAD nor STEPPE_STANDIN names a nomad program: run `make qemu-test`")
}

/// Runs `e2fsck` over the state partition of a machine that is off.
fn check_state(disk: &Path, scratch: &Path) -> anyhow::Result<()> {
    let raw = scratch.join("state.raw");
    run("qemu-img", &["convert", "-O", "raw", &disk.to_string_lossy(), &raw.to_string_lossy()])?;
    let mut file = std::fs::File::open(&raw).with_context(|| format!("failed to open {}", raw.display()))?;
    let table = gptman::GPT::find_from(&mut file).context("failed to read the partition table")?;
    let state = table.iter().find(|(_, entry)| entry.partition_name.as_str() == agent::paths::STATE_LABEL);
    let (_, entry) = state.context("the disk has no state partition")?;
    let target = format!("{}?offset={}", raw.display(), entry.starting_lba * table.sector_size);
    let checked = run("e2fsck", &["-f", "-n", &target]);
    let _ = std::fs::remove_file(&raw);
    checked
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.with_context(|| format!("failed to run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{program} {}: {}\n{text}", arguments.join(" "), output.status);
    Ok(())
}

/// Checks that a program is static, for a guest has no libraries for it: Debian's package `busybox` wants some,
/// `busybox-static` does not.
///
/// # Errors
/// When it is not, or is not there.
pub fn check_workload(path: &Path) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read {}: install busybox-static", path.display()))?;
    let file = object::File::parse(bytes.as_slice()).with_context(|| format!("failed to parse {}", path.display()))?;
    let dynamic = object::Object::section_by_name(&file, ".interp").is_some();
    ensure!(!dynamic, "{} is not a static program: install busybox-static in place of busybox", path.display());
    Ok(())
}

/// Waits until a lone server leads itself.
///
/// # Errors
/// When it does not in time.
pub fn leads(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    wait::until("a leader", cluster.limit(Duration::from_secs(30)), || cluster.api(name).leader()).map(|_| ())
}
