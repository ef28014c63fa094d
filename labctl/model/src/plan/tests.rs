//! Plans of example labs, line by line, and what must hold of every plan.

mod convergence;
mod machines;
mod simulation;
mod study;
mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Desired, Observed, Plan, Wiring, plan};
use crate::lab::{Lab, Node, Role, StaticRoute};
use crate::node_state::{
    DatapathSettings, DnsPolicy, Masquerade, NODE_STATE_VERSION, NodeIdentity, NodeState,
    NodeStates, Peer, Pod, PodDns, Workload,
};
use crate::values::Values;

/// A lab of the given nodes; the numbers end their addresses in 192.168.10.0/24.
fn lab(nodes: &[(&str, Role, u8)]) -> Lab {
    let node = |(name, role, number): &(&str, Role, u8)| Node {
        name: (*name).to_owned(),
        role: *role,
        address: (*role != Role::World).then(|| Ipv4Addr::new(192, 168, 10, *number)),
        dummies: BTreeMap::new(),
        serve_http: None,
        zone: None,
        machine: <_>::default(),
    };
    Lab {
        name: "study".to_owned(),
        network: net("192.168.10.0/24"),
        nodes: nodes.iter().map(node).collect(),
        routes: Vec::new(),
        values: Values::default(),
        dns: None,
        provider: <_>::default(),
        manifests: Vec::new(),
        checks: Vec::new(),
    }
}

fn study() -> Lab {
    let mut lab = lab(&[
        ("k8s-ctr", Role::ControlPlane, 100),
        ("k8s-w1", Role::Worker, 101),
        ("router", Role::Router, 200),
        ("internet", Role::World, 0),
    ]);
    lab.nodes[2].dummies = [("loop1".to_owned(), net("10.10.1.200/24"))].into();
    lab.nodes[2].serve_http = Some(80);
    lab.routes = vec![StaticRoute {
        to: net("10.10.0.0/16"),
        via: "router".to_owned(),
        gateway: Ipv4Addr::new(192, 168, 10, 200),
        on: vec!["k8s-ctr".to_owned(), "k8s-w1".to_owned()],
    }];
    lab
}

/// What lab-cluster would compute, in little: one pod on every cluster node.
fn node_states(lab: &Lab) -> NodeStates {
    let identities: Vec<_> = lab.cluster_nodes().filter_map(identity).collect();
    let states = identities.iter().map(|node| {
        let others = identities.iter().filter(|it| it.name != node.name);
        let state = NodeState {
            version: NODE_STATE_VERSION,
            lab: lab.name.clone(),
            node: node.clone(),
            peers: others.map(peer).collect(),
            pods: vec![pod(node)],
            host_pods: Vec::new(),
            remote_pods: Vec::new(),
            identities: Vec::new(),
            services: Vec::new(),
            redirects: Vec::new(),
            announcements: Vec::new(),
            dns: PodDns {
                nameserver: Ipv4Addr::new(10, 96, 0, 10),
                search: vec![],
                node_search: vec![],
                ndots: 5,
            },
            datapath: datapath(lab.values.bpf.masquerade),
        };
        (node.name.clone(), state)
    });
    states.collect()
}

/// Podcidrs follow the address, so that they stay when nodes come and go.
fn identity(node: &Node) -> Option<NodeIdentity> {
    let address = node.address?;
    let number = address.octets()[3];
    Some(NodeIdentity {
        name: node.name.clone(),
        address,
        pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, number, 0), 24),
        cilium_host: Ipv4Addr::new(10, 244, number, 1),
        control_plane: node.role == Role::ControlPlane,
    })
}

fn peer(node: &NodeIdentity) -> Peer {
    Peer {
        name: node.name.clone(),
        address: node.address,
        pod_cidr: node.pod_cidr,
        cilium_host: node.cilium_host,
    }
}

fn pod(node: &NodeIdentity) -> Pod {
    let [a, b, c, _] = node.pod_cidr.addr().octets();
    Pod {
        namespace: "default".to_owned(),
        name: format!("web-{}", node.name),
        hostname: None,
        subdomain: None,
        address: Ipv4Addr::new(a, b, c, 10),
        interface: format!("lxc{c:012x}"),
        endpoint_id: 10,
        identity: 256,
        labels: vec![],
        dns_policy: DnsPolicy::ClusterFirst,
        workload: Workload::Whoami { port: 80 },
        corefile: None,
    }
}

fn datapath(masquerade: bool) -> DatapathSettings {
    DatapathSettings {
        masquerade: if masquerade {
            Masquerade::Ebpf
        } else {
            Masquerade::Off
        },
        ..DatapathSettings::default()
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a CIDR in a test")
}

fn absent(lab: &Lab) -> Observed {
    Observed {
        lab: lab.name.clone(),
        ..Observed::default()
    }
}

/// The plan that leads from `observed` to `lab` in namespaces.
fn plan_for(lab: &Lab, observed: &Observed) -> Plan {
    plan_with(Wiring::Cables, lab, observed)
}

fn plan_with(wiring: Wiring, lab: &Lab, observed: &Observed) -> Plan {
    let node_states = node_states(lab);
    plan(
        Some(Desired {
            lab,
            node_states: &node_states,
            wiring,
        }),
        observed,
    )
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}
