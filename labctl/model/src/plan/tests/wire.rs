//! Actions and observations as they travel between labctl and a machine.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::convergence::{any_damages, any_lab, any_wiring, damaged};
use super::plan_with;
use crate::plan::{Action, ObservedNode, Undo, undo};

fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let line = serde_json::to_string(value).expect("serialize");
    assert!(!line.contains('\n'), "one document a line: {line}");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn whatever_is_planned_or_seen_arrives_as_it_was_sent(
        wiring in any_wiring(),
        before in any_lab(),
        after in any_lab(),
        damages in any_damages(),
    ) {
        let seen = damaged(wiring, &before, &damages);
        for node in seen.nodes.values() {
            prop_assert_eq!(&there_and_back::<ObservedNode>(node), node);
        }
        let steps = plan_with(wiring, &after, &seen).steps;
        let done: Vec<Action> = steps.into_iter().map(|step| step.action).collect();
        let back = undo(&done).into_iter().filter_map(|way| match way {
            Undo::By(action) => Some(action),
            _ => None,
        });
        for action in done.iter().cloned().chain(back) {
            prop_assert_eq!(&there_and_back(&action), &action);
        }
    }
}

#[test]
fn an_action_is_named_by_its_tag() {
    let action = Action::SetForwarding {
        node: "router".to_owned(),
        enabled: true,
    };
    let json = r#"{"action":"set-forwarding","node":"router","enabled":true}"#;
    assert_eq!(serde_json::to_string(&action).expect("serialize"), json);
}

#[test]
fn what_is_no_hardware_address_is_refused() {
    for text in [
        "",
        "02:00",
        "02:00:00:00:00:0g",
        "02:00:00:00:00:00:00",
        "2:0:0:0:0:0",
    ] {
        let json = serde_json::to_string(text).expect("a string");
        let error = serde_json::from_str::<crate::plan::MacAddress>(&json);
        assert!(error.is_err(), "{text:?} was taken for one");
    }
}
