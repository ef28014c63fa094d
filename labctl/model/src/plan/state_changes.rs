//! What changes between two `NodeState`s, in words.

use std::collections::BTreeMap;

use crate::node_state::NodeState;

/// What is new in `after`, one fragment for each pod, peer and setting: "peer
/// k8s-w3 is new: route to its podCIDR 10.244.3.0/24".
#[must_use]
pub fn state_changes(before: &NodeState, after: &NodeState) -> Vec<String> {
    let mut changes = Vec::new();
    if before.node != after.node {
        changes.push(format!("{} itself changes", after.node.name));
    }
    keyed(&mut changes, "pod", &pods(before), &pods(after), |pod| {
        format!(" with address {}", pod.address)
    });
    keyed(
        &mut changes,
        "pod",
        &host_pods(before),
        &host_pods(after),
        |_| " on the node's network".to_owned(),
    );
    keyed(
        &mut changes,
        "peer",
        &peers(before),
        &peers(after),
        |peer| format!(": route to its podCIDR {}", peer.pod_cidr),
    );
    settings(&mut changes, "dns", &before.dns, &after.dns);
    settings(&mut changes, "datapath", &before.datapath, &after.datapath);
    if changes.is_empty() && before != after {
        changes.push("its NodeState differs".to_owned());
    }
    changes
}

fn pods(state: &NodeState) -> BTreeMap<String, &crate::node_state::Pod> {
    state.pods.iter().map(|pod| (pod.key(), pod)).collect()
}

fn host_pods(state: &NodeState) -> BTreeMap<String, &crate::node_state::HostPod> {
    let pods = state.host_pods.iter();
    pods.map(|pod| (pod.key(), pod)).collect()
}

fn peers(state: &NodeState) -> BTreeMap<String, &crate::node_state::Peer> {
    state
        .peers
        .iter()
        .map(|peer| (peer.name.clone(), peer))
        .collect()
}

fn keyed<T: PartialEq>(
    changes: &mut Vec<String>,
    kind: &str,
    before: &BTreeMap<String, &T>,
    after: &BTreeMap<String, &T>,
    detail: impl Fn(&T) -> String,
) {
    for (name, new) in after {
        match before.get(name) {
            None => changes.push(format!("{kind} {name} is new{}", detail(new))),
            Some(old) if old != new => {
                changes.push(format!("{kind} {name} changes{}", detail(new)));
            }
            Some(_) => {}
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changes.push(format!("{kind} {name} is gone"));
    }
}

/// Fields of a settings document that differ, by their names in it.
fn settings<T: serde::Serialize>(changes: &mut Vec<String>, what: &str, before: &T, after: &T) {
    // These structs hold no map with keys that JSON cannot have, so they serialize.
    let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after))
    else {
        return;
    };
    let nothing = serde_json::Value::Null;
    for (name, new) in after.as_object().into_iter().flatten() {
        let old = before.get(name).unwrap_or(&nothing);
        if old != new {
            changes.push(format!("{what} {name}: {old} becomes {new}"));
        }
    }
}
