//! YAML, as trees.
#![no_main]

use agent::node::userdata::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = yaml::resolve(text);
    let _ = yaml::load(text);
});
