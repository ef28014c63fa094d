//! YAML documents that know where everything was written.
//!
//! [`Document::parse`] keeps the place of every key and value.
//! [`Document::read`] turns a document into a Rust type: the schema that
//! schemars derives from the type is walked beside the tree, so that all
//! unknown and missing keys, wrong types and misspelt words come out at once,
//! each at its place. [`Document::at`] finds places again, for faults that only
//! meaning shows.
//!
//! A type with `#[serde(deny_unknown_fields)]` refuses unknown keys, one without
//! allows them, as Kubernetes manifests need. Formats that schemas name are
//! checked as well: see [`format`].

mod at;
mod builder;
pub mod format;
mod schema;
mod tree;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

pub use at::At;

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use tree::Node;

/// One YAML document, with the place of every key and value.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    root: Node,
    /// Duplicate and merge keys, reported together with what `read` finds.
    faults: Vec<Diagnostic>,
}

impl Document {
    /// Parses a file that holds exactly one document.
    ///
    /// # Errors
    ///
    /// One diagnostic, when the text is not YAML, holds no document or more than
    /// one, nests deeper than 64 levels, or has more than 100 000 values.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Diagnostics> {
        let mut documents = Self::parse_all(file_name, text)?;
        let Some(document) = documents.pop() else {
            let source = Source::new(file_name, text);
            return Err(Diagnostic::new(&source, 0..0, "the file is empty").into());
        };
        if documents.is_empty() {
            return Ok(document);
        }
        let start = document.root.span.start;
        let message = "a second document starts here; this file takes one";
        Err(Diagnostic::new(&document.source, start..start, message).into())
    }

    /// Parses a stream of documents separated by `---`; empty ones are left out.
    ///
    /// # Errors
    ///
    /// One diagnostic, under the conditions of [`Document::parse`].
    pub fn parse_all(file_name: &str, text: &str) -> Result<Vec<Self>, Diagnostics> {
        let source = Source::new(file_name, text);
        let documents = builder::parse(&source)?;
        let document = |parsed: builder::Parsed| Self {
            source: Arc::clone(&source),
            root: parsed.root,
            faults: parsed.faults,
        };
        Ok(documents.into_iter().map(document).collect())
    }

    /// The text the document was parsed from; for a stream, all of it.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The document's outermost value, from which every other place is reached.
    #[must_use]
    pub fn at(&self) -> At<'_> {
        At::root(&self.source, &self.root)
    }

    /// The items of the list at `key` as documents of their own, which is how
    /// Kubernetes' `List` wraps objects. Their places are places in the same text.
    #[must_use]
    pub fn items(&self, key: &str) -> Vec<Self> {
        let list = self.root.entry(key);
        let items = list.map_or(&[][..], |entry| entry.node.items());
        let document = |root: &Node| Self {
            source: Arc::clone(&self.source),
            root: root.clone(),
            faults: Vec::new(),
        };
        items.iter().map(document).collect()
    }

    /// The document as a `T`.
    ///
    /// # Errors
    ///
    /// Every difference between the document and the schema of `T`, duplicate
    /// keys too; or, when there is none, the first value that `T`'s own
    /// deserialization refuses.
    pub fn read<T: JsonSchema + DeserializeOwned>(&self) -> Result<T, Diagnostics> {
        let (value, faults) = self.read_partial()?;
        faults.or(value)
    }

    /// As much of the document as fits a `T`, and all faults that [`Document::read`]
    /// finds, so that faults of meaning can be reported together with them. Values
    /// that do not fit are left out, and so are lists with items that do not.
    ///
    /// # Errors
    ///
    /// The faults alone, when what is left is not a `T`.
    pub fn read_partial<T>(&self) -> Result<(T, Diagnostics), Diagnostics>
    where
        T: JsonSchema + DeserializeOwned,
    {
        let mut faults = Diagnostics::new();
        faults.extend(self.faults.iter().cloned());
        let findings = schema::check::<T>(&self.at());
        faults.extend(findings.faults);
        let Some(rest) = self.root.to_json_without(&findings.misfits) else {
            return Err(faults.sorted());
        };
        match serde_path_to_error::deserialize(rest) {
            Ok(value) => Ok((value, faults)),
            Err(error) => {
                // With faults already, the error may only be about what was left out.
                if faults.is_empty() {
                    let path = error.path().iter();
                    let at = path.fold(self.at(), |at, segment| match segment {
                        Segment::Map { key } => at.key(key),
                        Segment::Seq { index } => at.index(*index),
                        Segment::Enum { .. } | Segment::Unknown => at,
                    });
                    faults.push(at.fault(error.inner().to_string()));
                }
                Err(faults.sorted())
            }
        }
    }
}

#[cfg(test)]
mod tests;
