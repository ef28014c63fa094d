//! Names, labels and selectors, as Kubernetes would accept them.

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::At;

use super::super::kubernetes::{LabelSelector, MatchExpression, ObjectMeta, Operator};
use crate::names::{is_dns1123_label, is_dns1123_subdomain, is_label_key, is_label_value};
use crate::selector::{Condition, Labels, Requirement, Selector};

pub(super) const LOWER_CASE: &str = "use lower case letters, digits, `-` and `.`, with a letter or digit at \
                          each end of every part";
/// RFC 1123 of Kubernetes: what namespaces and containers are named by.
pub(super) const DNS1123_LABEL: &str = "use at most 63 lower case letters, digits and `-`";
const LABEL_KEY: &str = "a label's key is `name` or `prefix/name`, of letters, digits, `-`, `_` \
                         and `.`, at most 63 after the slash";
const LABEL_VALUE: &str = "a label's value has at most 63 letters, digits, `-`, `_` and `.`, with \
                           a letter or digit at each end";

/// Checks an object's name and namespace, and gives the namespace.
pub(super) fn metadata(meta: &ObjectMeta, at: &At<'_>, faults: &mut Diagnostics) -> String {
    if !is_dns1123_subdomain(&meta.name) {
        let message = format!("`{}` cannot be the name of an object", meta.name);
        faults.push(at.key("name").fault(message).with_help(LOWER_CASE));
    }
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    if !is_dns1123_label(namespace) {
        let message = format!("`{namespace}` cannot be the name of a namespace");
        faults.push(at.key("namespace").fault(message).with_help(DNS1123_LABEL));
    }
    namespace.to_owned()
}

pub(super) fn labels(labels: Option<&Labels>, at: &At<'_>, faults: &mut Diagnostics) -> Labels {
    for (key, value) in labels.into_iter().flatten() {
        label(key, value, &at.key(key), faults);
    }
    labels.cloned().unwrap_or_default()
}

fn label(key: &str, value: &str, at: &At<'_>, faults: &mut Diagnostics) {
    label_key(key, |message| at.key_fault(message), faults);
    label_value(value, at, faults);
}

fn label_key(key: &str, fault: impl FnOnce(String) -> Diagnostic, faults: &mut Diagnostics) {
    if !is_label_key(key) {
        faults.push(fault(format!("`{key}` cannot be a label's key")).with_help(LABEL_KEY));
    }
}

fn label_value(value: &str, at: &At<'_>, faults: &mut Diagnostics) {
    if !is_label_value(value) {
        let message = format!("`{value}` cannot be a label's value");
        faults.push(at.fault(message).with_help(LABEL_VALUE));
    }
}

pub(super) fn selector(
    selector: &LabelSelector,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Selector {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| {
        label(key, value, &at.key("matchLabels").key(key), faults);
        Requirement {
            key: key.clone(),
            condition: Condition::In(vec![value.clone()]),
        }
    });
    let mut requirements: Vec<Requirement> = equal.collect();
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let at = at.key("matchExpressions").index(index);
        requirements.push(requirement(expression, &at, faults));
    }
    Selector { requirements }
}

fn requirement(given: &MatchExpression, at: &At<'_>, faults: &mut Diagnostics) -> Requirement {
    let values = given.values.clone().unwrap_or_default();
    let takes_values = matches!(given.operator, Operator::In | Operator::NotIn);
    if takes_values && values.is_empty() {
        faults.push(
            at.key("operator")
                .fault("this operator needs at least one of `values`"),
        );
    }
    if !takes_values && !values.is_empty() {
        faults.push(
            at.key("values")
                .key_fault("`values` must be left out with this operator"),
        );
    }
    let key_at = at.key("key");
    label_key(&given.key, |message| key_at.fault(message), faults);
    for (index, value) in values.iter().enumerate() {
        label_value(value, &at.key("values").index(index), faults);
    }
    let condition = match given.operator {
        Operator::In => Condition::In(values),
        Operator::NotIn => Condition::NotIn(values),
        Operator::Exists => Condition::Exists,
        Operator::DoesNotExist => Condition::DoesNotExist,
    };
    Requirement {
        key: given.key.clone(),
        condition,
    }
}
