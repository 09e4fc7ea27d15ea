//! Two configurations, joined as the second says: once it is the user's second part, once it is the vendor's.
#![no_main]

use agent::{
    facts::Role,
    node::{seed::Seed, userdata::Plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str, &str)| {
    let (how, old, new) = data;
    if [how, old, new].iter().any(|text| text.contains("--b")) {
        return;
    }
    let how: String = how.chars().filter(|c| !c.is_control()).collect();
    let message = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\n{old}\n\
         --b\nContent-Type: text/cloud-config\nMerge-Type: {how}\n\n{new}\n--b--\n"
    );
    let vendor = format!("#cloud-config\n{new}\n");
    let seed = Seed { user_data: message.into(), vendor_data: vec![vendor.into()], ..Seed::default() };
    let _ = Plan::from_seed(&seed, Role::Dev, &mut |_| Err("not fetched here".into()));
});
