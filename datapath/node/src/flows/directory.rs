//! Who is behind an address, an interface or a cgroup, out of the node's document.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use lab_datapath_common::endpoint::identity;
use lab_model::node_state::{NodeState, Protocol};

use super::flow::{Endpoint, ServiceName};

/// The cluster's name that Cilium gives when none is set.
const CLUSTER: &str = "default";

/// What the parser looks up. Made anew with every document.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// This node.
    pub(crate) node: String,
    endpoints: HashMap<Ipv4Addr, Endpoint>,
    identities: HashMap<u32, Vec<String>>,
    services: HashMap<(Ipv4Addr, u16, &'static str), ServiceName>,
    interfaces: HashMap<u32, String>,
    cgroups: HashMap<u64, Ipv4Addr>,
}

impl Directory {
    /// For a document; `own` are further addresses of the node, `interfaces` its
    /// interfaces by index, `cgroups` the pods' addresses by the id of their cgroup.
    pub(crate) fn new(
        state: &NodeState,
        own: impl IntoIterator<Item = Ipv4Addr>,
        interfaces: HashMap<u32, String>,
        cgroups: HashMap<u64, Ipv4Addr>,
    ) -> Self {
        let identities: HashMap<_, _> = state
            .identities
            .iter()
            .map(|identity| (identity.id, identity.labels.clone()))
            .collect();
        Self {
            node: state.node.name.clone(),
            endpoints: endpoints(state, own, &identities),
            identities,
            services: services(state),
            interfaces,
            cgroups,
        }
    }

    /// Whoever has the address. `said` is the identity that the datapath saw, and
    /// decides where it is not 0.
    pub(super) fn endpoint(&self, address: Ipv4Addr, said: u32) -> Endpoint {
        let known = self.endpoints.get(&address);
        match known {
            Some(known) if said == 0 || known.identity == said => known.clone(),
            _ => {
                let identity = if said == 0 { identity::WORLD } else { said };
                Endpoint {
                    identity,
                    labels: self.labels(identity),
                    ..known.cloned().unwrap_or_default()
                }
            }
        }
    }

    fn labels(&self, id: u32) -> Vec<String> {
        match self.identities.get(&id) {
            Some(labels) => labels.clone(),
            None => reserved(id),
        }
    }

    /// The service of that address and port.
    pub(super) fn service(
        &self,
        address: Ipv4Addr,
        port: u16,
        protocol: &'static str,
    ) -> Option<ServiceName> {
        self.services.get(&(address, port, protocol)).cloned()
    }

    /// The interface's name.
    pub(super) fn interface(&self, index: u32) -> Option<String> {
        self.interfaces.get(&index).cloned()
    }

    /// The address of the pod whose processes are in that cgroup.
    pub(super) fn pod_of_cgroup(&self, id: u64) -> Option<Ipv4Addr> {
        self.cgroups.get(&id).copied()
    }
}

fn endpoints(
    state: &NodeState,
    own: impl IntoIterator<Item = Ipv4Addr>,
    identities: &HashMap<u32, Vec<String>>,
) -> HashMap<Ipv4Addr, Endpoint> {
    let with = |id: u32| Endpoint {
        identity: id,
        labels: identities.get(&id).cloned().unwrap_or_else(|| reserved(id)),
        ..Endpoint::default()
    };
    let mut endpoints = HashMap::new();
    for peer in &state.peers {
        for address in [peer.address, peer.cilium_host] {
            endpoints.insert(address, with(identity::REMOTE_NODE));
        }
    }
    let node = [state.node.address, state.node.cilium_host];
    for address in node.into_iter().chain(own) {
        endpoints.insert(address, with(identity::HOST));
    }
    for pod in &state.remote_pods {
        let endpoint = Endpoint {
            cluster_name: CLUSTER.to_owned(),
            namespace: pod.namespace.clone(),
            pod_name: pod.name.clone(),
            ..with(pod.identity)
        };
        endpoints.insert(pod.address, endpoint);
    }
    for pod in &state.pods {
        let endpoint = Endpoint {
            id: pod.endpoint_id,
            cluster_name: CLUSTER.to_owned(),
            namespace: pod.namespace.clone(),
            pod_name: pod.name.clone(),
            identity: pod.identity,
            labels: pod.labels.clone(),
        };
        endpoints.insert(pod.address, endpoint);
    }
    endpoints
}

fn services(state: &NodeState) -> HashMap<(Ipv4Addr, u16, &'static str), ServiceName> {
    let mut services = HashMap::new();
    for service in &state.services {
        let addresses = service
            .cluster_ip
            .iter()
            .chain(&service.load_balancer_ips)
            .chain(&service.external_ips);
        for address in addresses {
            for port in &service.ports {
                let protocol = match port.protocol {
                    Protocol::Tcp => "TCP",
                    Protocol::Udp => "UDP",
                };
                let name = ServiceName {
                    name: service.name.clone(),
                    namespace: service.namespace.clone(),
                };
                services.insert((*address, port.port, protocol), name);
            }
        }
    }
    services
}

/// Labels of a reserved identity (`pkg/identity/numericidentity.go`).
fn reserved(id: u32) -> Vec<String> {
    let name = reserved_name(id);
    name.map(|name| format!("reserved:{name}"))
        .into_iter()
        .collect()
}

/// Name of a reserved identity.
pub(crate) fn reserved_name(id: u32) -> Option<&'static str> {
    Some(match id {
        0 => "unknown",
        1 => "host",
        2 => "world",
        3 => "unmanaged",
        4 => "health",
        5 => "init",
        6 => "remote-node",
        7 => "kube-apiserver",
        8 => "ingress",
        9 => "world-ipv4",
        10 => "world-ipv6",
        11 => "encrypted-overlay",
        _ => return None,
    })
}
