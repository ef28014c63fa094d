//! What the datapath of a node does, computed from Cilium's Helm values.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// What the datapath does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatapathSettings {
    /// Managed devices: where pods are masqueraded and NodePorts answered (`devices`).
    pub devices: Vec<String>,
    /// How pods that leave the cluster are masqueraded.
    pub masquerade: Masquerade,
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
    /// First and last port of NodePort services (`nodePort.range`).
    pub node_ports: (u16, u16),
    /// Whether ports of later fragments are remembered from the first.
    pub fragment_tracking: bool,
    /// How packets of pods travel between nodes.
    pub routing: Routing,
    /// `MTU`: that of the devices, which pods share; the agent reads it off the
    /// devices when absent. Under a tunnel, pods get what its headers leave of it.
    pub mtu: Option<u32>,
    /// Who translates the addresses of services.
    pub services: ServiceHandling,
    /// `bpf.hostLegacyRouting`: let the kernel's stack forward, rather than
    /// redirecting between devices.
    pub host_legacy_routing: bool,
    /// What is remembered of the flows that pass.
    pub flows: FlowSettings,
    /// Entries in the NAT map (`bpf.natMax`).
    pub nat_max: u32,
    /// Entries in the TCP conntrack map (`bpf.ctTcpMax`).
    pub ct_tcp_max: u32,
    /// Entries in the conntrack map of the other protocols (`bpf.ctAnyMax`).
    pub ct_any_max: u32,
}

/// How pods that leave the cluster get an address of their node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Masquerade {
    /// They keep theirs (`enableIPv4Masquerade: false`).
    Off,
    /// In eBPF (`bpf.masquerade: true`).
    Ebpf,
    /// By iptables (`bpf.masquerade: false`).
    Iptables {
        /// `egressMasqueradeInterfaces`, as iptables reads it (`eth+`); every interface
        /// but Cilium's own when empty.
        interfaces: Vec<String>,
        /// `enableMasqueradeRouteSource`: SNAT to the source address of the route,
        /// instead of MASQUERADE.
        route_source: bool,
    },
}

/// The ip-masq-agent's configuration file, as text: the agent parses it, so that
/// a file edited by hand and one made from values take the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpMasqAgent {
    /// YAML or JSON; `None` when the file does not exist, and the defaults apply.
    pub config: Option<String>,
}

/// How packets of pods travel between nodes (`routingMode`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Routing {
    /// As they are.
    Native {
        /// `autoDirectNodeRoutes`: a route to every peer's podCIDR.
        auto_direct_node_routes: bool,
    },
    /// Encapsulated, towards the address of the pod's node.
    Tunnel {
        /// `tunnelProtocol`
        protocol: TunnelProtocol,
        /// UDP port of the outer packets: `tunnelPort`, or the protocol's own
        /// (8472 for VXLAN, 6081 for Geneve).
        port: u16,
    },
}

/// `tunnelProtocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelProtocol {
    /// The VNI carries the identity of the source.
    Vxlan,
    /// As VXLAN, with Geneve's header.
    Geneve,
}

impl std::fmt::Display for TunnelProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        })
    }
}

/// `kubeProxyReplacement`: who translates the addresses of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceHandling {
    /// eBPF, at the socket and per packet (`true`).
    Ebpf,
    /// kube-proxy's iptables rules (`false`).
    KubeProxy,
}

/// What is remembered of the flows that pass a node (`hubble`, `bpf.monitor…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSettings {
    /// `hubble.enabled`
    pub enabled: bool,
    /// `hubble.eventBufferCapacity`: flows kept on the node, one less than a power of two.
    pub capacity: u32,
    /// `bpf.monitorAggregation`
    pub aggregation: Aggregation,
    /// `bpf.monitorInterval`: seconds in which an unchanged flow is reported once.
    pub interval: u32,
}

/// `bpf.monitorAggregation`: which packets of a flow are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// Each, at every point it passes.
    None,
    /// Each, where it leaves a program for somewhere else.
    Low,
    /// Those that open a flow, that have a TCP flag not seen before, and one an interval.
    Medium,
    /// As medium.
    Maximum,
}

/// Cilium's defaults, for a node with `eth0` and `eth1` that masquerades in eBPF.
impl Default for DatapathSettings {
    fn default() -> Self {
        const MAP_ENTRIES: u32 = 65_536;
        Self {
            devices: vec!["eth0".to_owned(), "eth1".to_owned()],
            masquerade: Masquerade::Ebpf,
            snat_exclusion: None,
            native_routing_cidr: None,
            ip_masq_agent: None,
            snat_ports: (32_768, 65_535),
            node_ports: (30_000, 32_767),
            fragment_tracking: true,
            routing: Routing::Native {
                auto_direct_node_routes: true,
            },
            mtu: None,
            services: ServiceHandling::Ebpf,
            host_legacy_routing: false,
            flows: FlowSettings::default(),
            nat_max: MAP_ENTRIES,
            ct_tcp_max: MAP_ENTRIES,
            ct_any_max: MAP_ENTRIES,
        }
    }
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            capacity: 4095,
            aggregation: Aggregation::Medium,
            interval: 5,
        }
    }
}
