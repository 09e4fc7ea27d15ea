//! The report to Azure's wire server: `GET /machine/?comp=goalstate` says which container and which instance the
//! machine is, `POST /machine?comp=health` with `text/xml` says how it is.

use std::{thread, time::Duration};

use roxmltree::Document;

use super::super::{Endpoint, HttpError, Method, ReportState, Service, Timing};
use crate::{node::clock, node::sys, notice, warning};

const GOAL: &str = "/machine/?comp=goalstate";
const HEALTH: &str = "/machine?comp=health";
const AGENT: (&str, &str) = ("x-ms-agent-name", "WALinuxAgent");
const VERSION: (&str, &str) = ("x-ms-version", "2012-11-30");
const XML: (&str, &str) = ("Content-Type", "text/xml; charset=utf-8");
/// Longest description that the platform takes, in characters.
const DESCRIPTION: usize = 512;

/// The server may be slow; after 20 minutes the platform has given the machine up.
pub(super) const TIMING: Timing = Timing {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(60),
    pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(30),
    look: Duration::from_secs(20 * 60),
};

/// Who the machine is to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// `Incarnation`.
    pub incarnation: String,
    /// `Container/ContainerId`.
    pub container: String,
    /// `RoleInstance/InstanceId`.
    pub instance: String,
}

impl Goal {
    /// Reads a goal state. `None` when it is not XML or something is missing.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}').trim();
        let document = Document::parse(text).ok()?;
        let text_of = |name: &str| {
            let node = document.descendants().find(|node| node.tag_name().name() == name)?;
            node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Some(Self {
            incarnation: text_of("Incarnation")?,
            container: text_of("ContainerId")?,
            instance: text_of("InstanceId")?,
        })
    }
}

/// The body of a report.
#[must_use]
pub fn body(goal: &Goal, state: ReportState<'_>) -> String {
    let health = match state {
        ReportState::Ready => "<State>Ready</State>".to_owned(),
        ReportState::Failed(reasons) => {
            let description: String = reasons.join("; ").chars().take(DESCRIPTION).collect();
            format!(
                "<State>NotReady</State><Details><SubStatus>ProvisioningFailed</SubStatus><Description>{}</Description>\
                 </Details>",
                escape(&description)
            )
        }
    };
    let Goal { incarnation, container, instance } = goal;
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Health><GoalStateIncarnation>{}</GoalStateIncarnation>\
         <Container><ContainerId>{}</ContainerId><RoleInstanceList><Role><InstanceId>{}</InstanceId><Health>{health}\
         </Health></Role></RoleInstanceList></Container></Health>",
        escape(incarnation),
        escape(container),
        escape(instance),
    )
}

/// Text between tags. XML 1.0 has no way to write most control characters: they become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Tells the server, again and again until it listens or the platform has given the machine up.
pub(super) fn tell(endpoint: &Endpoint, timing: Timing, state: ReportState<'_>) {
    let end = clock::now() + timing.look;
    let word = if state == ReportState::Ready { "ready" } else { "not ready" };
    loop {
        let error = match once(endpoint, timing, end, state) {
            Ok(()) => return notice!("Azure has been told that this machine is {word}"),
            Err(error) => error,
        };
        if clock::now() + timing.pause >= end {
            return warning!("failed to tell Azure that this machine is {word}: {error}");
        }
        thread::sleep(timing.pause);
    }
}

/// Why the server was not told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the goal state is not what it should be")]
    Goal,
}

fn once(endpoint: &Endpoint, timing: Timing, end: Duration, state: ReportState<'_>) -> Result<(), TellError> {
    let services = Service::all(endpoint, &[], timing, end);
    let service = services.first().ok_or(HttpError::NoLink)?;
    let goal = Goal::parse(&service.get(GOAL, &[AGENT, VERSION])?).ok_or(TellError::Goal)?;
    service.ask(Method::Post, HEALTH, &[AGENT, VERSION, XML], body(&goal, state).as_bytes())?;
    Ok(())
}

/// A random id for a request, as a UUID of version 4 looks.
pub(super) fn request_id() -> String {
    let [a, b, c, d] = [(); 4].map(|()| sys::random());
    let (b1, b2) = (b >> 16, b & 0xfff);
    let (c1, c2) = ((c >> 16) & 0x3fff | 0x8000, c & 0xffff);
    format!("{a:08x}-{b1:04x}-4{b2:03x}-{c1:04x}-{c2:04x}{d:08x}")
}
