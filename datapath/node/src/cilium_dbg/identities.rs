//! Identities: who they are, which endpoints and addresses have them.

use lab_model::node_state::NodeState;
use serde_json::{Value, json};

use super::columns;
use crate::api::{IpcacheRecord, PodStatus};
use crate::flows::reserved_name;

/// The reserved identities that Cilium lists: host to ingress, but the API server's, which
/// no node of a lab has apart.
const RESERVED: [u32; 7] = [1, 2, 3, 4, 5, 6, 8];

/// `cilium-dbg identity list`, or `get` of one; `None` when there is no such identity.
pub(super) fn identities(state: &NodeState, only: Option<u32>) -> Option<String> {
    let reserved = RESERVED.into_iter().filter_map(|id| {
        let name = reserved_name(id)?;
        Some((id, vec![format!("reserved:{name}")]))
    });
    let pods = state.identities.iter();
    let pods = pods.map(|identity| (identity.id, identity.labels.clone()));
    let mut all: Vec<_> = reserved.chain(pods).collect();
    all.sort();
    if let Some(only) = only {
        all.retain(|(id, _)| *id == only);
        if all.is_empty() {
            return None;
        }
    }
    let mut rows = vec![vec!["ID".to_owned(), "LABELS".to_owned()]];
    for (id, labels) in all {
        let mut labels = labels.into_iter();
        rows.push(vec![id.to_string(), labels.next().unwrap_or_default()]);
        rows.extend(labels.map(|label| vec![String::new(), label]));
    }
    Some(columns::ragged(&rows))
}

/// `cilium-dbg bpf ipcache list`.
pub(super) fn ipcache(entries: &[IpcacheRecord]) -> String {
    let mut rows = vec![vec!["IP PREFIX/ADDRESS".to_owned(), "IDENTITY".to_owned()]];
    for entry in entries {
        let value = format!(
            "identity={} encryptkey=0 tunnelendpoint={} flags=<none>",
            entry.identity, entry.tunnel_endpoint
        );
        rows.push(vec![entry.prefix.to_string(), value]);
    }
    columns::padded(&rows)
}

/// `cilium-dbg endpoint get ID`: what labctl knows of the original's document; `None` when
/// there is no such endpoint.
pub(super) fn endpoint(state: &NodeState, pods: &[PodStatus], id: u16) -> Option<String> {
    let pod = state.pods.iter().find(|pod| pod.endpoint_id == id)?;
    let status = pods
        .iter()
        .find(|it| (&it.namespace, &it.name) == (&pod.namespace, &pod.name));
    let is_ready = status.is_some_and(|status| status.ready);
    let document: Value = json!([{
        "id": pod.endpoint_id,
        "status": {
            "external-identifiers": {
                "k8s-namespace": pod.namespace,
                "k8s-pod-name": pod.name,
                "pod-name": pod.key(),
            },
            "identity": {"id": pod.identity, "labels": pod.labels},
            "networking": {
                "addressing": [{"ipv4": pod.address}],
                "interface-name": pod.interface,
            },
            "state": if is_ready { "ready" } else { "not-ready" },
        },
    }]);
    // Go's encoder indents by two blanks, as this one does.
    serde_json::to_string_pretty(&document)
        .ok()
        .map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::document;

    #[test]
    fn identities_are_listed_a_label_a_line() {
        let mut state = document("k8s-ctr", 0);
        state.identities = vec![lab_model::node_state::Identity {
            id: 58196,
            labels: vec!["k8s:app=curl".to_owned(), "k8s:tier=front".to_owned()],
        }];
        let list = identities(&state, None).expect("all");
        assert!(
            list.starts_with("ID      LABELS\n1       reserved:host\n2       reserved:world\n"),
            "{list}"
        );
        let own = "58196   k8s:app=curl\n        k8s:tier=front\n";
        assert!(list.ends_with(own), "{list}");
        assert_eq!(
            identities(&state, Some(58196)),
            Some(format!("ID      LABELS\n{own}"))
        );
        assert_eq!(identities(&state, Some(4711)), None);
    }

    #[test]
    fn an_endpoint_is_a_document_and_the_ipcache_a_table() {
        let state = document("k8s-ctr", 0);
        let text = endpoint(&state, &[], 10).expect("pod-a");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let status = &document[0]["status"];
        assert_eq!(status["external-identifiers"]["pod-name"], "default/pod-a");
        assert_eq!(status["state"], "not-ready");
        assert_eq!(endpoint(&state, &[], 9), None);
        let entry = IpcacheRecord {
            prefix: "10.244.1.6/32".parse().expect("a prefix"),
            identity: 7452,
            tunnel_endpoint: [192, 168, 10, 101].into(),
        };
        assert_eq!(
            ipcache(&[entry]),
            "IP PREFIX/ADDRESS   IDENTITY                                                                \n\
             10.244.1.6/32       identity=7452 encryptkey=0 tunnelendpoint=192.168.10.101 flags=<none>   \n"
        );
    }
}
