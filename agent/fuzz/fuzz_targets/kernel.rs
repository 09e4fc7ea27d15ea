//! The kernel's own texts and the first bytes of a block device, as init reads them.
#![no_main]

use agent::init::{button, crash, kmsg, modules, mountinfo, processes, state::probe, sysctl, uevent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = (probe::probe(bytes), uevent::parse(bytes), kmsg::line(bytes));
    let text = String::from_utf8_lossy(bytes);
    let _ = (mountinfo::parse(&text), processes::is_running_program(&text), button::has_power_key(&text));
    assert!(modules::parse(&text).all(|entry| !entry.path.is_empty()));
    let _ = (modules::drivers::Drivers::parse(&text).buses(), modules::drivers::Drivers::parse(&text).names().count());
    let (pattern, alias) = bytes.split_at(bytes.len() / 2);
    let _ = modules::glob::matches(pattern, alias);
    let records = bytes.split(|byte| *byte == 0).enumerate();
    let records = records.map(|(time, bytes)| crash::Record { time: time as i64 / 3, bytes: bytes.to_vec() });
    let crash = crash::assemble(records.collect());
    let _ = (crash::rest(&crash, crash::reason(&crash)), crash::rest(&crash, &text));
    assert!(sysctl::parse(&text).all(|setting| !setting.key.is_empty()));
});
