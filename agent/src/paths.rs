//! Every path of a node that two parts of Steppe agree on.
//!
//! Code that uses one joins it below a root directory, so that a test can give a temporary one.

/// What the image says about itself: [`crate::facts::ImageFacts`] as JSON.
pub const IMAGE_FACTS: &str = "/usr/lib/steppe/image.json";
/// Kernel modules to load always, in order, one path below [`MODULES_DIR`]`/<release>` a line. The initramfs and the root each
/// have one: what is needed to reach the root, and the rest.
pub const MODULES_LIST: &str = "/usr/lib/steppe/modules";
/// Kernel modules that are loaded when a device or node asks for them: [`crate::init::modules::drivers`].
pub const DRIVERS_LIST: &str = "/usr/lib/steppe/drivers";
/// Kernel modules, below the kernel's release.
pub const MODULES_DIR: &str = "/usr/lib/modules";
/// Kernel settings of the image, applied at boot ([`crate::init::sysctl`]).
pub const SYSCTL: &str = "/usr/lib/steppe/sysctl.conf";
/// Those that are applied when the node is healthy for the first time; there may be none.
pub const SYSCTL_HEALTHY: &str = "/usr/lib/steppe/sysctl-healthy.conf";
/// The files of `/etc` that come with the image. `/etc` itself is a tmpfs, made anew from them at every boot.
pub const ETC_TEMPLATE: &str = "/usr/share/steppe/etc";
/// A root file system inside the initramfs (netboot). It is mounted through a loop device when it is there.
pub const EMBEDDED_ROOT: &str = "/root.squashfs";
/// The agent in the initramfs, where the kernel looks for its first program.
pub const INIT: &str = "/init";
/// The agent in the root: an empty file, on which the initramfs stage binds its own program. So an image has it once.
pub const AGENT: &str = "/usr/sbin/agent";
/// Where the initramfs stage mounts the root before it switches to it.
pub const SYSROOT: &str = "/sysroot";

/// The mounted state partition. `var`, `opt`, `srv` and `home` below it are bound to the root's directories.
pub const STATE: &str = "/state";
/// Steppe's own files on the state partition: identity, last good plan, previous log.
pub const STATE_DIR: &str = "/state/steppe";
/// GPT partition name and ext4 label of the state partition.
pub const STATE_LABEL: &str = "steppe-state";
/// GPT partition type of the state partition (Discoverable Partitions Specification: variable data).
pub const STATE_TYPE_GUID: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";

/// The public key that updates are signed with, as minisign writes it. An image without it takes no updates.
pub const UPDATE_KEY: &str = "/usr/share/steppe/update.pub";

/// Everything that lives until the next boot.
pub const RUN_DIR: &str = "/run/steppe";
/// Datagram socket of init, in the form that `NOTIFY_SOCKET` promises (`sd_notify(3)`).
pub const NOTIFY_SOCKET: &str = "/run/steppe/notify";
/// The specification of Nomad that `node` writes and init reads: `nomad.json`, [`crate::unit::UnitSpec`].
pub const UNITS_DIR: &str = "/run/steppe/units";
/// What init knows of its units: [`crate::status::InitStatus`].
pub const INIT_STATUS: &str = "/run/steppe/init.json";
/// What node knows of itself and of Nomad: [`crate::status::NodeStatus`].
pub const NODE_STATUS: &str = "/run/steppe/node.json";
/// Output of each unit: `<name>.log`, capped, with one older generation `<name>.log.1`.
pub const LOG_DIR: &str = "/run/steppe/log";
/// The typed plan of this boot, without secrets.
pub const PLAN: &str = "/run/steppe/plan.json";

/// Nomad.
pub const NOMAD: &str = "/usr/bin/nomad";
/// Where users put Nomad's configuration.
pub const NOMAD_CONFIG_DIR: &str = "/etc/nomad.d";
/// The one configuration file that the agent writes; it is named first, so that the user's files win.
pub const NOMAD_AGENT_CONFIG: &str = "/run/steppe/nomad/agent.json";
/// Nomad's `data_dir`.
pub const NOMAD_DATA: &str = "/var/lib/nomad";
