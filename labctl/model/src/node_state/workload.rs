//! What runs in a pod.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

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
    /// `coredns/coredns`: the cluster's DNS server.
    Coredns,
    /// `dns/k8s-dns-node-cache`: a node's DNS cache.
    NodeCache(NodeCache),
}

impl Workload {
    /// Whether it is a DNS server, which reads a Corefile, and which another takes
    /// over from without a gap.
    #[must_use]
    pub const fn serves_dns(&self) -> bool {
        matches!(self, Self::Coredns | Self::NodeCache(_))
    }
}

/// What `node-cache` was told by its arguments, and by its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCache {
    /// `-localip`: the addresses of the cache.
    pub local_ips: Vec<Ipv4Addr>,
    /// ClusterIP of the service that `-upstreamsvc` names, as the pod's environment has
    /// it; `None` where there is no such service.
    pub upstream: Option<Ipv4Addr>,
    /// `-setupinterface`
    pub setup_interface: bool,
    /// `-interfacename`
    pub interface: String,
    /// `-setupiptables`
    pub setup_iptables: bool,
    /// `-skipteardown`: leave interface and rules there in the end.
    pub skip_teardown: bool,
    /// `-health-port`, which the rules let through.
    pub health_port: u16,
    /// `-syncinterval`, in seconds: how often interface and rules are looked at.
    pub sync_interval: u32,
}

/// The defaults of node-cache's flags.
impl Default for NodeCache {
    fn default() -> Self {
        Self {
            local_ips: Vec::new(),
            upstream: None,
            setup_interface: true,
            interface: "nodelocaldns".to_owned(),
            setup_iptables: true,
            skip_teardown: false,
            health_port: 8080,
            sync_interval: 60,
        }
    }
}
