//! What is in a block: attributes by their type, blocks by their name.

use std::collections::BTreeMap;

use hcl::expr::TemplateExpr;
use hcl::{Block, Expression, Structure};
use serde_json::{Map, Value};

use super::{Result, unsupported};
use crate::clock;
use crate::config::duration;

/// The contents of a block, taken out one by one; what is left at the end was not understood.
pub(super) struct Fields {
    pub(super) place: String,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) blocks: Vec<Block>,
}

impl Fields {
    pub(super) fn of(block: &Block) -> Result<Self> {
        let label = block.labels().first().map(|label| format!(" {:?}", label.as_str())).unwrap_or_default();
        let place = format!("{}{label}", block.identifier());
        let mut values = BTreeMap::new();
        let mut blocks = Vec::new();
        for structure in block.body().clone() {
            match structure {
                Structure::Attribute(attribute) => {
                    let key = attribute.key().to_owned();
                    let value = value(attribute.expr(), &format!("{key} of {place}"))?;
                    if values.insert(key.clone(), value).is_some() {
                        return Err(format!("Attribute redefined: {key} of {place}"));
                    }
                }
                Structure::Block(block) => blocks.push(block),
            }
        }
        Ok(Self { place, values, blocks })
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.values
            .remove(key)
            .map(|value| scalar(&value).ok_or_else(|| format!("{key} of {}: a string is required", self.place)))
            .transpose()
    }

    pub(super) fn number<N: TryFrom<i64>>(&mut self, key: &str) -> Result<Option<N>> {
        let Some(value) = self.values.remove(key) else { return Ok(None) };
        let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number
            .and_then(|number| N::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| format!("{key} of {}: a number is required", self.place))
    }

    pub(super) fn bool(&mut self, key: &str) -> Result<Option<bool>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Bool(bool)) => Ok(Some(bool)),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(_) => Err(format!("{key} of {}: a bool is required", self.place)),
        }
    }

    pub(super) fn time(&mut self, key: &str) -> Result<Option<i64>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_i64()),
            Some(value) => {
                let text = value.as_str().unwrap_or_default();
                duration::parse(text)
                    .map(|time| Some(clock::nanos(time)))
                    .ok_or_else(|| format!("{key} of {}: time: invalid duration {text:?}", self.place))
            }
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Vec<String>> {
        match self.values.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| {
                    scalar(item).ok_or_else(|| format!("{key} of {}: a list of strings is required", self.place))
                })
                .collect(),
            Some(_) => Err(format!("{key} of {}: a list of strings is required", self.place)),
        }
    }

    /// A map, written as a block or as an attribute.
    pub(super) fn map(&mut self, key: &str) -> Result<BTreeMap<String, String>> {
        let mut all = match self.values.remove(key) {
            Some(Value::Object(map)) => map,
            Some(_) => return Err(format!("{key} of {}: a map is required", self.place)),
            None => Map::new(),
        };
        for block in self.take(key) {
            let mut fields = Self::of(&block)?;
            all.extend(std::mem::take(&mut fields.values));
            fields.done()?;
        }
        all.into_iter()
            .map(|(name, value)| {
                scalar(&value)
                    .map(|value| (name, value))
                    .ok_or_else(|| format!("{key} of {}: strings are required", self.place))
            })
            .collect()
    }

    pub(super) fn take(&mut self, name: &str) -> Vec<Block> {
        let (taken, rest) = std::mem::take(&mut self.blocks).into_iter().partition(|block| block.identifier() == name);
        self.blocks = rest;
        taken
    }

    pub(super) fn one<T>(&mut self, name: &str, read: impl FnOnce(Self) -> Result<T>) -> Result<Option<T>> {
        let mut blocks = self.take(name).into_iter();
        let first = blocks.next().map(|block| Self::of(&block).and_then(read)).transpose()?;
        if blocks.next().is_some() {
            return Err(format!("only one {name:?} block allowed in {}", self.place));
        }
        Ok(first)
    }

    pub(super) fn done(self) -> Result<()> {
        let left = self.values.keys().map(String::as_str).chain(self.blocks.iter().map(Block::identifier)).next();
        left.map_or(Ok(()), |what| Err(unsupported(what, &self.place)))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

/// An expression without variables; `${...}` is kept for the node that runs the task.
fn value(expression: &Expression, place: &str) -> Result<Value> {
    Ok(match expression {
        Expression::Null => Value::Null,
        Expression::Bool(bool) => Value::Bool(*bool),
        Expression::Number(number) => serde_json::to_value(number).map_err(|error| error.to_string())?,
        Expression::String(text) => Value::String(text.clone()),
        Expression::Array(list) => Value::Array(list.iter().map(|item| value(item, place)).collect::<Result<_>>()?),
        Expression::Object(object) => {
            let pairs = object.iter().map(|(key, item)| {
                let key = match key {
                    hcl::ObjectKey::Identifier(name) => name.to_string(),
                    hcl::ObjectKey::Expression(key) => {
                        scalar(&value(key, place)?).ok_or_else(|| format!("{place}: a key must be a string"))?
                    }
                    _ => return Err(unsupported("this key", place)),
                };
                Ok((key, value(item, place)?))
            });
            Value::Object(pairs.collect::<Result<_>>()?)
        }
        Expression::TemplateExpr(template) => Value::String(match &**template {
            TemplateExpr::QuotedString(text) => unescape(text),
            TemplateExpr::Heredoc(doc) => doc.template.replace("$${", "${"),
        }),
        Expression::Parenthesis(inner) => value(inner, place)?,
        Expression::Operation(_)
        | Expression::Traversal(_)
        | Expression::Variable(_)
        | Expression::FuncCall(_)
        | Expression::Conditional(_)
        | Expression::ForExpr(_) => {
            return Err(unsupported("an expression with variables, functions or operators", place));
        }
        _ => return Err(unsupported("this expression", place)),
    })
}

/// The escapes of a quoted template, which the parser leaves as they are.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out.replace("$${", "${")
}
