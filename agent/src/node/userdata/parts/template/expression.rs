//! Expressions: `v1.region | default("eu")`, `"a" in ds.meta_data.tags and not x is defined`.

use super::{MAX_DEPTH, Wrong, token::Token};

/// An expression and the byte of its template at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// What an expression is. Rows of equal operators are one level, so that depth is what brackets make.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Literal(serde_json::Value),
    Variable(String),
    List(Vec<Expression>),
    /// `range(a, b)`.
    Range(Vec<Expression>),
    /// A value and what is done with it, from left to right.
    Steps(Box<Expression>, Vec<Step>),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Compare(Box<Expression>, &'static str, Box<Expression>),
    /// `is defined`; `true`: `is not`.
    Test(Box<Expression>, String, bool),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// The first, and what is joined to it by `+`, `-` or `~`.
    Sum(Box<Expression>, Vec<(&'static str, Expression)>),
    /// `a if b else c`.
    Either(Box<Expression>, Box<Expression>, Option<Box<Expression>>),
}

/// One step from a value to another.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// `.name`.
    Member(String),
    /// `[expression]`.
    Index(Expression),
    /// `| name(arguments)` and `.name(arguments)`: a filter, or a method of Python's strings and maps.
    Call { at: usize, name: String, arguments: Vec<Expression>, method: bool },
}

/// Reads words from the front.
pub(super) struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    next: usize,
    depth: usize,
    /// The byte behind the last word.
    end: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(tokens: &'a [(usize, Token)], end: usize) -> Self {
        Self { tokens, next: 0, depth: 0, end }
    }

    /// Where the next word stands.
    pub(super) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    pub(super) fn wrong<T>(&self, what: &str) -> Result<T, Wrong> {
        Err((self.at(), what.to_owned()))
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Takes a sign, when it is the next word.
    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.next += usize::from(hit);
        hit
    }

    /// Takes a keyword, when it is the next word.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Name(found)) if found == word);
        self.next += usize::from(hit);
        hit
    }

    /// Takes a name.
    pub(super) fn name(&mut self) -> Result<String, Wrong> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.next += 1;
                Ok(name.clone())
            }
            _ => self.wrong("a name is missing"),
        }
    }

    /// Nothing may follow.
    pub(super) fn finish(&self) -> Result<(), Wrong> {
        if self.peek().is_some() { self.wrong("this is not understood in a template") } else { Ok(()) }
    }

    /// A whole expression.
    pub(super) fn expression(&mut self) -> Result<Expression, Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.wrong("an expression is nested too deep");
        }
        let at = self.at();
        let value = self.or()?;
        let result = if self.keyword("if") {
            let condition = self.or()?;
            let other = if self.keyword("else") { Some(Box::new(self.expression()?)) } else { None };
            Expression { at, kind: Kind::Either(Box::new(value), Box::new(condition), other) }
        } else {
            value
        };
        self.depth -= 1;
        Ok(result)
    }

    fn row(&mut self, word: &str, inner: fn(&mut Self) -> Result<Expression, Wrong>) -> Result<Vec<Expression>, Wrong> {
        let mut all = vec![inner(self)?];
        while self.keyword(word) {
            all.push(inner(self)?);
        }
        Ok(all)
    }

    fn or(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let mut all = self.row("or", Self::and)?;
        Ok(if all.len() == 1 { all.remove(0) } else { Expression { at, kind: Kind::Or(all) } })
    }

    fn and(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let mut all = self.row("and", Self::not)?;
        Ok(if all.len() == 1 { all.remove(0) } else { Expression { at, kind: Kind::And(all) } })
    }

    fn not(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let mut negations = 0;
        while self.keyword("not") {
            negations += 1;
        }
        let value = self.comparison()?;
        Ok(match negations {
            0 => value,
            n => {
                let value = Expression { at, kind: Kind::Not(Box::new(value)) };
                // An even number only makes it a boolean.
                if n % 2 == 1 { value } else { Expression { at, kind: Kind::Not(Box::new(value)) } }
            }
        })
    }

    fn comparison(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let left = self.sum()?;
        if self.keyword("is") {
            let negative = self.keyword("not");
            let place = self.at();
            let test = self.name()?;
            if !["defined", "undefined", "none"].contains(&test.as_str()) {
                return Err((place, format!("{test:?} is no test: there are defined, undefined and none")));
            }
            return Ok(Expression { at, kind: Kind::Test(Box::new(left), test, negative) });
        }
        let mut operator = ["==", "!=", "<=", ">=", "<", ">"].into_iter().find(|sign| self.sign(sign));
        if operator.is_none() && self.keyword("in") {
            operator = Some("in");
        } else if operator.is_none() && self.keyword("not") {
            if !self.keyword("in") {
                return self.wrong("`in` is missing behind `not`");
            }
            operator = Some("not in");
        }
        match operator {
            Some(operator) => {
                let right = self.sum()?;
                Ok(Expression { at, kind: Kind::Compare(Box::new(left), operator, Box::new(right)) })
            }
            None => Ok(left),
        }
    }

    fn sum(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let first = self.steps()?;
        let mut more = Vec::new();
        while let Some(sign) = ["+", "-", "~"].into_iter().find(|sign| self.sign(sign)) {
            more.push((sign, self.steps()?));
        }
        Ok(if more.is_empty() { first } else { Expression { at, kind: Kind::Sum(Box::new(first), more) } })
    }

    fn steps(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let negative = self.sign("-");
        let value = self.primary()?;
        let mut steps = Vec::new();
        loop {
            let place = self.at();
            if self.sign(".") {
                let name = match self.peek() {
                    Some(Token::Int(n)) => {
                        self.next += 1;
                        let kind = Kind::Literal((*n).into());
                        steps.push(Step::Index(Expression { at: place, kind }));
                        continue;
                    }
                    _ => self.name()?,
                };
                if self.sign("(") {
                    let arguments = self.list(")")?;
                    steps.push(Step::Call { at: place, name, arguments, method: true });
                } else {
                    steps.push(Step::Member(name));
                }
            } else if self.sign("[") {
                steps.push(Step::Index(self.expression()?));
                if !self.sign("]") {
                    return self.wrong("`]` is missing");
                }
            } else if self.sign("|") {
                let at = self.at();
                let name = self.name()?;
                let arguments = if self.sign("(") { self.list(")")? } else { Vec::new() };
                steps.push(Step::Call { at, name, arguments, method: false });
            } else {
                break;
            }
        }
        let value = if steps.is_empty() { value } else { Expression { at, kind: Kind::Steps(Box::new(value), steps) } };
        Ok(if negative { Expression { at, kind: Kind::Negative(Box::new(value)) } } else { value })
    }

    /// Expressions up to a closing sign.
    fn list(&mut self, close: &str) -> Result<Vec<Expression>, Wrong> {
        let mut items = Vec::new();
        while !self.sign(close) {
            if !items.is_empty() && !self.sign(",") {
                return self.wrong("a bracket is not closed");
            }
            if self.sign(close) {
                break;
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expression, Wrong> {
        let at = self.at();
        let Some(token) = self.peek() else { return self.wrong("an expression is missing") };
        self.next += 1;
        let kind = match token {
            Token::Text(text) => Kind::Literal(text.as_str().into()),
            Token::Int(n) => Kind::Literal((*n).into()),
            Token::Sign("(") => {
                let inner = self.expression()?;
                if !self.sign(")") {
                    return self.wrong("`)` is missing");
                }
                return Ok(inner);
            }
            Token::Sign("[") => Kind::List(self.list("]")?),
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Kind::Literal(true.into()),
                "false" | "False" => Kind::Literal(false.into()),
                "none" | "None" => Kind::Literal(serde_json::Value::Null),
                "range" if self.sign("(") => Kind::Range(self.list(")")?),
                "if" | "else" | "and" | "or" | "not" | "is" | "in" => {
                    return Err((at, "an expression is missing".into()));
                }
                _ if matches!(self.peek(), Some(Token::Sign("("))) => {
                    return Err((at, format!("there is no function {name:?} but range")));
                }
                _ => Kind::Variable(name.clone()),
            },
            Token::Sign(sign) => return Err((at, format!("{sign:?} is not understood here"))),
        };
        Ok(Expression { at, kind })
    }
}
