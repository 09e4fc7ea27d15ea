//! From a payload to the `#cloud-config` texts in it: whatever is packed, nested, listed or fetched is unfolded
//! (cloud-init's `user_data.py`), within limits that no payload can raise.

mod archive;
mod include;
mod mime;
mod template;

use std::borrow::Cow;

pub use include::{Fetch, Include};
pub(super) use template::Variables;

use super::{
    decode::{base64, gunzip},
    finding::{Finding, Position, Verdict},
    format::{Declared, Format, FormatError, MAX_BYTES, without_bom},
};

/// Bytes that all unpacking, decoding and fetching of one payload may give together.
const MAX_UNPACKED: usize = 16 << 20;
/// Levels of packing, nesting and including, one inside the other.
const MAX_DEPTH: usize = 8;
/// Levels of `#include` among them.
const MAX_INCLUDES: usize = 3;
/// Parts of one payload.
const MAX_PARTS: usize = 256;

/// A `#cloud-config` that was found.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What a person calls it: `user-data`, `user-data part 2 (server.yaml)`.
    pub(super) label: String,
    /// Its text, whole, so that lines count as in the file.
    pub(super) text: String,
    /// What its headers say about it.
    pub(super) headers: Headers,
}

/// What stands about a part beside its text. A part inherits what its container says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// The name of its file.
    pub(super) filename: Option<String>,
    /// `Merge-Type` or `X-Merge-Type`.
    pub(super) merge_type: Option<String>,
    /// `Launch-Index`: which of the machines that were launched together it is for.
    pub(super) launch_index: Option<String>,
}

/// What came out of a payload.
#[derive(Default)]
pub(super) struct Expansion {
    /// In document order.
    pub(super) parts: Vec<Part>,
    /// What is wrong. The place of each is final.
    pub(super) findings: Vec<Finding>,
    /// Whether something could not be fetched, so that another try may be worth it.
    pub(super) unfetched: bool,
}

/// What the parts may depend on.
pub(super) struct Machine {
    /// Which of the machines that were launched together it is.
    pub(super) launch_index: Option<u32>,
    /// What templates may name.
    pub(super) variables: Variables,
}

/// Unfolds a payload. `source` is what a person calls it: `user-data`.
pub(super) fn expand(source: &str, payload: &[u8], machine: &Machine, fetch: &mut Fetch<'_>) -> Expansion {
    let out = Expansion::default();
    let mut expander = Expander { source, machine, fetch, left: MAX_UNPACKED, number: 0, full: false, fetches: 0, out };
    if payload.len() > MAX_BYTES {
        let message = format!("{} bytes are more than the {MAX_BYTES} that are read", payload.len());
        expander.refuse(source, Position::START, message);
    } else {
        expander.take(payload, Declared::Guess, &Context::default());
    }
    expander.out
}

/// Where in the nesting a payload stands.
#[derive(Clone, Default)]
struct Context {
    /// Whether it is one of several, so that its label needs a number.
    contained: bool,
    depth: usize,
    includes: usize,
    headers: Headers,
}

impl Context {
    fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, ..self.clone() }
    }
}

struct Expander<'a, 'f> {
    source: &'a str,
    machine: &'a Machine,
    fetch: &'a mut Fetch<'f>,
    /// Bytes that may still be made.
    left: usize,
    /// Parts that were given a number.
    number: usize,
    /// Whether it was said that there are too many.
    full: bool,
    /// Addresses that were included.
    fetches: usize,
    out: Expansion,
}

impl Expander<'_, '_> {
    fn take(&mut self, payload: &[u8], declared: Declared, context: &Context) {
        if let Err((label, message)) = self.try_take(payload, declared, context) {
            let label = label.unwrap_or_else(|| self.label(context));
            self.refuse(&label, Position::START, message);
        }
    }

    /// The error is what is wrong with the payload as a whole, and its label when it has one already.
    fn try_take(
        &mut self,
        payload: &[u8],
        declared: Declared,
        context: &Context,
    ) -> Result<(), (Option<String>, String)> {
        let whole = |message: String| (None, message);
        if context.depth > MAX_DEPTH {
            return Err(whole(format!("packed or nested deeper than {MAX_DEPTH} levels")));
        }
        if self.is_full() {
            return Ok(());
        }
        if payload.starts_with(&[0x1f, 0x8b]) {
            let unpacked = gunzip(payload, self.left).map_err(whole)?;
            self.spend(unpacked.len()).map_err(whole)?;
            // A compressed type says nothing of what is inside.
            let inner = if declared == Declared::As(Format::Gzip) { Declared::Guess } else { declared };
            self.take(&unpacked, inner, &context.deeper());
            return Ok(());
        }
        if let Some(decoded) = unwrap_base64(payload) {
            self.spend(decoded.len()).map_err(whole)?;
            self.take(&decoded, declared, &context.deeper());
            return Ok(());
        }
        match declared.format(payload).map_err(|error| whole(error.to_string()))? {
            Format::Empty => {}
            Format::CloudConfig => {
                let label = self.label(context);
                if Format::detect(payload) == Ok(Format::Template) {
                    let message =
                        "the jinja header counts for nothing in a part of type text/cloud-config: use text/jinja2";
                    self.say(Verdict::Ignored, &label, Position::START, message);
                }
                match text(payload) {
                    Ok(text) => {
                        self.out.parts.push(Part { label, text: text.to_owned(), headers: context.headers.clone() });
                    }
                    Err(message) => return Err((Some(label), message)),
                }
            }
            Format::Gzip => return Err(whole("not gzip, as its type says".into())),
            Format::Mime => self.message(payload, context)?,
            Format::Archive => {
                let label = self.label(context);
                match text(payload) {
                    Ok(text) => self.archive(text, &label, context),
                    Err(message) => return Err((Some(label), message)),
                }
            }
            Format::Include => {
                let label = self.label(context);
                match text(payload) {
                    Ok(text) => self.include(text, &label, context),
                    Err(message) => return Err((Some(label), message)),
                }
            }
            Format::Template => {
                let label = self.label(context);
                if let Err((at, message)) = self.template(payload, &label, context) {
                    self.refuse(&label, at, message);
                }
            }
        }
        Ok(())
    }

    /// A template: filled in, it must be a `#cloud-config`.
    fn template(&mut self, payload: &[u8], label: &str, context: &Context) -> Result<(), (Position, String)> {
        let whole = |message| (Position::START, message);
        let text = text(payload).map_err(whole)?;
        if Format::detect(payload) != Ok(Format::Template) {
            return Err(whole("a part of type text/jinja2 must begin with `## template: jinja`".into()));
        }
        let text = template::render(text, &self.machine.variables, self.left)?;
        self.spend(text.len()).map_err(whole)?;
        match Format::detect(text.as_bytes()).map_err(|error| whole(error.to_string()))? {
            Format::Empty => {}
            Format::CloudConfig => {
                self.out.parts.push(Part { label: label.to_owned(), text, headers: context.headers.clone() });
            }
            _ => return Err(whole("filled in, a template must be a #cloud-config".into())),
        }
        Ok(())
    }

    /// A MIME message or a part of one.
    fn message(&mut self, payload: &[u8], context: &Context) -> Result<(), (Option<String>, String)> {
        let entity = mime::Entity::parse(without_bom(payload).trim_ascii_start());
        let header = |name: &str| entity.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let mut context = context.deeper();
        if context.depth > MAX_DEPTH {
            return Err((None, format!("packed or nested deeper than {MAX_DEPTH} levels")));
        }
        let headers = &mut context.headers;
        headers.filename = entity.filename().or(headers.filename.take());
        let merge_type = header("merge-type").or_else(|| header("x-merge-type"));
        headers.merge_type = merge_type.or(headers.merge_type.take());
        headers.launch_index = header("launch-index").or(headers.launch_index.take());
        let content_type = entity.content_type();
        if content_type.starts_with("multipart/") {
            let found = entity.multipart().map_err(|message| (None, message))?;
            if !found.closed {
                let message = "the closing boundary is missing: is the user-data whole?";
                let label = self.source.to_owned();
                self.say(Verdict::Ignored, &label, Position::START, message);
            }
            context.contained = true;
            for part in found.parts {
                if self.is_full() {
                    break;
                }
                if let Err((label, message)) = self.message(part, &context) {
                    let label = label.unwrap_or_else(|| self.label(&context));
                    self.refuse(&label, Position::START, message);
                }
            }
            return Ok(());
        }
        // From here on what is wrong has the name of this part, not of its container.
        if !self.is_for_this_machine(&context) {
            return Ok(());
        }
        let body = match entity.decoded() {
            Ok(body) => body,
            Err(message) => return Err((Some(self.label(&context)), message)),
        };
        if let Cow::Owned(body) = &body
            && let Err(message) = self.spend(body.len())
        {
            return Err((Some(self.label(&context)), message));
        }
        match Declared::parse(&content_type) {
            Ok(declared) => self.take(&body, declared, &context),
            Err(error) => return Err((Some(self.label(&context)), error.to_string())),
        }
        Ok(())
    }

    /// Whether there are as many parts as there may be; says so once.
    fn is_full(&mut self) -> bool {
        if self.number >= MAX_PARTS && !self.full {
            self.full = true;
            self.refuse(self.source, Position::START, format!("more than {MAX_PARTS} parts"));
        }
        self.full
    }

    /// Whether the part is for this machine, as far as its headers say; says so of one that is not.
    fn is_for_this_machine(&mut self, context: &Context) -> bool {
        let Some(value) = &context.headers.launch_index else { return true };
        match for_this_machine(value, self.machine.launch_index) {
            Ok(None) => true,
            Ok(Some(message)) => {
                let label = self.label(context);
                self.say(Verdict::Ignored, &label, Position::START, message);
                false
            }
            Err(message) => {
                let label = self.label(context);
                self.refuse(&label, Position::START, message);
                false
            }
        }
    }

    /// What a person calls the payload; one of several gets the next number.
    fn label(&mut self, context: &Context) -> String {
        if !context.contained {
            return self.source.to_owned();
        }
        self.number += 1;
        match context.headers.filename.as_deref().map(tidy).filter(|name| !name.is_empty()) {
            Some(name) => format!("{} part {} ({name})", self.source, self.number),
            None => format!("{} part {}", self.source, self.number),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| format!("unpacks to more than {MAX_UNPACKED} bytes"))?;
        Ok(())
    }

    fn refuse(&mut self, label: &str, at: Position, message: impl Into<String>) {
        self.say(Verdict::Refused, label, at, message);
    }

    fn say(&mut self, verdict: Verdict, label: &str, at: Position, message: impl Into<String>) {
        let mut finding = Finding::new(verdict, at, "", message);
        finding.part = Some(label.to_owned());
        self.out.findings.push(finding);
    }
}

/// Holds the `launch-index` of a part against the machine's. `Some` says why a part is not for this machine.
pub(super) fn for_this_machine(value: &str, machine: Option<u32>) -> Result<Option<String>, String> {
    let index: i64 = value.trim().parse().map_err(|_| "launch-index must be a number".to_owned())?;
    Ok(machine
        .filter(|machine| i64::from(*machine) != index)
        .map(|machine| format!("is for the machine with launch-index {index}; this one has {machine}")))
}

/// Text without its byte order mark.
fn text(payload: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(without_bom(payload));
    text.map_err(|error| format!("not UTF-8 text: byte {} does not fit", error.valid_up_to()))
}

/// Undoes base64 when it hides something of a known kind; no `#cloud-config` is made of base64's letters alone.
fn unwrap_base64(payload: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Cow::Borrowed(payload);
    for _ in 0..3 {
        let text = std::str::from_utf8(bytes.trim_ascii()).ok().filter(|text| text.len() >= 4)?;
        let decoded = base64(text).ok()?;
        match Format::detect(&decoded) {
            Ok(Format::Empty) => return None,
            Ok(_) | Err(FormatError::Unsupported { .. }) => return Some(decoded),
            Err(_) => bytes = Cow::Owned(decoded),
        }
    }
    None
}

/// A name from outside, fit for a line of a log.
fn tidy(name: &str) -> String {
    name.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect()
}

#[cfg(test)]
mod tests;
