//! `NodeState`: everything one node is to be, in one document.
//!
//! lab-cluster computes it from API objects, the node agent makes the kernel
//! match it, and nothing else configures a node. It travels as JSON over the
//! agent's Unix socket, so its shape is versioned.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Shape of the document; an agent refuses another one.
pub const NODE_STATE_VERSION: u32 = 1;

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
    /// Pod name, which is also its host name.
    pub name: String,
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
    /// What runs in the pod.
    pub workload: Workload,
}

impl Pod {
    /// `namespace/name`, unique in the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A built-in workload, chosen by image name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "app", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// `traefik/whoami`: answers HTTP with who was asked, and by whom.
    Whoami {
        /// TCP port.
        port: u16,
    },
    /// `nicolaka/netshoot`: idle, with the host's tools.
    Netshoot,
    /// `nginx`: its welcome page.
    Nginx {
        /// TCP port.
        port: u16,
    },
}

/// What a pod's `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodDns {
    /// Server address.
    pub nameserver: Ipv4Addr,
    /// Search domains behind the `NAMESPACE.svc.` one.
    pub search: Vec<String>,
    /// `options ndots:`.
    pub ndots: u8,
}

/// What the datapath does, computed from Cilium's Helm values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatapathSettings {
    /// Interfaces at whose egress pods are masqueraded (`devices`).
    pub devices: Vec<String>,
    /// `bpf.masquerade` and `enableIPv4Masquerade`, both.
    pub masquerade: bool,
    /// Destinations that are never masqueraded: `ipv4NativeRoutingCIDR`. With
    /// the ip-masq-agent only when set explicitly; otherwise defaulting to the
    /// node's own podCIDR (reference: Cilium `HeaderfileWriter`).
    pub snat_exclusion: Option<Ipv4Net>,
    /// As `cilium status` prints it, whatever the exclusion is.
    pub native_routing_cidr: Option<Ipv4Net>,
    /// The ip-masq-agent, when enabled.
    pub ip_masq_agent: Option<IpMasqAgent>,
    /// First and last source port given to masqueraded flows. `nodePort.range`
    /// decides the first: one past its end.
    pub snat_ports: (u16, u16),
    /// Whether ports of later fragments are remembered from the first.
    pub fragment_tracking: bool,
    /// `autoDirectNodeRoutes`: a route to every peer's podCIDR.
    pub auto_direct_node_routes: bool,
    /// `bpf.hostLegacyRouting`: let the kernel's stack forward, rather than
    /// redirecting between devices.
    pub host_legacy_routing: bool,
    /// Entries in the NAT map (`bpf.natMax`).
    pub nat_max: u32,
    /// Entries in the TCP conntrack map (`bpf.ctTcpMax`).
    pub ct_tcp_max: u32,
    /// Entries in the conntrack map of the other protocols (`bpf.ctAnyMax`).
    pub ct_any_max: u32,
}

/// The ip-masq-agent's configuration file, as text: the agent parses it, so that
/// a file edited by hand and one made from values take the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpMasqAgent {
    /// YAML or JSON; `None` when the file does not exist, and the defaults apply.
    pub config: Option<String>,
}

/// NodeState of every cluster node, by node name.
pub type NodeStates = BTreeMap<String, NodeState>;
