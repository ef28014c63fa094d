//! The walk of a document beside the schema of the type it is to become.
//!
//! Only what schemars 1 derives for serde's types is understood: references,
//! maps, lists, words, ranges, formats, optional values, and enums with external,
//! internal or no tag. Anything else passes here and is left to serde.
//!
//! `x-not-yet`, a list of words in a schema, names keys or values that are right
//! elsewhere but that labctl does not have yet; they get a message of their own.

mod alternatives;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json};

use super::at::At;
use super::format;
use super::tree::{Node, Value};
use crate::diagnostic::{Diagnostic, nearest};

/// What is wrong with a document, and which of its values that is about.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Diagnostic>,
    /// Values that do not fit; compared by address, never followed.
    pub(super) misfits: HashSet<*const Node>,
}

impl Findings {
    fn add(&mut self, at: &At<'_>, fault: Diagnostic) {
        self.faults.push(fault);
        self.misfits.extend(at.node().map(std::ptr::from_ref));
    }
}

/// Every difference between what is at a place and the schema of `T`.
pub(super) fn check<T: JsonSchema>(at: &At<'_>) -> Findings {
    let root = schema_of::<T>();
    let mut walk = Walk {
        definitions: root.get("$defs"),
        findings: Findings::default(),
    };
    walk.check(at, &root);
    walk.findings
}

/// The schema of `T`, generated once: that takes longer than reading a document,
/// and a stream of manifests has many.
fn schema_of<T: JsonSchema>() -> Arc<Json> {
    static SCHEMAS: Mutex<BTreeMap<&'static str, Arc<Json>>> = Mutex::new(BTreeMap::new());
    // A panic while generating leaves the map as it was.
    let mut schemas = SCHEMAS.lock().unwrap_or_else(PoisonError::into_inner);
    let generate = || {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        Arc::new(schema.to_value())
    };
    Arc::clone(
        schemas
            .entry(std::any::type_name::<T>())
            .or_insert_with(generate),
    )
}

struct Walk<'s> {
    definitions: Option<&'s Json>,
    findings: Findings,
}

impl<'s> Walk<'s> {
    fn check(&mut self, at: &At<'_>, schema: &'s Json) {
        if let Some(schema) = self.resolve(schema).as_object() {
            self.check_object(at, schema);
        }
    }

    fn check_object(&mut self, at: &At<'_>, schema: &'s Map<String, Json>) {
        let Some(node) = at.node() else { return };
        for all in list(schema.get("allOf")) {
            self.check(at, all);
        }
        if let Some(words) = words(schema) {
            self.check_word(at, node, &words, not_yet(schema));
            return;
        }
        if let Some(alternatives) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
            self.check_alternatives(at, node, list(Some(alternatives)), not_yet(schema));
        }
        if !accepts(schema, node) {
            self.findings
                .add(at, wrong_type(at, node, &self.expectation(schema)));
            return;
        }
        match &node.value {
            Value::Map(_) => self.check_map(at, schema),
            Value::List(_) => self.check_list(at, schema),
            Value::Text(text) => self.check_text(at, text, schema),
            Value::Integer(number) => self.check_range(at, *number, schema),
            Value::Null | Value::Bool(_) | Value::Float(_) => {}
        }
    }

    /// The schema that a `$ref` leads to, or the schema itself.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        let target = schema.get("$ref").and_then(Json::as_str);
        let name = target.and_then(|target| target.strip_prefix("#/$defs/"));
        let definition = name.and_then(|name| self.definitions?.get(name));
        definition.unwrap_or(schema)
    }

    fn check_map(&mut self, at: &At<'_>, schema: &'s Map<String, Json>) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut suggested = Vec::new();
        for (key, value) in at.entries() {
            let known = properties.and_then(|properties| properties.get(key));
            let pattern = schema.get("patternProperties").and_then(Json::as_object);
            let other = pattern.and_then(|patterns| patterns.values().next());
            match known
                .or(other)
                .or_else(|| schema.get("additionalProperties"))
            {
                Some(Json::Bool(false)) => {
                    let known = properties.map(|properties| properties.keys().map(String::as_str));
                    let known: Vec<_> = known.into_iter().flatten().collect();
                    suggested.extend(nearest(key, known.iter().copied()));
                    let fault = unknown_key(at, &value, key, &known, not_yet(schema));
                    self.findings.add(&value, fault);
                }
                Some(schema) => self.check(&value, schema),
                None => {}
            }
        }
        for key in list(schema.get("required")).iter().filter_map(Json::as_str) {
            // A misspelt key is one fault, not two.
            if !at.key(key).exists() && !suggested.contains(&key) {
                // What is there still fits, so the rest of it is looked at.
                self.findings.faults.push(missing_key(at, key));
            }
        }
    }

    fn check_list(&mut self, at: &At<'_>, schema: &'s Map<String, Json>) {
        if let Some(items) = schema.get("items") {
            at.items().for_each(|item| self.check(&item, items));
        }
        let minimum = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (at.items().count() as u64) < minimum {
            self.findings
                .add(at, at.fault(format!("{} has too few items", subject(at))));
        }
    }

    fn check_text(&mut self, at: &At<'_>, text: &str, schema: &Map<String, Json>) {
        let format = schema
            .get("format")
            .and_then(Json::as_str)
            .and_then(format::named);
        if let Some(format) = format
            && !(format.accepts)(text)
        {
            let message = format!("{} must be {}, not `{text}`", subject(at), format.expects);
            self.findings.add(at, at.fault(message));
        }
    }

    fn check_range(&mut self, at: &At<'_>, number: i64, schema: &Map<String, Json>) {
        let bound = |key| schema.get(key).and_then(Json::as_f64);
        let (minimum, maximum) = (bound("minimum"), bound("maximum"));
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
        let value = number as f64;
        if minimum.is_none_or(|minimum| value >= minimum)
            && maximum.is_none_or(|maximum| value <= maximum)
        {
            return;
        }
        let range = match (minimum, maximum) {
            (Some(minimum), Some(maximum)) => format!("between {minimum} and {maximum}"),
            (Some(minimum), None) => format!("at least {minimum}"),
            (_, maximum) => format!("at most {}", maximum.unwrap_or_default()),
        };
        self.findings.add(
            at,
            at.fault(format!("{} must be {range}, not {number}", subject(at))),
        );
    }

    fn check_word(&mut self, at: &At<'_>, node: &Node, words: &[&str], not_yet: &[Json]) {
        let Value::Text(text) = &node.value else {
            let expectation = format!("one of {}", quoted(words));
            self.findings.add(at, wrong_type(at, node, &expectation));
            return;
        };
        if words.contains(&text.as_str()) {
            return;
        }
        let fault = if not_yet.iter().any(|word| word == text) {
            at.fault(format!("{}: `{text}` is not available yet", at.path()))
                .with_help(format!("labctl has {}", quoted(words)))
        } else {
            at.fault(format!("{} cannot be `{text}`", subject(at)))
                .with_suggestion(text, words.iter().copied(), || {
                    Some(format!("it is one of {}", quoted(words)))
                })
        };
        self.findings.add(at, fault);
    }

    /// What a schema asks for, in words for messages.
    fn expectation(&self, schema: &Map<String, Json>) -> String {
        if let Some(words) = words(schema) {
            return format!("one of {}", quoted(&words));
        }
        let format = schema
            .get("format")
            .and_then(Json::as_str)
            .and_then(format::named);
        if let Some(format) = format {
            return format.expects.to_owned();
        }
        let types: Vec<_> = types(schema)
            .filter(|name| *name != "null")
            .map(|name| match name {
                "string" => "text",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "true or false",
                "array" => "a list",
                _ => "a map",
            })
            .collect();
        types.join(" or ")
    }
}

/// The elements of a JSON list; of anything else, none.
fn list(value: Option<&Json>) -> &[Json] {
    value.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn not_yet(schema: &Map<String, Json>) -> &[Json] {
    list(schema.get("x-not-yet"))
}

/// The words that a schema of `enum` or `const` allows.
fn words(schema: &Map<String, Json>) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    let words = schema.get("enum")?.as_array()?;
    Some(words.iter().filter_map(Json::as_str).collect())
}

/// The types that a schema allows; none named means any.
fn types(schema: &Map<String, Json>) -> impl Iterator<Item = &str> {
    let named = schema.get("type");
    let single = named.and_then(Json::as_str);
    single
        .into_iter()
        .chain(list(named).iter().filter_map(Json::as_str))
}

fn accepts(schema: &Map<String, Json>, node: &Node) -> bool {
    let mut types = types(schema).peekable();
    types.peek().is_none()
        || types.any(|name| match node.value {
            Value::Null => name == "null",
            Value::Bool(_) => name == "boolean",
            Value::Integer(_) => name == "integer" || name == "number",
            Value::Float(_) => name == "number",
            Value::Text(_) => name == "string",
            Value::List(_) => name == "array",
            Value::Map(_) => name == "object",
        })
}

/// What a message is about: the path, or the file at its root.
fn subject(at: &At<'_>) -> String {
    if at.path().is_empty() {
        "the file".to_owned()
    } else {
        format!("`{}`", at.path())
    }
}

fn quoted(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn unknown_key(
    parent: &At<'_>,
    at: &At<'_>,
    key: &str,
    known: &[&str],
    not_yet: &[Json],
) -> Diagnostic {
    let known_keys = || (!known.is_empty()).then(|| format!("it takes {}", quoted(known)));
    if not_yet.iter().any(|word| word == key) {
        return at.key_fault(format!("`{}` is not available yet", at.path()));
    }
    let place = if parent.path().is_empty() {
        String::new()
    } else {
        format!(" in `{}`", parent.path())
    };
    at.key_fault(format!("unknown key `{key}`{place}"))
        .with_suggestion(key, known.iter().copied(), known_keys)
}

fn missing_key(at: &At<'_>, key: &str) -> Diagnostic {
    at.key_fault(format!("{} lacks `{key}`", subject(at)))
}

fn wrong_type(at: &At<'_>, node: &Node, expectation: &str) -> Diagnostic {
    let fault = at.fault(format!(
        "{} must be {expectation}, not {}",
        subject(at),
        node.kind()
    ));
    match node.value {
        Value::Null => fault.with_help("write a value, or leave the key out"),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) if expectation == "text" => {
            fault.with_help("quote it to make it text")
        }
        _ => fault,
    }
}
