//! `#cloud-config-archive`: a YAML list of parts.

use std::borrow::Cow;

use super::{Context, Expander};
use crate::node::userdata::{
    decode::base64,
    finding::Position,
    format::{Declared, Format, FormatError},
    yaml::{self, Kind, Node, Value},
};

impl Expander<'_, '_> {
    pub(super) fn archive(&mut self, text: &str, label: &str, context: &Context) {
        let root = match yaml::load(text) {
            Ok(document) => document.root,
            Err(error) => return self.refuse(label, error.at, error.message),
        };
        let Some(root) = root.filter(|root| !root.is_null()) else { return };
        let Some(entries) = root.sequence() else {
            let message = format!("a #cloud-config-archive must be a list of parts, not {}", root.describe());
            return self.refuse(label, root.at, message);
        };
        let mut context = context.deeper();
        context.contained = true;
        for entry in entries {
            if let Err((at, message)) = self.entry(entry, &context) {
                self.refuse(label, at, message);
            }
        }
    }

    /// One part: a text, or a map with `content` and what MIME would say in headers.
    fn entry(&mut self, entry: &Node, context: &Context) -> Result<(), (Position, String)> {
        let mut context = context.clone();
        let mut declared = None;
        let content = match &entry.value {
            Value::Scalar(_) => Some(entry),
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    let name = key.text().unwrap_or("").to_ascii_lowercase();
                    let field = match name.as_str() {
                        "filename" => &mut context.headers.filename,
                        "merge-type" | "x-merge-type" => &mut context.headers.merge_type,
                        "launch-index" => &mut context.headers.launch_index,
                        "type" => &mut declared,
                        _ => continue,
                    };
                    if !value.is_null() {
                        let text = value.text().ok_or_else(|| (value.at, format!("{name} must be a string")))?;
                        *field = Some(text.to_owned());
                    }
                }
                Some(entry.get("content").ok_or_else(|| (entry.at, "a part needs content".to_owned()))?)
            }
            Value::Sequence(_) => {
                return Err((entry.at, "a part must be a string or a map with content, not a list".into()));
            }
        };
        let Some(content) = content.filter(|content| !content.is_null()) else { return Ok(()) };
        let scalar = content.scalar().filter(|scalar| matches!(scalar.kind, Kind::Str | Kind::Binary));
        let scalar =
            scalar.ok_or_else(|| (content.at, format!("content must be a string, not {}", content.describe())))?;
        let bytes = match scalar.kind {
            Kind::Binary => Cow::Owned(base64(&scalar.text).map_err(|why| (content.at, why))?),
            _ => Cow::Borrowed(scalar.text.as_bytes()),
        };
        self.spend(bytes.len()).map_err(|why| (content.at, why))?;
        let declared = match declared.filter(|name| !name.trim().is_empty()) {
            Some(name) => Declared::parse(&name.trim().to_ascii_lowercase()).map_err(|error| error.to_string()),
            // A part that says nothing of itself is a #cloud-config.
            None => Ok(match Format::detect(&bytes) {
                Err(FormatError::Unknown(_)) => Declared::As(Format::CloudConfig),
                _ => Declared::Guess,
            }),
        };
        if !self.is_for_this_machine(&context) {
            return Ok(());
        }
        match declared {
            Ok(declared) => self.take(&bytes, declared, &context),
            Err(message) => {
                let label = self.label(&context);
                self.refuse(&label, Position::START, message);
            }
        }
        Ok(())
    }
}
