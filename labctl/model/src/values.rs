//! Cilium's Helm values, under their own names, so that notes and values files
//! carry over. Only values that labctl obeys exist here. Any other name is an
//! error: with a suggestion, or, where Cilium has it, saying that labctl does not
//! have it yet (`x-not-yet`, see [`crate::document`]).

mod conflicts;
mod monitor_interval;
mod overlay;
mod port_range;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use conflicts::Conflict;
pub use monitor_interval::{MonitorInterval, MonitorIntervalError};
pub use overlay::{ValuesError, ValuesPatch};
pub use port_range::{PortRange, PortRangeError};

use crate::document::format;

/// The `values:` of a lab file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = [
    "agent", "annotateK8sNode", "authentication", "azure", "bandwidthManager", "bgp",
    "bgpControlPlane", "ciliumEndpointSlice", "cleanBpfState", "cleanState", "cluster",
    "clustermesh", "cni", "conntrackGCInterval", "containerRuntime", "debug",
    "directRoutingSkipUnreachable", "dnsPolicy", "dnsProxy", "egressGateway",
    "enableCiliumEndpointSlice", "enableIPv4BIGTCP", "enableIPv6BIGTCP", "enableIPv6Masquerade",
    "enableLBIPAM", "encryption", "endpointHealthChecking",
    "endpointRoutes", "eni", "envoy", "externalIPs", "gatewayAPI", "healthChecking",
    "healthPort", "hostFirewall", "hostPort", "identityAllocationMode",
    "ingressController", "installNoConntrackIptablesRules", "ipv4", "ipv6",
    "ipv6NativeRoutingCIDR", "k8s", "k8sServiceHost", "k8sServicePort",
    "l2podAnnouncements", "l7Proxy", "loadBalancer", "maglev", "monitor", "nodeIPAM", "nodeinit", "operator",
    "pmtuDiscovery", "policyEnforcementMode", "prometheus", "proxy", "sctp", "socketLB",
    "tunnelSourcePortRange", "underlayProtocol", "vtep",
]))]
pub struct Values {
    /// How pod addresses are given out.
    pub ipam: Ipam,
    /// How packets travel between nodes.
    pub routing_mode: RoutingMode,
    /// What packets between nodes are put into under `routingMode: tunnel`.
    pub tunnel_protocol: TunnelProtocol,
    /// UDP port of the tunnel; the protocol's own when 0: 8472 for VXLAN, 6081 for Geneve.
    pub tunnel_port: u16,
    /// Whether each node gets a route to every other node's podCIDR; when absent, under
    /// `routingMode: native`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_direct_node_routes: Option<bool>,
    /// MTU of the devices that pods' packets leave by; theirs when 0.
    #[serde(rename = "MTU")]
    #[schemars(range(max = 65_535))]
    pub mtu: u32,
    /// Destinations that pods reach without masquerading.
    #[serde(
        rename = "ipv4NativeRoutingCIDR",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "format::optional_ipv4_prefix")]
    pub ipv4_native_routing_cidr: Option<Ipv4Net>,
    /// Whether services are handled in eBPF; by kube-proxy's iptables rules otherwise.
    pub kube_proxy_replacement: bool,
    /// Whether pods are masqueraded at all: in eBPF with `bpf.masquerade`, by
    /// iptables without.
    #[serde(rename = "enableIPv4Masquerade")]
    pub enable_ipv4_masquerade: bool,
    /// Interfaces that masquerade, as iptables reads them (`eth+`), separated by
    /// commas; every one but Cilium's own when empty. Only without `bpf.masquerade`.
    pub egress_masquerade_interfaces: String,
    /// Whether masquerading takes the source address of the route instead of the
    /// interface's first. Only without `bpf.masquerade`.
    pub enable_masquerade_route_source: bool,
    /// Whether CiliumLocalRedirectPolicies are obeyed: the name until Cilium 1.17.
    pub local_redirect_policy: bool,
    /// CiliumLocalRedirectPolicies.
    pub local_redirect_policies: Enabled,
    /// Announcements of LoadBalancer addresses by ARP.
    pub l2announcements: L2Announcements,
    /// What is remembered of flows.
    pub hubble: Hubble,
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
            tunnel_protocol: TunnelProtocol::Vxlan,
            tunnel_port: 0,
            auto_direct_node_routes: None,
            mtu: 0,
            ipv4_native_routing_cidr: None,
            kube_proxy_replacement: true,
            enable_ipv4_masquerade: true,
            egress_masquerade_interfaces: String::new(),
            enable_masquerade_route_source: false,
            local_redirect_policy: false,
            local_redirect_policies: Enabled::default(),
            l2announcements: L2Announcements::default(),
            hubble: Hubble::default(),
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

    /// Whether each node gets a route to every other node's podCIDR.
    #[must_use]
    pub fn direct_node_routes(&self) -> bool {
        self.routing_mode == RoutingMode::Native && self.auto_direct_node_routes != Some(false)
    }

    /// Whether CiliumLocalRedirectPolicies are obeyed.
    #[must_use]
    pub const fn redirects_locally(&self) -> bool {
        self.local_redirect_policy || self.local_redirect_policies.enabled
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
pub enum RoutingMode {
    /// Packets keep their addresses between nodes.
    Native,
    /// Packets travel between nodes in packets of the nodes.
    Tunnel,
}

/// `tunnelProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelProtocol {
    /// VXLAN
    Vxlan,
    /// Geneve
    Geneve,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Enabled {
    /// Whether it is on.
    pub enabled: bool,
}

/// `l2announcements`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = ["leaseDuration", "leaseRenewDeadline", "leaseRetryPeriod"]))]
pub struct L2Announcements {
    /// Whether CiliumL2AnnouncementPolicies are obeyed.
    pub enabled: bool,
}

/// `hubble`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-not-yet" = ["annotations", "disableEnvoyVersionCheck", "dropEventEmitter",
    "eventQueueSize", "export", "listenAddress", "metrics", "networkPolicyCorrelation", "peerService",
    "preferIpv6", "redact", "relay", "skipUnknownCGroupIDs", "socketPath", "tls", "ui"]))]
pub struct Hubble {
    /// Whether flows are remembered.
    pub enabled: bool,
    /// How many flows a node remembers: one less than a power of two.
    #[schemars(range(min = 1, max = 65_535))]
    pub event_buffer_capacity: u32,
}

impl Default for Hubble {
    fn default() -> Self {
        Self {
            enabled: true,
            event_buffer_capacity: 4095,
        }
    }
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
    "mapDynamicSizeRatio", "monitorFlags", "neighMax",
    "nodeMapMax", "policyMapMax", "preallocateMaps", "root", "tproxy", "vlanBypass",
]))]
pub struct Bpf {
    /// Whether masquerading is done in eBPF; by iptables otherwise.
    pub masquerade: bool,
    /// Which packets of a flow are reported.
    pub monitor_aggregation: MonitorAggregation,
    /// How often an unchanged flow is reported, as Go writes it: `5s`, `1m30s`.
    pub monitor_interval: MonitorInterval,
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

/// `bpf.monitorAggregation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorAggregation {
    /// Each.
    None,
    /// Each, where it leaves a program for somewhere else.
    Low,
    /// Those that open a flow, that have a TCP flag not seen before, and one an interval.
    #[default]
    Medium,
    /// As medium.
    Maximum,
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
