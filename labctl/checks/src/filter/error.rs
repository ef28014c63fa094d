//! What is wrong with a filter, and where.

use std::fmt;

/// A fault in a filter: place, message, and how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong.
    pub message: String,
    /// Byte offset of the fault in the filter.
    pub offset: usize,
    /// Its length in bytes, at least 1.
    pub length: usize,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl FilterError {
    pub(super) fn new(span: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            offset: span.start,
            length: span.len().max(1),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The fault below the filter it is in:
    ///
    /// ```text
    /// column 1: `ip.scr` is not a field of the filter language
    ///   ip.scr == 10.0.0.1
    ///   ^^^^^^
    /// did you mean `ip.src`?
    /// ```
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let before = text.get(..self.offset).unwrap_or(text);
        let column = before.chars().count() + 1;
        let marked = text.get(self.offset..).unwrap_or_default();
        let width = marked
            .get(..self.length)
            .map_or(1, |span| span.chars().count().max(1));
        let mut out = format!(
            "column {column}: {}\n  {text}\n  {}{}",
            self.message,
            " ".repeat(column - 1),
            "^".repeat(width)
        );
        if let Some(help) = &self.help {
            out.push('\n');
            out.push_str(help);
        }
        out
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}
