//! What templates in check files can ask about the lab.

use std::collections::BTreeMap;
use std::time::Duration;

use lab_checks::check_file::{
    Context, NodeFacts, OutsideFacts, PodFacts, ServiceFacts, ServicePortFacts, Target,
};
use lab_cluster::PodPlacement;
use lab_model::lab::Node;
use lab_model::node_state::{Service, ServicePort};

use super::place::run_in;
use crate::interrupt::Interrupt;
use crate::live::LiveLab;

/// How long a node may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The facts of a lab.
pub(super) fn context(live: &LiveLab, interrupt: &Interrupt) -> Context {
    Context {
        nodes: live
            .sources
            .lab
            .nodes
            .iter()
            .map(|node| node_facts(live, node, interrupt))
            .collect(),
        pods: live
            .cluster
            .pods
            .iter()
            .map(|pod| pod_facts(live, pod))
            .collect(),
        services: live.cluster.services.iter().map(service_facts).collect(),
    }
}

fn node_facts(live: &LiveLab, node: &Node, interrupt: &Interrupt) -> NodeFacts {
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
        outside: state.and_then(|_| outside(live, node, interrupt)),
    }
}

/// By which address and gateway a node would reach the outside, in the kernel's own
/// words: machines come with those, and every kind of them with others. None where
/// there is no way, or the node cannot be asked.
fn outside(live: &LiveLab, node: &Node, interrupt: &Interrupt) -> Option<OutsideFacts> {
    /// An address that is nobody's (RFC 5737).
    const SOMEWHERE: &str = "192.0.2.1";
    let argv = ["ip", "-4", "-json", "route", "get", SOMEWHERE].map(str::to_owned);
    let on = Target::Node(node.name.clone());
    let ended = run_in(live, &on, &argv, LIMIT, interrupt).ok()?;
    let routes: Vec<OutsideFacts> = serde_json::from_str(&ended.stdout).ok()?;
    routes.into_iter().next()
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
        identity: interface.map_or(0, |pod| pod.identity),
        labels: pod
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn service_facts(service: &Service) -> ServiceFacts {
    let port = |port: &ServicePort| ServicePortFacts {
        name: port.name.clone(),
        protocol: port.protocol.to_string(),
        port: port.port,
        node_port: port.node_port,
    };
    ServiceFacts {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        cluster_ip: service.cluster_ip,
        ports: service.ports.iter().map(port).collect(),
        node_port: service.ports.iter().find_map(|port| port.node_port),
        load_balancer_ip: service.load_balancer_ips.first().copied(),
        external_ips: service.external_ips.clone(),
    }
}
