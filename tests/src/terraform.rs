//! User-data as Terraform packs it.

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};

/// What the data source `cloudinit_config` of the provider `hashicorp/cloudinit` makes of parts (content type and content),
/// with `gzip` and `base64_encode` as they are by default: a multi-part message, compressed, in base64.
///
/// # Errors
/// What compressing can give.
pub fn cloudinit_config(parts: &[(&str, &str)]) -> std::io::Result<String> {
    const BOUNDARY: &str = "MIMEBOUNDARY";
    let mut message =
        format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\r\n\r\n--{BOUNDARY}\r\n");
    for (number, (kind, content)) in parts.iter().enumerate() {
        if number > 0 {
            message.push_str(&format!("\r\n--{BOUNDARY}\r\n"));
        }
        message.push_str("Content-Transfer-Encoding: 7bit\r\n");
        message.push_str(&format!("Content-Type: {kind}\r\nMime-Version: 1.0\r\n\r\n{content}"));
    }
    message.push_str(&format!("\r\n--{BOUNDARY}--\r\n"));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message.as_bytes())?;
    Ok(BASE64_STANDARD.encode(encoder.finish()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn it_is_base64_of_gzip_of_a_multi_part_message() {
        let packed =
            cloudinit_config(&[("text/cloud-config", "#cloud-config\n"), ("text/x-shellscript", "#!/bin/sh\n")]);
        let packed = BASE64_STANDARD.decode(packed.unwrap()).unwrap();
        let mut message = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut message).unwrap();
        assert_eq!(
            message,
            "Content-Type: multipart/mixed; boundary=\"MIMEBOUNDARY\"\nMIME-Version: 1.0\r\n\r\n\
             --MIMEBOUNDARY\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: text/cloud-config\r\n\
             Mime-Version: 1.0\r\n\r\n#cloud-config\n\r\n\
             --MIMEBOUNDARY\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: text/x-shellscript\r\n\
             Mime-Version: 1.0\r\n\r\n#!/bin/sh\n\r\n--MIMEBOUNDARY--\r\n"
        );
    }
}
