//! The kernel command line, and the hints in it.
#![no_main]

use agent::{
    cmdline::Cmdline,
    node::{
        datasource::{Platform, hints},
        options::Options,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let cmdline = Cmdline::parse(text);
    let _ = Options::parse(&cmdline);
    let _ = hints(&Platform { cmdline, ..Platform::default() });
});
