//! The tree of a YAML document, each node and key with its place in the text.

use std::collections::HashSet;
use std::ops::Range;

/// A value and the bytes it was written in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// What a node holds, under YAML 1.2's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map, with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// What the node is, in words for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Entries, when the node is a map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items, when the node is a list.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of that key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Nodes in this subtree and levels below it, counting this one.
    pub(super) fn size_and_depth(&self) -> (usize, usize) {
        let children = self
            .items()
            .iter()
            .chain(self.entries().iter().map(|entry| &entry.node));
        let (size, depth) = children
            .map(Self::size_and_depth)
            .fold((0, 0), |(size, depth), (s, d)| (size + s, depth.max(d)));
        (size + 1, depth + 1)
    }

    /// The same data as JSON. Numbers that JSON lacks (`.inf`, `.nan`) become null.
    pub(super) fn to_json(&self) -> serde_json::Value {
        self.to_json_without(&HashSet::new()).unwrap_or_default()
    }

    /// The same data as JSON, without the values of `misfits`: their keys are left
    /// out, and a list that has one is a misfit itself, so that no item moves.
    pub(super) fn to_json_without(
        &self,
        misfits: &HashSet<*const Self>,
    ) -> Option<serde_json::Value> {
        if misfits.contains(&std::ptr::from_ref(self)) {
            return None;
        }
        Some(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(items) => items
                .iter()
                .map(|item| item.to_json_without(misfits))
                .collect::<Option<_>>()?,
            Value::Map(entries) => {
                let kept = entries.iter().filter_map(|entry| {
                    Some((entry.key.clone(), entry.node.to_json_without(misfits)?))
                });
                serde_json::Value::Object(kept.collect())
            }
        })
    }
}
