//! Cilium's Helm values to what the datapath of one node does.

use ipnet::Ipv4Net;
use lab_model::lab::{Lab, Role};
use lab_model::node_state::{
    Aggregation, DatapathSettings, FlowSettings, IpMasqAgent, Masquerade, Routing, ServiceHandling,
    TunnelProtocol,
};
use lab_model::values::{self, IpMasqAgentConfig, MonitorAggregation, RoutingMode, Values};
use serde::Serialize;

/// Entries of the NAT map and of each conntrack map unless `bpf.natMax`,
/// `bpf.ctTcpMax` or `bpf.ctAnyMax` say otherwise.
///
/// Cilium sizes these maps by the machine's memory and never below 131072
/// (`LimitTableAutoGlobalTCPMin`). LRU maps allocate all entries when they are
/// made, about 100 bytes each, and here every node of a lab has its own on one
/// kernel; hence half of that. A masqueraded flow takes two NAT entries.
pub const DEFAULT_MAP_ENTRIES: u32 = 65_536;

/// What the datapath does on the node with this podCIDR.
pub(crate) fn datapath_settings(lab: &Lab, pod_cidr: Ipv4Net) -> DatapathSettings {
    let values = &lab.values;
    let explicit = values.ipv4_native_routing_cidr;
    let or_default = |max: Option<u32>| max.unwrap_or(DEFAULT_MAP_ENTRIES);
    DatapathSettings {
        devices: devices(lab),
        masquerade: masquerade(values),
        // With the agent, its CIDRs decide, so that only an explicit
        // native-routing CIDR still excludes; without it, the node's own range
        // stands in (Cilium's `RemoteSNATDstAddrExclusionCIDRv4`).
        snat_exclusion: if values.ip_masq_agent.enabled {
            explicit
        } else {
            Some(explicit.unwrap_or(pod_cidr))
        },
        native_routing_cidr: Some(explicit.unwrap_or(pod_cidr)),
        ip_masq_agent: ip_masq_agent(values),
        snat_ports: values.snat_ports(),
        node_ports: (
            values.node_port.range.first(),
            values.node_port.range.last(),
        ),
        fragment_tracking: values.fragment_tracking,
        routing: routing(values),
        mtu: (values.mtu != 0).then_some(values.mtu),
        services: if values.kube_proxy_replacement {
            ServiceHandling::Ebpf
        } else {
            ServiceHandling::KubeProxy
        },
        flows: flows(values),
        host_legacy_routing: values.bpf.host_legacy_routing,
        nat_max: or_default(values.bpf.nat_max),
        ct_tcp_max: or_default(values.bpf.ct_tcp_max),
        ct_any_max: or_default(values.bpf.ct_any_max),
    }
}

fn masquerade(values: &Values) -> Masquerade {
    if !values.enable_ipv4_masquerade {
        return Masquerade::Off;
    }
    if values.bpf.masquerade {
        return Masquerade::Ebpf;
    }
    let interfaces = values
        .egress_masquerade_interfaces
        .split([',', ' '])
        .filter(|name| !name.is_empty());
    Masquerade::Iptables {
        interfaces: interfaces.map(str::to_owned).collect(),
        route_source: values.enable_masquerade_route_source,
    }
}

/// Cilium's `TunnelPortVXLAN` and `TunnelPortGeneve` are the ports of Linux and of
/// IANA.
fn routing(values: &Values) -> Routing {
    if values.routing_mode == RoutingMode::Native {
        return Routing::Native {
            auto_direct_node_routes: values.direct_node_routes(),
        };
    }
    let (protocol, own) = match values.tunnel_protocol {
        values::TunnelProtocol::Vxlan => (TunnelProtocol::Vxlan, 8472),
        values::TunnelProtocol::Geneve => (TunnelProtocol::Geneve, 6081),
    };
    let port = match values.tunnel_port {
        0 => own,
        port => port,
    };
    Routing::Tunnel { protocol, port }
}

const fn flows(values: &Values) -> FlowSettings {
    FlowSettings {
        enabled: values.hubble.enabled,
        capacity: values.hubble.event_buffer_capacity,
        aggregation: match values.bpf.monitor_aggregation {
            MonitorAggregation::None => Aggregation::None,
            MonitorAggregation::Low => Aggregation::Low,
            MonitorAggregation::Medium => Aggregation::Medium,
            MonitorAggregation::Maximum => Aggregation::Maximum,
        },
        interval: values.bpf.monitor_interval.seconds(),
    }
}

/// The managed devices: those named, else every interface that nodes have, as
/// Cilium finds them: `eth0` where the lab has an outside, and `eth1`.
pub(crate) fn devices(lab: &Lab) -> Vec<String> {
    if !lab.values.devices.is_empty() {
        return lab.values.devices.clone();
    }
    let has_outside = lab.nodes.iter().any(|node| node.role == Role::World);
    let devices: &[&str] = if has_outside {
        &["eth0", "eth1"]
    } else {
        &["eth1"]
    };
    devices.iter().map(|&device| device.to_owned()).collect()
}

fn ip_masq_agent(values: &Values) -> Option<IpMasqAgent> {
    let agent = &values.ip_masq_agent;
    agent.enabled.then(|| IpMasqAgent {
        config: agent.config.as_ref().map(config_map_text),
    })
}

/// The text that Cilium's Helm chart puts into the `ip-masq-agent` ConfigMap:
/// the given values as compact JSON.
fn config_map_text(config: &IpMasqAgentConfig) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Text<'a> {
        #[serde(rename = "nonMasqueradeCIDRs")]
        non_masquerade_cidrs: &'a [Ipv4Net],
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        masq_link_local: bool,
    }
    let text = Text {
        non_masquerade_cidrs: &config.non_masquerade_cidrs,
        masq_link_local: config.masq_link_local,
    };
    serde_json::to_string(&text).expect("strings and booleans are always JSON")
}
