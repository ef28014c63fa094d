//! `NodeState`: everything one node is to be, in one document.
//!
//! lab-cluster computes it from API objects, the node agent makes the kernel
//! match it, and nothing else configures a node. It travels as JSON over the
//! agent's Unix socket, so its shape is versioned.

mod datapath;
mod services;
mod workload;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use datapath::{
    Aggregation, DatapathSettings, FlowSettings, IpMasqAgent, Masquerade, Routing, ServiceHandling,
    TunnelProtocol,
};
pub use services::{
    Announcement, Backend, Endpoint, LocalRedirect, Protocol, RedirectFrontend, Service,
    ServicePort, ServiceType, TrafficPolicy,
};
pub use workload::{NodeCache, Workload};

/// Shape of the document; an agent refuses another one.
pub const NODE_STATE_VERSION: u32 = 4;

/// What one node of the cluster is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// [`NODE_STATE_VERSION`] of the writer.
    pub version: u32,
    /// Name of the lab, for messages and status.
    pub lab: String,
    /// This node.
    pub node: NodeIdentity,
    /// The other nodes of the cluster.
    pub peers: Vec<Peer>,
    /// Pods that run here, by `namespace/name`.
    pub pods: Vec<Pod>,
    /// Pods that run here on the node's own network, by `namespace/name`.
    pub host_pods: Vec<HostPod>,
    /// Pods that run on the other nodes, by `namespace/name`.
    pub remote_pods: Vec<RemotePod>,
    /// Labels behind every identity of the cluster's pods, by number.
    pub identities: Vec<Identity>,
    /// Services of the cluster, by `namespace/name`.
    pub services: Vec<Service>,
    /// Local redirect policies, by `namespace/name`, resolved for this node.
    pub redirects: Vec<LocalRedirect>,
    /// LoadBalancer addresses that nodes announce to their segment, by address.
    pub announcements: Vec<Announcement>,
    /// How pods resolve names.
    pub dns: PodDns,
    /// What the datapath does.
    pub datapath: DatapathSettings,
}

/// A node's own names and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    /// Kubernetes node name, which is also the host name.
    pub name: String,
    /// `InternalIP`, on `eth1`.
    pub address: Ipv4Addr,
    /// Range that the node's pods get their addresses from.
    pub pod_cidr: Ipv4Net,
    /// Address of `cilium_host`, the pods' gateway; out of `pod_cidr`.
    pub cilium_host: Ipv4Addr,
    /// Whether this node carries the control plane.
    pub control_plane: bool,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Node name.
    pub name: String,
    /// `InternalIP`: next hop of the direct node route.
    pub address: Ipv4Addr,
    /// Destination of the direct node route.
    pub pod_cidr: Ipv4Net,
    /// The peer's `cilium_host`.
    pub cilium_host: Ipv4Addr,
}

/// A pod that runs on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// `spec.hostname`; the pod's name unless given.
    pub hostname: Option<String>,
    /// `spec.subdomain`: the label before the namespace's in the pod's full name.
    pub subdomain: Option<String>,
    /// Address of the pod's `eth0`, out of the node's `pod_cidr`.
    pub address: Ipv4Addr,
    /// Node-side interface: `lxc` and twelve hex digits.
    pub interface: String,
    /// Endpoint id as `cilium-dbg endpoint list` shows it; 1 to 65535, unique on the node.
    pub endpoint_id: u16,
    /// Security identity: one number per label set, 256 and up.
    pub identity: u32,
    /// Labels as `source:key=value`, as Cilium prints them.
    pub labels: Vec<String>,
    /// Where it looks names up.
    pub dns_policy: DnsPolicy,
    /// What runs in the pod.
    pub workload: Workload,
    /// The Corefile of those that read one. Kept apart from the workload, since a
    /// new one is no reason to start anything again.
    pub corefile: Option<String>,
}

/// A pod on its node's own network (`hostNetwork`): it has the node's addresses, and
/// is no endpoint of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// What runs in it.
    pub workload: Workload,
    /// As [`Pod::corefile`].
    pub corefile: Option<String>,
}

impl HostPod {
    /// `namespace/name`, unique in the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `dnsPolicy` of a pod with a network of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// At the cluster's service: [`NodeState::dns`].
    #[default]
    ClusterFirst,
    /// Where its node does.
    Default,
}

impl Pod {
    /// `namespace/name`, unique in the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What it calls itself.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.hostname.as_deref().unwrap_or(&self.name)
    }
}

/// A pod that runs on another node: whose address it is, and behind which node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemotePod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Name of the node: one of [`NodeState::peers`].
    pub node: String,
    /// Address of the pod's `eth0`.
    pub address: Ipv4Addr,
    /// Security identity.
    pub identity: u32,
}

/// A security identity and the labels that make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The number, 256 and up.
    pub id: u32,
    /// Labels as `source:key=value`, sorted.
    pub labels: Vec<String>,
}

/// What a pod's `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodDns {
    /// Server address.
    pub nameserver: Ipv4Addr,
    /// The cluster's search domains, behind the `NAMESPACE.svc.` one.
    pub search: Vec<String>,
    /// The nodes' own, which pods have behind the cluster's.
    pub node_search: Vec<String>,
    /// `options ndots:`.
    pub ndots: u8,
}

/// NodeState of every cluster node, by node name.
pub type NodeStates = BTreeMap<String, NodeState>;
