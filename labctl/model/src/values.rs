//! Cilium's Helm values, under their own names, so that notes and values files
//! carry over. Only values that labctl obeys exist here; any other name is an
//! error with a suggestion.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `values:` of a lab file, of a check's `set:` and of a twin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Values {
    /// How pod addresses are given out.
    pub ipam: Ipam,
    /// How packets travel between nodes.
    pub routing_mode: RoutingMode,
    /// Whether each node gets a route to every other node's podCIDR.
    pub auto_direct_node_routes: bool,
    /// Destinations that pods reach without masquerading.
    #[serde(rename = "ipv4NativeRoutingCIDR", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ipv4_native_routing_cidr: Option<Ipv4Net>,
    /// Whether services are handled in eBPF.
    pub kube_proxy_replacement: bool,
    /// Whether pods are masqueraded at all.
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

/// `ipam`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ipam {
    /// Who gives out podCIDRs.
    pub mode: IpamMode,
}

/// `ipam.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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
}

/// `bpf`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bpf {
    /// Whether masquerading is done in eBPF.
    pub masquerade: bool,
    /// Let the kernel's stack forward packets of pods.
    pub host_legacy_routing: bool,
    /// Entries in the NAT map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_max: Option<u32>,
    /// Entries in the TCP conntrack map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ct_tcp_max: Option<u32>,
    /// Entries in the conntrack map of other protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[schemars(with = "Vec<String>")]
    pub non_masquerade_cidrs: Vec<Ipv4Net>,
    /// Whether 169.254.0.0/16 is masqueraded.
    pub masq_link_local: bool,
}

/// `nodePort`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodePort {
    /// `first,last`.
    pub range: String,
}

impl Default for NodePort {
    fn default() -> Self {
        Self { range: "30000,32767".to_owned() }
    }
}
