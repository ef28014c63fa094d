//! From the parser's events to the [tree](super::tree), with every bound checked
//! on the way: nesting, aliases, and keys that are not words.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScanError, Span};

use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Source};

/// Levels of nesting; deeper text is refused, so that walks may recurse.
const MAX_DEPTH: usize = 64;

/// Nodes of one file, aliases expanded; more is an attack, or a mistake.
const MAX_NODES: usize = 100_000;

/// One document of a stream, and the faults that parsing goes on after.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) faults: Vec<Diagnostic>,
}

/// Parses every document of a stream; documents without content are left out.
pub(super) fn parse(source: &Arc<Source>) -> Result<Vec<Parsed>, Diagnostics> {
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str(source.text()) {
        let (event, span) = event.map_err(|error| builder.syntax_fault(&error))?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// A map or list whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// In a map: the key whose value comes next.
    key: Option<Key>,
    /// Where each key of a map came first.
    seen: HashMap<String, Range<usize>>,
}

struct Key {
    text: String,
    span: Range<usize>,
    /// Whether the value is kept; those of faulty keys are not looked at again.
    keep: bool,
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    /// Byte offset of every character, and of the end.
    offsets: Vec<usize>,
    documents: Vec<Parsed>,
    faults: Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<Source>) -> Self {
        let ends = std::iter::once(source.text().len());
        Self {
            source,
            offsets: source
                .text()
                .char_indices()
                .map(|(offset, _)| offset)
                .chain(ends)
                .collect(),
            documents: Vec::new(),
            faults: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostics> {
        let place = self.bytes(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = Scalar::parse_from_cow_and_metadata(text.clone(), style, tag.as_ref());
                match value {
                    // The text itself, not its value: `80: …` and `"80": …` are one key.
                    Some(_) if self.expects_key() => self.take_key(text.into_owned(), place),
                    Some(scalar) => self.finish(scalar_node(scalar, place), anchor)?,
                    None => {
                        let message = format!("`{text}` is not what its tag says");
                        return Err(self.fault(place, message).into());
                    }
                }
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(Value::List(Vec::new()), place, anchor)?;
            }
            Event::MappingStart(anchor, _) => self.begin(Value::Map(Vec::new()), place, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(place)?,
            Event::Alias(anchor) => self.expand(anchor, place)?,
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.key.is_none())
    }

    fn take_key(&mut self, text: String, span: Range<usize>) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let first = open
            .seen
            .entry(text.clone())
            .or_insert_with(|| span.clone())
            .clone();
        let fault = if text == "<<" {
            let fault = Diagnostic::new(self.source, span.clone(), "merge keys are not supported");
            Some(fault.with_help("write the keys out, or use an alias for a whole value"))
        } else if first != span {
            let message = format!("duplicate key `{text}`");
            let fault = Diagnostic::new(self.source, span.clone(), message);
            Some(
                fault
                    .with_label("again here")
                    .with_related(first, "first here"),
            )
        } else {
            None
        };
        open.key = Some(Key {
            text,
            span,
            keep: fault.is_none(),
        });
        self.faults.extend(fault);
    }

    fn begin(
        &mut self,
        value: Value,
        place: Range<usize>,
        anchor: usize,
    ) -> Result<(), Diagnostics> {
        if self.expects_key() {
            let fault = self.fault(place, "a key must be one word, not a list or a map");
            return Err(fault
                .with_help("quote text that starts with `{` or `[`")
                .into());
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(self.fault(place, message).into());
        }
        let node = Node { span: place, value };
        self.open.push(Open {
            node,
            anchor,
            key: None,
            seen: HashMap::new(),
        });
        Ok(())
    }

    fn end(&mut self, place: Range<usize>) -> Result<(), Diagnostics> {
        let Some(Open {
            mut node, anchor, ..
        }) = self.open.pop()
        else {
            return Ok(());
        };
        // A block's end is reported where the next token starts; the last child
        // says where its text ends.
        let last = node
            .items()
            .last()
            .or(node.entries().last().map(|entry| &entry.node));
        let end = if place.is_empty() {
            last.map_or(place.end, |last| last.span.end)
        } else {
            place.end
        };
        node.span.end = end.max(node.span.start);
        self.finish(node, anchor)
    }

    /// Puts a complete node into the map or list it belongs to, or ends the document.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostics> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one file");
            return Err(self.fault(node.span, message).into());
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            let faults = std::mem::take(&mut self.faults);
            if node.value != Value::Null || !faults.is_empty() {
                self.documents.push(Parsed { root: node, faults });
            }
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => {
                if let Some(key) = open.key.take().filter(|key| key.keep) {
                    entries.push(Entry {
                        key: key.text,
                        key_span: key.span,
                        node,
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn expand(&mut self, anchor: usize, place: Range<usize>) -> Result<(), Diagnostics> {
        if self.expects_key() {
            return Err(self.fault(place, "an alias cannot be a key").into());
        }
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self
                .fault(place, "an alias cannot stand inside what it names")
                .into());
        };
        let (size, depth) = node.size_and_depth();
        if self.open.len() + depth > MAX_DEPTH {
            let message = format!("this alias nests more than {MAX_DEPTH} levels deep");
            return Err(self.fault(place, message).into());
        }
        self.nodes += size;
        if self.nodes > MAX_NODES {
            let message = format!("aliases expand to more than {MAX_NODES} values");
            return Err(self.fault(place, message).into());
        }
        let node = node.clone();
        self.finish(node, 0)
    }

    fn fault(&self, place: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.source, place, message)
    }

    fn syntax_fault(&self, error: &ScanError) -> Diagnostics {
        let at = self.offset(*error.marker());
        let text = self.source.text();
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let fault = self.fault(at..at, format!("not valid YAML: {}", error.info()));
        if text[line_start..].trim_start_matches(' ').starts_with('\t') {
            return fault
                .with_help("YAML is indented with spaces, never with tabs")
                .into();
        }
        fault.into()
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.offset(span.start);
        start..self.offset(span.end).max(start)
    }

    fn offset(&self, marker: Marker) -> usize {
        let last = self.source.text().len();
        self.offsets.get(marker.index()).copied().unwrap_or(last)
    }
}

fn scalar_node(scalar: Scalar<'_>, span: Range<usize>) -> Node {
    let value = match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(value),
        Scalar::Integer(value) => Value::Integer(value),
        Scalar::FloatingPoint(value) => Value::Float(value.into_inner()),
        Scalar::String(value) => Value::Text(value.into_owned()),
    };
    Node { span, value }
}
