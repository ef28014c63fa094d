//! Schemas with alternatives: optional values and enums.
//!
//! The one alternative that the writer meant is found by what is there, so that
//! its faults are reported, rather than that none of five matched.

use serde_json::{Map, Value as Json};

use super::{
    Findings, Walk, accepts, list, quoted, subject, types, unknown_key, words, wrong_type,
};
use crate::document::at::At;
use crate::document::tree::{Node, Value};

/// A property with one allowed word, which tells an alternative from the others.
type Tag<'s> = (&'s str, &'s str);

impl<'s> Walk<'s> {
    pub(super) fn check_alternatives(
        &mut self,
        at: &At<'_>,
        node: &Node,
        alternatives: &'s [Json],
        not_yet: &[Json],
    ) {
        let alternatives: Vec<_> = alternatives
            .iter()
            .map(|alternative| self.resolve(alternative))
            .filter_map(Json::as_object)
            .collect();
        let is_null = |schema: &&Map<String, Json>| types(schema).eq(["null"]);
        if node.value == Value::Null && alternatives.iter().any(is_null) {
            return;
        }
        let alternatives: Vec<_> = alternatives.into_iter().filter(|s| !is_null(s)).collect();
        let all_words: Option<Vec<_>> = alternatives.iter().map(|schema| words(schema)).collect();
        if let Some(words) = all_words {
            self.check_word(at, node, &words.concat(), not_yet);
            return;
        }
        if let [only] = alternatives[..] {
            self.check_object(at, only);
            return;
        }
        if matches!(node.value, Value::Map(_))
            && (self.check_external_tag(at, &alternatives) || self.check_tag(at, &alternatives))
        {
            return;
        }
        self.check_untagged(at, node, &alternatives);
    }

    /// serde's default: `{ping: …}` or `{curl: …}`, one key naming the variant.
    fn check_external_tag(&mut self, at: &At<'_>, alternatives: &[&'s Map<String, Json>]) -> bool {
        let variants: Option<Vec<_>> = alternatives
            .iter()
            .filter(|schema| words(schema).is_none())
            .map(|schema| external_tag(schema))
            .collect();
        let Some(variants) = variants else {
            return false;
        };
        let names: Vec<_> = variants.iter().map(|(name, _)| *name).collect();
        let mut chosen = 0;
        for (key, value) in at.entries() {
            match variants.iter().find(|(name, _)| *name == key) {
                Some((_, schema)) => {
                    chosen += 1;
                    self.check(&value, schema);
                }
                None => self
                    .findings
                    .add(&value, unknown_key(at, &value, key, &names, &[])),
            }
        }
        if chosen > 1 || at.entries().next().is_none() {
            let message = format!("{} takes exactly one of {}", subject(at), quoted(&names));
            self.findings.add(at, at.fault(message));
        }
        true
    }

    /// `#[serde(tag = "…")]`: a key whose word names the variant.
    fn check_tag(&mut self, at: &At<'_>, alternatives: &[&'s Map<String, Json>]) -> bool {
        let tags: Option<Vec<_>> = alternatives
            .iter()
            .map(|schema| internal_tag(schema))
            .collect();
        let Some(tags) = tags else { return false };
        let Some((key, _)) = tags.first().copied() else {
            return false;
        };
        if tags.iter().any(|(other, _)| *other != key) {
            return false;
        }
        let tag = at.key(key);
        let Some(node) = tag.node() else {
            self.findings.add(at, super::missing_key(at, key));
            return true;
        };
        let chosen = tags
            .iter()
            .position(|(_, word)| tag.as_str() == Some(*word));
        match chosen {
            Some(index) => self.check_object(at, alternatives[index]),
            None => {
                let words: Vec<_> = tags.iter().map(|(_, word)| *word).collect();
                self.check_word(&tag, node, &words, &[]);
            }
        }
        true
    }

    /// `#[serde(untagged)]`, and enums of words and maps: the first alternative
    /// without faults, else the faults of the only one with the right type.
    fn check_untagged(&mut self, at: &At<'_>, node: &Node, alternatives: &[&'s Map<String, Json>]) {
        let mut of_right_type = Vec::new();
        for schema in alternatives {
            let mut trial = Walk {
                definitions: self.definitions,
                findings: Findings::default(),
            };
            trial.check_object(at, schema);
            if trial.findings.faults.is_empty() {
                return;
            }
            if accepts(schema, node) {
                of_right_type.push(trial.findings);
            }
        }
        if of_right_type.len() == 1 {
            for findings in of_right_type {
                self.findings.faults.extend(findings.faults);
                self.findings.misfits.extend(findings.misfits);
            }
            return;
        }
        let mut expectations: Vec<_> = alternatives
            .iter()
            .map(|schema| self.expectation(schema))
            .collect();
        expectations.retain(|expectation| !expectation.is_empty());
        expectations.dedup();
        let expectation = expectations.join(" or ");
        let fault = match &node.value {
            Value::Text(text) => at.fault(format!(
                "{} must be {expectation}, not `{text}`",
                subject(at)
            )),
            _ => wrong_type(at, node, &expectation),
        };
        self.findings.add(at, fault);
    }
}

/// The key and schema of a variant that is written as a map of one key.
fn external_tag(schema: &Map<String, Json>) -> Option<(&str, &Json)> {
    let mut properties = schema.get("properties")?.as_object()?.iter();
    let (name, value) = properties.next()?;
    let required = list(schema.get("required"));
    let only = properties.next().is_none() && required.len() == 1;
    (only && constant(value).is_none()).then_some((name.as_str(), value))
}

/// The required property of a variant that has one allowed word.
fn internal_tag(schema: &Map<String, Json>) -> Option<Tag<'_>> {
    let properties = schema.get("properties")?.as_object()?;
    let mut tags = properties
        .iter()
        .filter_map(|(name, value)| Some((name, constant(value)?)));
    tags.next().map(|(name, word)| (name.as_str(), word))
}

fn constant(schema: &Json) -> Option<&str> {
    schema.get("const").and_then(Json::as_str)
}
