//! MIME messages: the bytes are a message's headers and parts.
#![no_main]

use agent::{
    facts::Role,
    node::{seed::Metadata, userdata::Plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut message = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n".to_vec();
    message.extend_from_slice(bytes);
    let _ = Plan::from_user_data(&message, &Metadata::default(), Role::Client);
    // The same as a single part, whose headers are the bytes'.
    message.drain(.."MIME-Version: 1.0\n".len());
    let _ = Plan::from_user_data(&message, &Metadata::default(), Role::Client);
});
