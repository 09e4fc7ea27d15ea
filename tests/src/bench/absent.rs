//! Whether sources of metadata that are not there cost time: from the address to the plan, by the guest's clock, with the seed
//! on a web server, without and with an empty CD drive and a volume of somebody else beside it.

use std::{path::Path, time::Duration};

use agent::facts::Role;
use anyhow::Context as _;
use qemu::{Accelerator, Lab, MachineSpec, volume, volume::SeedMedium};

use super::table::Row;
use crate::{
    cluster::{LONE_SERVER_DATA, accelerator},
    images::Image,
};

/// How often each machine is booted; the quickest counts.
const PAIRS: usize = 3;
/// Seconds that all absent sources together may cost: less than any time-out, more than the guest's clock jitters here.
const BUDGET: f64 = 0.25;

/// Boots the machine without and with the absent sources in turn.
///
/// # Errors
/// When one of them makes no plan.
pub fn rows(scratch: &Path) -> anyhow::Result<Vec<Row>> {
    let accelerator = accelerator()?;
    let alone = MachineSpec::new("server-vm-0", Image::find(Role::Server)?.direct("")?);
    let alone = alone.user_data(LONE_SERVER_DATA).medium(SeedMedium::Http).powered_off();
    let other = scratch.join("other.img");
    volume::save(&other, volume::vfat("OTHER", &[("readme.txt", b"nothing for a node")]))?;
    let mut beside = alone.clone();
    let drive = format!("file={},if=virtio,format=raw,readonly=on", other.display());
    beside.extra.extend(["-device", "ide-cd", "-drive", &drive].map(Into::into));

    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..PAIRS {
        without = without.min(to_plan(&alone, accelerator)?);
        with = with.min(to_plan(&beside, accelerator)?);
    }
    let what = format!("from the address to the plan: what absent sources add, against {BUDGET} s");
    let note = format!("{with:.3} s with an empty drive and a foreign volume, {without:.3} s without");
    Ok(vec![Row::new(what, (with - without).max(0.0), BUDGET, "s").budget(1.0).note(note)])
}

/// Seconds of the guest's clock between the lines of the two phases.
fn to_plan(spec: &MachineSpec, accelerator: Accelerator) -> anyhow::Result<f64> {
    let lab = Lab::builder(accelerator).machine(spec.clone()).start()?;
    let machine = lab.machine(&spec.name);
    let times = (|| {
        machine.power_on()?;
        let deadline = lab.time_scale().deadline(Duration::from_secs(60));
        ["phase network at", "phase plan at"]
            .map(|part| {
                let line = machine.console().wait_for(part, &deadline)?.text;
                stamp(&line).with_context(|| format!("no time in {line:?}"))
            })
            .into_iter()
            .collect::<anyhow::Result<Vec<f64>>>()
    })()
    .inspect_err(|_| lab.mark_failed())?;
    Ok(times[1] - times[0])
}

/// The time that the kernel puts before a line of the agent: `[    4.546507] steppe: phase ...`. A prompt may stand before it.
fn stamp(line: &str) -> Option<f64> {
    line.split_once("] steppe")?.0.rsplit_once('[')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_time_is_read() {
        for line in ["[    4.546507] steppe: phase plan at 4.53 s", "a[0]> [    4.546507] steppe: phase plan at 4.53 s"]
        {
            assert_eq!(stamp(line), Some(4.546_507), "{line}");
        }
        for line in ["", "steppe", "4.5] steppe", "[x] steppe", "[4.5] z"] {
            assert_eq!(stamp(line), None, "{line}");
        }
    }
}
