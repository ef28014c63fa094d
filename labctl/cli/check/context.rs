//! What templates in check files can ask about the lab.

use std::collections::BTreeMap;

use lab_checks::check_file::{Context, NodeFacts, PodFacts};
use lab_cluster::PodPlacement;
use lab_model::lab::Node;

use crate::live::LiveLab;

/// The facts of a lab.
pub(super) fn context(live: &LiveLab) -> Context {
    Context {
        nodes: live
            .sources
            .lab
            .nodes
            .iter()
            .map(|node| node_facts(live, node))
            .collect(),
        pods: live
            .cluster
            .pods
            .iter()
            .map(|pod| pod_facts(live, pod))
            .collect(),
    }
}

fn node_facts(live: &LiveLab, node: &Node) -> NodeFacts {
    let state = live.cluster.node_states.get(&node.name);
    NodeFacts {
        name: node.name.clone(),
        role: node.role.to_string(),
        address: node.address,
        pod_cidr: state.map(|state| state.node.pod_cidr),
        cilium_host: state.map(|state| state.node.cilium_host),
        dummies: node
            .dummies
            .iter()
            .map(|(name, net)| (name.clone(), net.addr()))
            .collect(),
    }
}

fn pod_facts(live: &LiveLab, pod: &PodPlacement) -> PodFacts {
    let is_it = |other: &&lab_model::node_state::Pod| {
        other.namespace == pod.namespace && other.name == pod.name
    };
    let state = live.cluster.node_states.get(&pod.node);
    let interface = state.and_then(|state| state.pods.iter().find(is_it));
    PodFacts {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        owner: pod.owner.clone(),
        node: pod.node.clone(),
        ip: pod.address,
        interface: interface
            .map(|pod| pod.interface.clone())
            .unwrap_or_default(),
        labels: pod
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
    }
}
