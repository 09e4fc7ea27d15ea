//! Asking a Nomad whose HTTP speaks TLS, which the agent does not: through Nomad's own `operator api`.
//!
//! A question costs a process (50 ms, under emulation a second), so whoever asks has to ask rarely. The certificate is
//! not verified: it need not be made out to loopback, and that the listener is Nomad's is known from the kernel
//! ([`super::owner`]), which is more than a certificate says.

use std::{
    io::{Read, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    api::{Answer, Secret, Silence},
    check::Summary,
};
use crate::node::clock;

/// Answers longer than this, in bytes, are cut.
const MAX_OUTPUT: usize = 1 << 20;

/// How to ask one Nomad.
#[derive(Debug, Clone)]
pub struct Cli {
    program: PathBuf,
    authority: String,
    /// Certificate and key: a Nomad with `verify_https_client` talks to nobody without.
    pair: Option<(String, String)>,
    limit: Duration,
}

impl Cli {
    /// Asks the Nomad at `host:port` with its own certificate, which every agent of a cluster accepts. `limit` is the
    /// time for one answer.
    #[must_use]
    pub fn new(program: PathBuf, authority: &str, user: &Summary, limit: Duration) -> Self {
        let pair = user.tls_cert.clone().zip(user.tls_key.clone());
        Self { program, authority: authority.to_owned(), pair, limit }
    }

    /// Asks once: `GET`, or `PUT` with a body.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn ask(&self, put: Option<&str>, path: &str, token: Option<&Secret>) -> Result<Answer, Silence> {
        let mut command = Command::new(&self.program);
        let method = if put.is_some() { "PUT" } else { "GET" };
        // Nothing of the agent's environment: `NOMAD_*` and proxies would lead elsewhere.
        command.args(["operator", "api", "-verbose", "-X", method, path]).env_clear();
        command.env("NOMAD_ADDR", format!("https://{}", self.authority)).env("NOMAD_SKIP_VERIFY", "true");
        if let Some((cert, key)) = &self.pair {
            command.env("NOMAD_CLIENT_CERT", cert).env("NOMAD_CLIENT_KEY", key);
        }
        if let Some(token) = token {
            command.env("NOMAD_TOKEN", token.reveal());
        }
        let stdin = if put.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|_| Silence::Nobody)?;
        if let (Some(mut stdin), Some(body)) = (child.stdin.take(), put) {
            // It is shorter than what a pipe holds; a program that does not read it says why.
            let _ = stdin.write_all(body.as_bytes());
        }
        let output = collect(&mut child, self.limit);
        if output.is_none() {
            let _ = child.kill();
        }
        let _ = child.wait();
        let (body, talk) = output.ok_or(Silence::Slow)?;
        match status(&talk) {
            Some(status) => Ok(Answer { status, body }),
            None => Err(silence(&talk)),
        }
    }
}

/// Both outputs of a process that closes them in time.
fn collect(child: &mut Child, limit: Duration) -> Option<(String, String)> {
    let (mut out, mut err) = (child.stdout.take()?, child.stderr.take()?);
    for fd in [out.as_fd(), err.as_fd()] {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    }
    let end = clock::now() + limit;
    let mut texts = [Vec::new(), Vec::new()];
    let mut open = [true, true];
    while open.contains(&true) {
        let left = end.checked_sub(clock::now()).filter(|left| !left.is_zero())?;
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for (fd, open) in [out.as_fd(), err.as_fd()].into_iter().zip(open) {
            fds.extend(open.then(|| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        open[0] = open[0] && drain(&mut out, &mut texts[0]);
        open[1] = open[1] && drain(&mut err, &mut texts[1]);
    }
    let [body, talk] = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some((body, talk))
}

/// Reads what is there; false at the end.
fn drain(from: &mut impl Read, to: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => to.extend(buffer[..n].iter().take(MAX_OUTPUT.saturating_sub(to.len()))),
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// The status in what `-verbose` says: `< HTTP/1.1 200 OK`.
fn status(talk: &str) -> Option<u16> {
    let line = talk.lines().find_map(|line| line.strip_prefix("< HTTP/"))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// Why there was no answer.
fn silence(talk: &str) -> Silence {
    if talk.contains("tls:") || talk.contains("x509:") || talk.contains("TLS") {
        Silence::Closed
    } else {
        Silence::Nobody
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    /// A program in Nomad's place.
    fn cli(script: &str, limit: Duration) -> (tempfile::TempDir, Cli) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("nomad");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let user = Summary { tls_cert: Some("/c".into()), tls_key: Some("/k".into()), ..Summary::default() };
        (dir, Cli::new(program, "127.0.0.1:4646", &user, limit))
    }

    #[test]
    fn the_question_and_the_answer() {
        let script = r#"echo "< HTTP/1.1 404 Not Found" >&2; echo "$* $NOMAD_ADDR $NOMAD_CLIENT_CERT $NOMAD_CLIENT_KEY $NOMAD_TOKEN $HOME""#;
        let (_dir, cli) = cli(script, Duration::from_secs(20));
        let answer = cli.ask(None, "/v1/x", Some(&Secret::new("s3".into()))).unwrap();
        let body = "operator api -verbose -X GET /v1/x https://127.0.0.1:4646 /c /k s3 \n";
        assert_eq!((answer.status, answer.body.as_str()), (404, body));
        let (_dir, cli) = self::cli("echo '< HTTP/2.0 200 OK' >&2; echo $5; cat", Duration::from_secs(20));
        assert_eq!(cli.ask(Some("{}"), "/v1/x", None).unwrap().body, "PUT\n{}");
    }

    #[test]
    fn silences() {
        for (said, silence) in [
            ("Error performing request: ... connect: connection refused", Silence::Nobody),
            ("Error performing request: ... remote error: tls: certificate required", Silence::Closed),
        ] {
            let (_dir, cli) = cli(&format!("echo '{said}' >&2; exit 1"), Duration::from_secs(20));
            assert_eq!(cli.ask(None, "/", None), Err(silence), "{said}");
        }
        let (_dir, cli) = cli("exec sleep 600", Duration::from_millis(200));
        let start = clock::now();
        assert_eq!(cli.ask(None, "/", None), Err(Silence::Slow));
        assert!(clock::now() - start < Duration::from_secs(20));
    }

    #[test]
    fn a_long_answer_is_cut_and_stops_nobody() {
        let script = "echo '< HTTP/2.0 200 OK' >&2; head -c 3000000 /dev/zero";
        let (_dir, cli) = cli(script, Duration::from_secs(20));
        assert_eq!(cli.ask(None, "/", None).unwrap().body.len(), MAX_OUTPUT);
    }

    proptest! {
        #[test]
        fn any_talk_reads(talk: String) {
            let _ = (status(&talk), silence(&talk));
        }
    }
}
