//! Faults in the files that users write: where, what, and what to do.
//!
//! Lab files, check files and manifests all report through [`Diagnostics`], so
//! that every fault looks alike: `file:line:column`, the offending line with a
//! caret, and a suggestion where there is one.

mod suggestion;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

pub use suggestion::nearest;

/// A file's name and text, shared by the diagnostics that point into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A source; `name` is what messages show, usually the path as the user gave it.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }

    /// The name that messages show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The nearest character boundary at or before `offset`, inside the text.
    fn char_boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// One fault in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// The file it is in.
    pub source: Arc<Source>,
    /// The bytes of the source that the caret marks.
    pub span: Range<usize>,
    /// Text beside the caret.
    pub label: Option<String>,
    /// Other places in the same file that explain the fault, each with its text.
    pub related: Vec<(Range<usize>, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault at `span`, given in bytes of the source's text.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: Arc::clone(source),
            span,
            label: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// Adds text beside the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds `did you mean …?` when a candidate is near enough to `word`, and
    /// otherwise what `otherwise` says, if anything.
    #[must_use]
    pub fn with_suggestion<'a>(
        mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
        otherwise: impl FnOnce() -> Option<String>,
    ) -> Self {
        self.help = nearest(word, candidates)
            .map(|candidate| format!("did you mean `{candidate}`?"))
            .or_else(otherwise);
        self
    }

    /// Adds another place in the same file, with its text.
    #[must_use]
    pub fn with_related(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }

    /// Line and column of the fault, both from 1; columns count characters.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.start)
    }

    /// The lines that the snippet shows, and where they start: the whole text of
    /// a long file would be cut into lines again for every diagnostic.
    fn excerpt(&self) -> Excerpt<'_> {
        let spans = self
            .related
            .iter()
            .map(|(span, _)| span)
            .chain([&self.span]);
        let first = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let last = spans.map(|span| span.end).max().unwrap_or(0);
        let text = self.source.text();
        let first = self.source.char_boundary(first);
        let last = self.source.char_boundary(last).max(first);
        let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[last..]
            .find('\n')
            .map_or(text.len(), |newline| last + newline);
        Excerpt {
            text: &text[start..end],
            start,
            line: self.source.line_column(start).0,
        }
    }

    fn group(&self) -> Group<'_> {
        let excerpt = self.excerpt();
        let within = |span: &Range<usize>| {
            let start = self.source.char_boundary(span.start);
            let end = self.source.char_boundary(span.end).max(start);
            start - excerpt.start..end - excerpt.start
        };
        let primary = AnnotationKind::Primary
            .span(within(&self.span))
            .label(self.label.as_deref());
        let related = self.related.iter().map(|(span, text)| {
            AnnotationKind::Context
                .span(within(span))
                .label(Some(text.as_str()))
        });
        let snippet = Snippet::source(excerpt.text)
            .line_start(excerpt.line)
            .path(self.source.name())
            .annotation(primary)
            .annotations(related);
        let group = Level::ERROR
            .primary_title(self.message.as_str())
            .element(snippet);
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

struct Excerpt<'a> {
    text: &'a str,
    /// Byte offset of `text` in its source.
    start: usize,
    /// Number of its first line, from 1.
    line: usize,
}

/// Faults of one or more files, to be reported together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// No faults yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a fault.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// How many faults there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// `value` when there are no faults.
    ///
    /// # Errors
    ///
    /// The faults themselves, [sorted](Self::sorted).
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self.sorted())
        }
    }

    /// The faults file by file, in the order of the text, each once.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        let mut names: Vec<String> = Vec::new();
        self.0.sort_by_cached_key(|fault| {
            let seen = names.iter().position(|name| *name == fault.source.name);
            let file = seen.unwrap_or_else(|| {
                names.push(fault.source.name.clone());
                names.len() - 1
            });
            (file, fault.span.start, fault.span.end)
        });
        // A value that an alias repeats is faulty once.
        self.0.dedup();
        self
    }

    /// The faults as text for a terminal, one paragraph each, ending in a newline.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render(&self.0, color)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.0.extend(diagnostics);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Diagnostics as text for a terminal, one paragraph each, ending in a newline.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut text = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&renderer.render(&[diagnostic.group()]));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
