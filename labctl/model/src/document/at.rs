//! A place in a document.

use std::ops::Range;
use std::sync::Arc;

use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Source};

/// A place in a document: a value, or, where a path leads to none, the nearest
/// value around it, so that a fault can be reported in any case.
#[derive(Clone, Debug)]
pub struct At<'a> {
    source: &'a Arc<Source>,
    node: Option<&'a Node>,
    /// Where faults point when there is no value, or only one of many lines.
    key_span: Option<Range<usize>>,
    around: Range<usize>,
    path: String,
}

impl<'a> At<'a> {
    pub(super) fn root(source: &'a Arc<Source>, node: &'a Node) -> Self {
        let path = String::new();
        Self {
            source,
            node: Some(node),
            key_span: None,
            around: node.span.clone(),
            path,
        }
    }

    /// The value of that key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => self.entry(entry),
            None => Self {
                node: None,
                path: self.path_to(key),
                ..self.clone()
            },
        }
    }

    /// The item at that place of a list, from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let path = format!("{}[{index}]", self.path);
        match self.node.and_then(|node| node.items().get(index)) {
            Some(node) => Self {
                source: self.source,
                node: Some(node),
                key_span: None,
                around: node.span.clone(),
                path,
            },
            None => Self {
                node: None,
                path,
                ..self.clone()
            },
        }
    }

    /// The keys of a map with their values, in the order of the text; of
    /// anything else, none.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + '_ {
        let entries = self.node.map_or(&[][..], Node::entries);
        entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.entry(entry)))
    }

    fn entry(&self, entry: &'a Entry) -> Self {
        Self {
            source: self.source,
            node: Some(&entry.node),
            key_span: Some(entry.key_span.clone()),
            around: entry.node.span.clone(),
            path: self.path_to(&entry.key),
        }
    }

    fn path_to(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The items of a list; of anything else, none.
    pub fn items(&self) -> impl Iterator<Item = Self> + '_ {
        let count = self.node.map_or(0, |node| node.items().len());
        (0..count).map(|index| self.index(index))
    }

    /// Whether the file has a value here.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.node.is_some()
    }

    /// The text here, when it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match &self.node?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number here.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.node?.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value here.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.node?.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// What is here, as JSON; null where there is nothing.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.node.map_or(serde_json::Value::Null, Node::to_json)
    }

    /// The way here from the document's root, as in `routes[0].via`; empty at the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The bytes that a fault here should mark: the value, or its key where the
    /// value takes several lines or is absent.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let value = &self.around;
        let text = self.source.text().get(value.clone()).unwrap_or_default();
        if self.node.is_some() && !text.is_empty() && !text.contains('\n') {
            return value.clone();
        }
        self.key_span.clone().unwrap_or_else(|| {
            let line = text.lines().next().unwrap_or_default();
            value.start..value.start + line.len()
        })
    }

    /// The bytes of the key that leads here; of the value, where it has none.
    #[must_use]
    pub fn key_span(&self) -> Range<usize> {
        match (&self.node, &self.key_span) {
            (Some(_), Some(span)) => span.clone(),
            _ => self.span(),
        }
    }

    /// A fault of the value here.
    #[must_use]
    pub fn fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.source, self.span(), message)
    }

    /// A fault of the key that leads here.
    #[must_use]
    pub fn key_fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.source, self.key_span(), message)
    }

    /// The text that the place is in.
    #[must_use]
    pub const fn source(&self) -> &'a Arc<Source> {
        self.source
    }

    pub(super) const fn node(&self) -> Option<&'a Node> {
        self.node
    }
}
