//! The table at the end: every figure beside its target.

use std::fmt::Write;

use crate::processor;

/// Figures in the order of their measuring.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

enum Line {
    Heading(String),
    Text(String),
    Figure { name: String, value: String, target: Option<Target> },
}

struct Target {
    text: String,
    is_met: bool,
}

impl Report {
    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Heading(text.into()));
    }

    /// A line of a table of its own.
    pub(crate) fn line(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Text(text.into()));
    }

    /// A figure that stands for itself.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.lines.push(Line::Figure { name: name.into(), value: value.into(), target: None });
    }

    /// A figure that has a target.
    pub(crate) fn judged(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
        target: impl Into<String>,
        is_met: bool,
    ) {
        let target = Some(Target { text: target.into(), is_met });
        self.lines.push(Line::Figure { name: name.into(), value: value.into(), target });
    }

    /// The whole, for people; `what`: with what it was measured.
    pub(crate) fn text(&self, what: &str) -> String {
        let mut text = format!("machine: {}\n{what}\n", processor::machine());
        for line in &self.lines {
            // Writing to a string does not fail.
            let _ = match line {
                Line::Heading(heading) => writeln!(text, "\n{heading}"),
                Line::Text(line) => writeln!(text, "{line}"),
                Line::Figure { name, value, target: None } => writeln!(text, "  {name:<52} {value:>12}"),
                Line::Figure { name, value, target: Some(Target { text: target, is_met }) } => {
                    let verdict = if *is_met { "met" } else { "MISSED" };
                    writeln!(text, "  {name:<52} {value:>12}   target {target}: {verdict}")
                }
            };
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// The middle one of what the rounds gave; of two the mean. NaN where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => (values[middle - 1] + upper) / 2.0,
    }
}

/// With a space at the thousands.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
