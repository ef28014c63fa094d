//! Rules word for word, and what is written to get to them.

mod as_root;
mod cilium;
mod kube_proxy;
mod restore;

use lab_model::node_state::{
    Backend, DatapathSettings, Masquerade, NODE_STATE_VERSION, NodeIdentity, NodeState, Peer,
    PodDns, Protocol, Service, ServicePort, ServiceType, TrafficPolicy,
};

use super::ruleset::{Ruleset, Table};

/// `k8s-ctr` of the study lab, with `k8s-w1` as its peer.
fn node(datapath: DatapathSettings, services: Vec<Service>) -> NodeState {
    NodeState {
        version: NODE_STATE_VERSION,
        lab: "study".to_owned(),
        node: NodeIdentity {
            name: "k8s-ctr".to_owned(),
            address: [192, 168, 10, 100].into(),
            pod_cidr: "10.244.0.0/24".parse().unwrap(),
            cilium_host: [10, 244, 0, 200].into(),
            control_plane: true,
        },
        peers: vec![Peer {
            name: "k8s-w1".to_owned(),
            address: [192, 168, 10, 101].into(),
            pod_cidr: "10.244.1.0/24".parse().unwrap(),
            cilium_host: [10, 244, 1, 200].into(),
        }],
        pods: Vec::new(),
        host_pods: Vec::new(),
        remote_pods: Vec::new(),
        identities: Vec::new(),
        services,
        redirects: Vec::new(),
        announcements: Vec::new(),
        dns: PodDns {
            nameserver: [10, 96, 0, 10].into(),
            search: Vec::new(),
            node_search: vec![],
            ndots: 5,
        },
        datapath,
    }
}

fn backend(node: &str, address: [u8; 4], port: u16) -> Backend {
    Backend {
        pod: format!("default/on-{node}"),
        node: node.to_owned(),
        address: address.into(),
        port,
    }
}

fn port(name: Option<&str>, protocol: Protocol, port: u16, backends: Vec<Backend>) -> ServicePort {
    ServicePort {
        name: name.map(str::to_owned),
        protocol,
        port,
        node_port: None,
        backends,
    }
}

fn service(namespace: &str, name: &str, ip: [u8; 4], ports: Vec<ServicePort>) -> Service {
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        external_name: None,
        service_type: ServiceType::default(),
        cluster_ip: Some(ip.into()),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        denies_source_ranges: false,
        external_ips: Vec::new(),
        ports,
        endpoints: vec![],
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        session_affinity: None,
    }
}

/// The study lab's `webpod`, with a pod here and one on `k8s-w1`.
fn webpod() -> Service {
    let backends = vec![
        backend("k8s-ctr", [10, 244, 0, 1], 80),
        backend("k8s-w1", [10, 244, 1, 96], 80),
    ];
    service(
        "default",
        "webpod",
        [10, 96, 152, 212],
        vec![port(None, Protocol::Tcp, 80, backends)],
    )
}

#[track_caller]
fn assert_rules(ruleset: &Ruleset, chain: &str, expected: &[&str]) {
    assert_eq!(ruleset.of(Table::Nat, chain), expected, "chain {chain}");
}

fn by_iptables(interfaces: &[&str], route_source: bool) -> Masquerade {
    Masquerade::Iptables {
        interfaces: interfaces.iter().map(|&it| it.to_owned()).collect(),
        route_source,
    }
}
