//! Filling a template in.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    Wrong,
    expression::{Expression, Kind, Step},
    filter,
    scan::Node,
};

/// Work that a template may make: expressions, and bytes of the values that they make.
const FUEL: usize = 16 << 20;

/// What an expression gives.
#[derive(Debug, Clone)]
pub(super) enum Given<'v> {
    Value(Cow<'v, Value>),
    /// Nothing of this name is there.
    Undefined(String),
}

impl Given<'_> {
    pub(super) fn owned(value: impl Into<Value>) -> Self {
        Given::Value(Cow::Owned(value.into()))
    }

    /// What Python takes for true; what is not defined is not.
    pub(super) fn truth(&self) -> bool {
        match self {
            Given::Undefined(_) => false,
            Given::Value(value) => match &**value {
                Value::Null => false,
                Value::Bool(value) => *value,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(entries) => !entries.is_empty(),
            },
        }
    }
}

/// Fills in; `limit` bounds what comes out, in bytes.
pub(super) fn run(nodes: &[Node<'_>], variables: &Value, limit: usize) -> Result<String, Wrong> {
    let mut machine = Machine { variables, locals: Vec::new(), fuel: FUEL, out: String::new(), limit };
    machine.nodes(nodes)?;
    Ok(machine.out)
}

struct Machine<'v> {
    variables: &'v Value,
    /// The latest of a name counts.
    locals: Vec<(String, Cow<'v, Value>)>,
    fuel: usize,
    out: String,
    limit: usize,
}

impl<'v> Machine<'v> {
    fn nodes(&mut self, nodes: &[Node<'_>]) -> Result<(), Wrong> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(0, text)?,
                Node::Output(expression) => {
                    let text = match self.value(expression)? {
                        Given::Value(value) => filter::show(&value),
                        Given::Undefined(name) => return Err(undefined(expression.at, &name)),
                    };
                    self.write(expression.at, &text)?;
                }
                Node::If(branches) => {
                    for (condition, body) in branches {
                        let holds = match condition {
                            Some(condition) => self.value(condition)?.truth(),
                            None => true,
                        };
                        if holds {
                            self.nodes(body)?;
                            break;
                        }
                    }
                }
                Node::For { names, list, body, otherwise } => self.repeat(names, list, body, otherwise)?,
                Node::Set(name, expression) => {
                    let value = self.defined(expression)?;
                    self.locals.push((name.clone(), value));
                }
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        names: &[String],
        list: &Expression,
        body: &[Node<'_>],
        otherwise: &[Node<'_>],
    ) -> Result<(), Wrong> {
        let items = match self.defined(list)? {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect::<Vec<_>>(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            Cow::Borrowed(Value::Object(entries)) => entries.keys().map(|k| Cow::Owned(k.as_str().into())).collect(),
            Cow::Owned(Value::Object(entries)) => entries.into_iter().map(|(k, _)| Cow::Owned(k.into())).collect(),
            _ => return Err((list.at, "`for` needs a list or a map".into())),
        };
        if items.is_empty() {
            return self.nodes(otherwise);
        }
        let before = self.locals.len();
        let length = items.len();
        for (n, item) in items.into_iter().enumerate() {
            self.burn(list.at, 1)?;
            match names {
                [name] => self.locals.push((name.clone(), item)),
                names => {
                    let parts = item.as_array().filter(|parts| parts.len() == names.len());
                    let parts = parts.ok_or_else(|| (list.at, format!("an item is not {} values", names.len())))?;
                    let parts: Vec<_> = parts.iter().cloned().map(Cow::Owned).collect();
                    self.locals.extend(names.iter().cloned().zip(parts));
                }
            }
            let mut state = Map::new();
            state.insert("index".into(), (n + 1).into());
            state.insert("index0".into(), n.into());
            state.insert("first".into(), (n == 0).into());
            state.insert("last".into(), (n + 1 == length).into());
            state.insert("length".into(), length.into());
            self.locals.push(("loop".into(), Cow::Owned(state.into())));
            self.nodes(body)?;
            // What a round sets, it takes with it.
            self.locals.truncate(before);
        }
        Ok(())
    }

    fn write(&mut self, at: usize, text: &str) -> Result<(), Wrong> {
        if self.out.len() + text.len() > self.limit {
            return Err((at, format!("filled in, the template is longer than {} bytes", self.limit)));
        }
        self.burn(at, text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn burn(&mut self, at: usize, work: usize) -> Result<(), Wrong> {
        self.fuel = self
            .fuel
            .checked_sub(work.saturating_add(1))
            .ok_or_else(|| (at, "the template makes too much work".to_owned()))?;
        Ok(())
    }

    /// The value of an expression that must have one.
    fn defined(&mut self, expression: &Expression) -> Result<Cow<'v, Value>, Wrong> {
        match self.value(expression)? {
            Given::Value(value) => Ok(value),
            Given::Undefined(name) => Err(undefined(expression.at, &name)),
        }
    }

    fn value(&mut self, expression: &Expression) -> Result<Given<'v>, Wrong> {
        let at = expression.at;
        let given = match &expression.kind {
            Kind::Literal(value) => Given::Value(Cow::Owned(value.clone())),
            Kind::Variable(name) => self.variable(name),
            Kind::List(items) => {
                let mut list = Vec::new();
                for item in items {
                    list.push(self.defined(item)?.into_owned());
                }
                Given::owned(list)
            }
            Kind::Range(bounds) => self.range(at, bounds)?,
            Kind::Steps(value, steps) => {
                let mut path = if let Kind::Variable(name) = &value.kind { name.clone() } else { "value".into() };
                let mut given = self.value(value)?;
                for step in steps {
                    match step {
                        Step::Member(name) => path = format!("{path}.{name}"),
                        Step::Index(_) => path.push_str("[...]"),
                        Step::Call { .. } => {}
                    }
                    given = self.step(at, given, step, &path)?;
                    self.burn(at, path.len())?;
                    self.pay(at, &given)?;
                }
                given
            }
            Kind::Not(value) => Given::owned(!self.value(value)?.truth()),
            Kind::Negative(value) => match self.defined(value)?.as_i64().and_then(i64::checked_neg) {
                Some(number) => Given::owned(number),
                None => return Err((at, "only a whole number can be negative".into())),
            },
            Kind::Compare(left, operator, right) => Given::owned(self.compare(left, operator, right)?),
            Kind::Test(value, test, negative) => {
                let holds = match (test.as_str(), self.value(value)?) {
                    ("defined", given) => matches!(given, Given::Value(_)),
                    ("undefined", given) => matches!(given, Given::Undefined(_)),
                    (_, given) => matches!(given, Given::Value(value) if value.is_null()),
                };
                Given::owned(holds != *negative)
            }
            Kind::And(all) | Kind::Or(all) => {
                let stop_at = matches!(expression.kind, Kind::Or(_));
                let mut given = Given::owned(false);
                for one in all {
                    given = self.value(one)?;
                    if given.truth() == stop_at {
                        break;
                    }
                }
                given
            }
            Kind::Sum(first, more) => {
                let mut sum = self.defined(first)?;
                for (operator, expression) in more {
                    let other = self.defined(expression)?;
                    sum = Cow::Owned(
                        filter::add(operator, &sum, &other)
                            .ok_or_else(|| (expression.at, format!("`{operator}` does not go with these values")))?,
                    );
                    self.burn(at, filter::size(&sum))?;
                }
                Given::Value(sum)
            }
            Kind::Either(value, condition, other) => {
                if self.value(condition)?.truth() {
                    self.value(value)?
                } else if let Some(other) = other {
                    self.value(other)?
                } else {
                    Given::owned("")
                }
            }
        };
        self.pay(at, &given)?;
        Ok(given)
    }

    /// What was made costs its size; what was there costs nothing.
    fn pay(&mut self, at: usize, given: &Given<'_>) -> Result<(), Wrong> {
        let size = match given {
            Given::Value(Cow::Owned(value)) => filter::size(value),
            _ => 0,
        };
        self.burn(at, size)
    }

    fn variable(&self, name: &str) -> Given<'v> {
        if let Some((_, value)) = self.locals.iter().rfind(|(local, _)| local == name) {
            return Given::Value(value.clone());
        }
        let global: &'v Value = self.variables;
        member(Cow::Borrowed(global), name).map_or_else(|| Given::Undefined(name.to_owned()), Given::Value)
    }

    fn range(&mut self, at: usize, bounds: &[Expression]) -> Result<Given<'v>, Wrong> {
        let mut numbers = Vec::new();
        for bound in bounds {
            let number = self.defined(bound)?.as_i64();
            numbers.push(number.ok_or_else(|| (bound.at, "range takes whole numbers".to_owned()))?);
        }
        let (from, to) = match numbers[..] {
            [to] => (0, to),
            [from, to] => (from, to),
            _ => return Err((at, "range takes one number or two".into())),
        };
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        // Before there is a list.
        self.burn(at, length.saturating_mul(std::mem::size_of::<Value>()))?;
        Ok(Given::owned((from..to).map(Value::from).collect::<Vec<_>>()))
    }

    fn step(&mut self, at: usize, given: Given<'v>, step: &Step, path: &str) -> Result<Given<'v>, Wrong> {
        // What is below nothing is nothing.
        let found =
            |value: Option<Cow<'v, Value>>| value.map_or_else(|| Given::Undefined(path.to_owned()), Given::Value);
        match step {
            Step::Member(name) => Ok(found(match given {
                Given::Undefined(_) => None,
                Given::Value(value) => member(value, name),
            })),
            Step::Index(index) => {
                let index = self.defined(index)?;
                Ok(found(match given {
                    Given::Undefined(_) => None,
                    Given::Value(value) => match index.as_str() {
                        Some(name) => member(value, name),
                        None => index.as_i64().and_then(|n| filter::item(value, n)),
                    },
                }))
            }
            Step::Call { at: place, name, arguments, method } => {
                let mut values = Vec::new();
                for argument in arguments {
                    values.push(self.defined(argument)?.into_owned());
                }
                if name == "default" || name == "d" {
                    let keep = match values.get(1).is_some_and(|all| Given::owned(all.clone()).truth()) {
                        true => given.truth(),
                        false => matches!(given, Given::Value(_)),
                    };
                    return Ok(if keep { given } else { Given::owned(values.first().cloned().unwrap_or("".into())) });
                }
                let value = match given {
                    Given::Undefined(name) => return Err(undefined(at, &name)),
                    Given::Value(value) => value,
                };
                // Replacing and indenting may make much of little.
                let fuel = self.fuel;
                filter::apply(name, &value, &values, *method, fuel).map(Given::owned).map_err(|why| (*place, why))
            }
        }
    }

    fn compare(&mut self, left: &Expression, operator: &str, right: &Expression) -> Result<bool, Wrong> {
        let (a, b) = match (self.value(left)?, self.value(right)?) {
            (Given::Value(a), Given::Value(b)) => (a, b),
            // What is not there is equal to nothing.
            _ if operator == "==" => return Ok(false),
            _ if operator == "!=" => return Ok(true),
            (Given::Undefined(name), _) => return Err(undefined(left.at, &name)),
            (_, Given::Undefined(name)) => return Err(undefined(right.at, &name)),
        };
        let wrong = || (left.at, format!("`{operator}` does not go with these values"));
        Ok(match operator {
            "==" => filter::equal(&a, &b),
            "!=" => !filter::equal(&a, &b),
            "in" | "not in" => {
                let found = match (&*a, &*b) {
                    (Value::String(a), Value::String(b)) => b.contains(a.as_str()),
                    (Value::String(a), Value::Object(b)) => b.contains_key(a),
                    (a, Value::Array(b)) => b.iter().any(|item| filter::equal(a, item)),
                    _ => return Err(wrong()),
                };
                found == (operator == "in")
            }
            operator => {
                let order = filter::order(&a, &b).ok_or_else(wrong)?;
                match operator {
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        })
    }
}

/// What a map has under a name. A key with hyphens or points can also be named with underscores, as in cloud-init.
fn member<'v>(value: Cow<'v, Value>, name: &str) -> Option<Cow<'v, Value>> {
    let find = |entries: &Map<String, Value>| -> Option<String> {
        if entries.contains_key(name) {
            return Some(name.to_owned());
        }
        let alias = |key: &&String| key.contains(['-', '.']) && key.replace(['-', '.'], "_") == name;
        entries.keys().find(alias).cloned()
    };
    match value {
        Cow::Borrowed(Value::Object(entries)) => entries.get(&find(entries)?).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut entries)) => {
            let key = find(&entries)?;
            entries.remove(&key).map(Cow::Owned)
        }
        _ => None,
    }
}

fn undefined(at: usize, name: &str) -> Wrong {
    let name: String = name.chars().take(80).collect();
    (at, format!("the metadata has no {name}; `| default('...')` gives a value for this case"))
}
