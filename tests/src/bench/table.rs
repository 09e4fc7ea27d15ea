//! The table that `make bench` prints: each row a figure, its peer, their ratio, and the budget of SPECIFICATION.md.

use std::fmt;

/// A figure beside its peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// What it is held against, in the same unit.
    pub peer: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// The largest ratio that is allowed, when there is a bound.
    pub budget: Option<f64>,
    /// What helps to read it: times on the wall, spread.
    pub note: String,
}

impl Row {
    /// A figure without a bound.
    pub fn new(what: impl Into<String>, value: f64, peer: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, peer, unit, budget: None, note: String::new() }
    }

    /// With the largest ratio that is allowed.
    #[must_use]
    pub fn budget(self, ratio: f64) -> Self {
        Self { budget: Some(ratio), ..self }
    }

    /// With a remark.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The figure as a multiple of its peer.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.value / self.peer
    }

    /// Whether the bound is broken. A ratio that is no number (a peer of nothing) is not within any.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.budget.is_some_and(|budget| self.ratio().is_nan() || self.ratio() > budget)
    }
}

/// Rows under one head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds rows.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.0.extend(rows);
    }

    /// How many bounds are broken.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.0.iter().filter(|row| row.broken()).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.what.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "{:<width$}  {:>14}  {:>14}  {:>6}  {:>6}", "what", "measured", "peer", "ratio", "budget")?;
        for row in &self.0 {
            let quantity = |number: f64| format!("{number:.2} {}", row.unit);
            let budget = row.budget.map(|budget| format!("{budget:.2}")).unwrap_or_default();
            let verdict = if row.broken() { "BROKEN " } else { "" };
            let line = format!(
                "{:<width$}  {:>14}  {:>14}  {:>6.3}  {budget:>6}  {verdict}{}",
                row.what,
                quantity(row.value),
                quantity(row.peer),
                row.ratio(),
                row.note
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_budget_is_marked_and_counted() {
        let mut table = Table::default();
        table.extend([
            Row::new("within", 1.05, 1.0, "s").budget(1.05).note("spread 1 to 2"),
            Row::new("over", 3.0, 10.0, "s").budget(0.2),
            Row::new("no peer", 0.0, 0.0, "s").budget(0.2),
            Row::new("free", 9.0, 1.0, "MB"),
        ]);
        assert_eq!(table.broken(), 2);
        let text = table.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("1.050    1.05  spread 1 to 2"), "{text}");
        assert!(lines[2].ends_with("0.300    0.20  BROKEN"), "{text}");
        assert!(lines[3].ends_with("BROKEN"), "{text}");
        assert!(lines[4].ends_with("9.00 MB         1.00 MB   9.000"), "{text}");
    }
}
