//! Label selectors, as Kubernetes' `metav1.LabelSelector`.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What labels must be for an object to be meant: every requirement, so that an
/// empty selector means every object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What holds for its value.
    pub condition: Condition,
}

/// What holds for the value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is there, and one of these.
    In(Vec<String>),
    /// It is none of these, or not there.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.condition {
            Condition::In(values) => value.is_some_and(|value| values.contains(value)),
            Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Condition::Exists => value.is_some(),
            Condition::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_must_hold_and_absent_labels_are_not_in_any_set() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        let matches = |key: &str, condition: Condition| {
            let requirements = vec![Requirement {
                key: key.to_owned(),
                condition,
            }];
            Selector { requirements }.matches(&labels)
        };
        let web = || vec!["web".to_owned()];
        assert!(matches("app", Condition::In(web())));
        assert!(!matches("tier", Condition::In(web())));
        assert!(!matches("app", Condition::NotIn(web())));
        assert!(matches("tier", Condition::NotIn(web())));
        assert!(matches("app", Condition::Exists) && !matches("tier", Condition::Exists));
        assert!(matches("tier", Condition::DoesNotExist));
        assert!(!matches("app", Condition::DoesNotExist));
        assert!(Selector::default().matches(&labels));
    }
}
