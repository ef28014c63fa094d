//! A validated lab: every name legal, every reference resolved, no address twice.
//!
//! Made from [`crate::lab_file::LabFile`] by [`crate::lab_file::parse`]; never
//! deserialized itself, so a `Lab` in hand is a lab without faults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Values;

/// A lab as the rest of labctl sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lab {
    /// The lab's name: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 32 bytes.
    pub name: String,
    /// The L2 segment that every node but the world has `eth1` on.
    pub network: Ipv4Net,
    /// Where the lab is made, unless the command line says otherwise.
    pub provider: ProviderKind,
    /// Nodes in the order of the file, which is also the order of podCIDRs.
    pub nodes: Vec<Node>,
    /// Static routes with `on` resolved to node names and `via` to an address.
    pub routes: Vec<StaticRoute>,
    /// Cilium's Helm values, defaults filled in.
    pub values: Values,
    /// Cluster DNS, where the lab has it.
    pub dns: Option<Dns>,
    /// Manifest files, relative paths resolved against the lab file's folder.
    pub manifests: Vec<PathBuf>,
    /// Check files, resolved likewise.
    pub checks: Vec<PathBuf>,
}

impl Lab {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Control plane and workers, in the order of the file.
    pub fn cluster_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role.runs_pods())
    }

    /// Static routes that belong on `node`.
    pub fn routes_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a StaticRoute> {
        self.routes
            .iter()
            .filter(move |route| route.on.iter().any(|on| on == node))
    }
}

/// One machine of the lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Host name: a DNS label, also legal in paths.
    pub name: String,
    /// What the node does.
    pub role: Role,
    /// Address of `eth1`; the world has none.
    pub address: Option<Ipv4Addr>,
    /// Dummy interfaces with their address and prefix length, by name.
    pub dummies: BTreeMap<String, Ipv4Net>,
    /// TCP port on which the node serves HTTP.
    pub serve_http: Option<u16>,
    /// What the world answers DNS from.
    pub zone: Option<ZoneFile>,
    /// What the node is as a machine; namespaces take no notice of it.
    pub machine: MachineSpec,
}

/// A zone file of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneFile {
    /// Its path, resolved like those of manifests.
    pub path: PathBuf,
    /// What is in it. Whoever reads files fills it in; a parsed lab has it empty.
    pub text: String,
}

/// Cluster DNS: CoreDNS behind the service `kube-dns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Search domains of the nodes, which pods have behind the cluster's.
    pub search: Vec<String>,
    /// A cache on every node.
    pub node_local: Option<NodeLocalDns>,
}

/// NodeLocal DNSCache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLocalDns {
    /// Address that the cache has on every node.
    pub address: Ipv4Addr,
    /// How what pods send to the cluster's DNS service gets to the cache.
    pub via: NodeLocalVia,
}

/// How queries get to the cache of their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeLocalVia {
    /// A `CiliumLocalRedirectPolicy` leads them to a pod of the node.
    Redirect,
    /// A dummy interface of the node has the cache's address and the service's, with
    /// iptables rules that keep conntrack away.
    Interface,
}

/// A node as a machine: what virtual machines are made with, or which host it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// RAM of a virtual machine, MiB.
    pub memory_mib: u32,
    /// Processors of a virtual machine.
    pub cpus: u32,
    /// Login on the host that it is, as in `ssh`: `user@192.0.2.10`.
    pub host: Option<String>,
}

impl Default for MachineSpec {
    /// Enough for the datapath's maps at their default sizes, which are
    /// preallocated, and a few pods.
    fn default() -> Self {
        Self {
            memory_mib: 512,
            cpus: 1,
            host: None,
        }
    }
}

/// Where labs can be made.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Namespaces of this host's kernel.
    #[default]
    Netns,
    /// Virtual machines on QEMU.
    Qemu,
    /// Virtual machines that Vagrant makes.
    Vagrant,
    /// Hosts that are there already.
    Ssh,
}

impl ProviderKind {
    /// Every provider, in the order used in messages.
    pub const ALL: [Self; 4] = [Self::Netns, Self::Qemu, Self::Vagrant, Self::Ssh];

    /// The word used in lab files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Qemu => "qemu",
            Self::Vagrant => "vagrant",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node does in the lab.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs pods, and the cluster's control plane.
    ControlPlane,
    /// Runs pods.
    Worker,
    /// Forwards packets; not part of the cluster.
    Router,
    /// The outside: gateway 10.0.2.2, DNS 10.0.2.3.
    World,
}

impl Role {
    /// Every role, in the order used in messages.
    pub const ALL: [Self; 4] = [Self::ControlPlane, Self::Worker, Self::Router, Self::World];

    /// The word used in lab files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
            Self::Router => "router",
            Self::World => "world",
        }
    }

    /// Whether the node is part of the cluster and runs a node agent.
    #[must_use]
    pub const fn runs_pods(self) -> bool {
        matches!(self, Self::ControlPlane | Self::Worker)
    }

    /// Whether the node forwards packets between its interfaces.
    #[must_use]
    pub const fn forwards(self) -> bool {
        !matches!(self, Self::World)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A static route on some nodes, through another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Destination.
    pub to: Ipv4Net,
    /// Name of the node it leads through.
    pub via: String,
    /// That node's address on the lab network.
    pub gateway: Ipv4Addr,
    /// Names of the nodes that carry the route.
    pub on: Vec<String>,
}
