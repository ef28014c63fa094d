//! Cilium's Helm values, under their own names, so that notes and values files
//! carry over. Only values that labctl obeys exist here. Any other name is an
//! error: with a suggestion, or, where Cilium has it, saying that labctl does not
//! have it yet (`x-not-yet`, see [`crate::document`]).

mod overlay;
mod port_range;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use overlay::{ValuesError, ValuesPatch};
pub use port_range::{PortRange, PortRangeError};

use crate::document::format;

/// The `values:` of a lab file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = [
    "MTU", "agent", "annotateK8sNode", "authentication", "azure", "bandwidthManager", "bgp",
    "bgpControlPlane", "ciliumEndpointSlice", "cleanBpfState", "cleanState", "cluster",
    "clustermesh", "cni", "conntrackGCInterval", "containerRuntime", "debug",
    "directRoutingSkipUnreachable", "dnsPolicy", "dnsProxy", "egressGateway",
    "enableCiliumEndpointSlice", "enableIPv4BIGTCP", "enableIPv6BIGTCP", "enableIPv6Masquerade",
    "enableLBIPAM", "enableMasqueradeRouteSource", "encryption", "endpointHealthChecking",
    "endpointRoutes", "eni", "envoy", "externalIPs", "gatewayAPI", "healthChecking",
    "healthPort", "hostFirewall", "hostPort", "hubble", "identityAllocationMode",
    "ingressController", "installNoConntrackIptablesRules", "ipv4", "ipv6",
    "ipv6NativeRoutingCIDR", "k8s", "k8sServiceHost", "k8sServicePort", "l2announcements",
    "l2podAnnouncements", "l7Proxy", "loadBalancer", "localRedirectPolicies",
    "localRedirectPolicy", "maglev", "monitor", "nodeIPAM", "nodeinit", "operator",
    "pmtuDiscovery", "policyEnforcementMode", "prometheus", "proxy", "sctp", "socketLB",
    "tunnelPort", "tunnelProtocol", "tunnelSourcePortRange", "underlayProtocol", "vtep",
]))]
pub struct Values {
    /// How pod addresses are given out.
    pub ipam: Ipam,
    /// How packets travel between nodes.
    pub routing_mode: RoutingMode,
    /// Whether each node gets a route to every other node's podCIDR.
    pub auto_direct_node_routes: bool,
    /// Destinations that pods reach without masquerading.
    #[serde(
        rename = "ipv4NativeRoutingCIDR",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "format::optional_ipv4_prefix")]
    pub ipv4_native_routing_cidr: Option<Ipv4Net>,
    /// Whether services are handled in eBPF.
    pub kube_proxy_replacement: bool,
    /// Whether pods are masqueraded at all. labctl masquerades in eBPF only, so
    /// that `bpf.masquerade` must be true as well.
    #[serde(rename = "enableIPv4Masquerade")]
    pub enable_ipv4_masquerade: bool,
    /// eBPF settings.
    pub bpf: Bpf,
    /// The ip-masq-agent.
    pub ip_masq_agent: IpMasqAgentValues,
    /// NodePort settings; the range's end bounds the masquerade's ports.
    pub node_port: NodePort,
    /// Managed devices; every `eth` interface when empty.
    pub devices: Vec<String>,
    /// Whether fragments are tracked.
    pub fragment_tracking: bool,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            ipam: Ipam::default(),
            routing_mode: RoutingMode::Native,
            auto_direct_node_routes: true,
            ipv4_native_routing_cidr: None,
            kube_proxy_replacement: true,
            enable_ipv4_masquerade: true,
            bpf: Bpf::default(),
            ip_masq_agent: IpMasqAgentValues::default(),
            node_port: NodePort::default(),
            devices: Vec::new(),
            fragment_tracking: true,
        }
    }
}

impl Values {
    /// First and last source port given to masqueraded flows: those above the
    /// NodePort range, as Cilium's `NODEPORT_PORT_MIN_NAT` and `…_MAX_NAT`.
    #[must_use]
    pub const fn snat_ports(&self) -> (u16, u16) {
        (self.node_port.range.last() + 1, u16::MAX)
    }
}

/// `ipam`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = ["ciliumNodeUpdateRate", "installUplinkRoutesForDelegatedIPAM",
    "multiPoolPreAllocation", "operator"]))]
pub struct Ipam {
    /// Who gives out podCIDRs.
    pub mode: IpamMode,
}

/// `ipam.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-not-yet" = ["alibabacloud", "azure", "cluster-pool", "crd",
    "delegated-plugin", "eni", "multi-pool"]))]
pub enum IpamMode {
    /// The cluster: a /24 of 10.244.0.0/16 for each node.
    #[default]
    Kubernetes,
}

/// `routingMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-not-yet" = ["tunnel"]))]
pub enum RoutingMode {
    /// Packets keep their addresses between nodes.
    Native,
}

/// `bpf`.
///
/// The bounds of map sizes are Cilium's `LimitTableMin` and `LimitTableMax`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = [
    "authMapMax", "autoMount", "ctAccounting", "datapathMode", "disableExternalIPMitigation",
    "distributedLRU", "enableTCX", "events", "lbAcceleration", "lbAlgorithmAnnotation",
    "lbExternalClusterIP", "lbMapMax", "lbMode", "lbModeAnnotation", "lbSourceRangeAllTypes",
    "mapDynamicSizeRatio", "monitorAggregation", "monitorFlags", "monitorInterval", "neighMax",
    "nodeMapMax", "policyMapMax", "preallocateMaps", "root", "tproxy", "vlanBypass",
]))]
pub struct Bpf {
    /// Whether masquerading is done in eBPF. Where Cilium then falls back to
    /// iptables, labctl does not masquerade.
    pub masquerade: bool,
    /// Let the kernel's stack forward packets of pods.
    pub host_legacy_routing: bool,
    /// Entries in the NAT map.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub nat_max: Option<u32>,
    /// Entries in the TCP conntrack map.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub ct_tcp_max: Option<u32>,
    /// Entries in the conntrack map of other protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub ct_any_max: Option<u32>,
}

/// `ipMasqAgent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpMasqAgentValues {
    /// Whether the agent runs.
    pub enabled: bool,
    /// Its configuration; the defaults apply when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<IpMasqAgentConfig>,
}

/// `ipMasqAgent.config`, which becomes the `ip-masq-agent` ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpMasqAgentConfig {
    /// Destinations that pods reach without masquerading.
    #[serde(rename = "nonMasqueradeCIDRs")]
    #[schemars(schema_with = "format::ipv4_prefixes")]
    pub non_masquerade_cidrs: Vec<Ipv4Net>,
    /// Whether 169.254.0.0/16 is masqueraded.
    pub masq_link_local: bool,
}

/// `nodePort`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = ["addresses", "autoProtectPortRange", "bindProtection",
    "enableHealthCheck", "enabled"]))]
pub struct NodePort {
    /// Ports of NodePort services, `first,last`; masqueraded flows get those above.
    pub range: PortRange,
}
