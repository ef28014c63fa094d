//! Services, local redirects and announcements, as a node is told of them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// A Kubernetes service, with its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Service name.
    pub name: String,
    /// `externalName` of a service that is another name's alias: the rest is empty.
    pub external_name: Option<String>,
    /// `type`
    #[serde(rename = "type")]
    pub service_type: ServiceType,
    /// ClusterIP; `None` for a headless service, which no datapath translates.
    pub cluster_ip: Option<Ipv4Addr>,
    /// Addresses that LB-IPAM gave it (`type: LoadBalancer`).
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// `loadBalancerSourceRanges`: clients from outside that those addresses are there
    /// for; everyone, when there are none.
    pub source_ranges: Vec<Ipv4Net>,
    /// `service.cilium.io/src-ranges-policy: deny`: they are not there for those.
    /// kube-proxy knows no such annotation.
    pub denies_source_ranges: bool,
    /// `spec.externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
    /// Its ports, in the manifest's order.
    pub ports: Vec<ServicePort>,
    /// Ready pods behind it, by address, whether or not they have its ports: those that names
    /// stand for.
    pub endpoints: Vec<Endpoint>,
    /// `externalTrafficPolicy`, for NodePort and LoadBalancer addresses.
    pub external_traffic_policy: TrafficPolicy,
    /// `internalTrafficPolicy`, for the ClusterIP.
    pub internal_traffic_policy: TrafficPolicy,
    /// `sessionAffinity: ClientIP`, and for how many seconds.
    pub session_affinity: Option<u32>,
}

impl Service {
    /// `namespace/name`, unique in the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `type` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// An address that is known in the cluster only.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// That, and a port of every node.
    NodePort,
    /// That, and addresses from a pool.
    LoadBalancer,
    /// Another name for a host: neither address nor pods.
    ExternalName,
}

impl ServiceType {
    /// The word used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalName => "ExternalName",
        }
    }

    /// Whether it is to be reached from outside the cluster.
    #[must_use]
    pub const fn is_external(self) -> bool {
        matches!(self, Self::NodePort | Self::LoadBalancer)
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePort {
    /// `name`, which a service with one port may leave out.
    pub name: Option<String>,
    /// `protocol`
    pub protocol: Protocol,
    /// `port`
    pub port: u16,
    /// `nodePort`, of NodePort and LoadBalancer services.
    pub node_port: Option<u16>,
    /// Ready pods behind it, by address; on whichever node.
    pub backends: Vec<Backend>,
}

/// A pod behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The pod's `hostname`, where its `subdomain` is the service: its name below the service's.
    pub hostname: Option<String>,
}

/// Transport protocol of a service's port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A pod behind a port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Name of the node it runs on.
    pub node: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The port behind `targetPort`.
    pub port: u16,
}

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Backends on every node.
    #[default]
    Cluster,
    /// Backends on the node that the packet comes to.
    Local,
}

/// A `CiliumLocalRedirectPolicy`, resolved for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRedirect {
    /// Kubernetes namespace, the policy's and its backends'.
    pub namespace: String,
    /// Policy name.
    pub name: String,
    /// `skipRedirectFromBackend`: what the backends themselves send to a frontend
    /// goes where it would have gone without the policy.
    pub skip_redirect_from_backend: bool,
    /// What is redirected.
    pub frontends: Vec<RedirectFrontend>,
}

impl LocalRedirect {
    /// `namespace/name`, unique in the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// An address whose traffic stays on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectFrontend {
    /// `namespace/name` of the service whose ClusterIP it is (`serviceMatcher`);
    /// `None` with an `addressMatcher`.
    pub service: Option<String>,
    /// The address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Ready pods of this node that take the traffic, by address. Without any, traffic
    /// goes where it would have gone without the policy.
    pub backends: Vec<Backend>,
}

/// A LoadBalancer address that one node answers ARP requests for
/// (`CiliumL2AnnouncementPolicy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The address.
    pub address: Ipv4Addr,
    /// `namespace/name` of the service.
    pub service: String,
    /// Interfaces that it is announced on.
    pub interfaces: Vec<String>,
    /// Nodes that may announce it, in the order in which they do: the first whose
    /// agent is alive.
    pub candidates: Vec<String>,
}
