//! Helm values to datapath settings.

use lab_cluster::{Allocations, DEFAULT_MAP_ENTRIES};
use lab_model::lab::{Lab, Role};
use lab_model::node_state::{
    Aggregation, DatapathSettings, FlowSettings, IpMasqAgent, Masquerade, Routing, ServiceHandling,
    TunnelProtocol,
};
use lab_model::values::Values;
use serde_json::{Value, json};

use crate::{cluster, lab, study_lab};

fn settings_of(mut lab: Lab, values: Value) -> DatapathSettings {
    lab.values = serde_json::from_value::<Values>(values).unwrap();
    let cluster = cluster(&lab, &[], &Allocations::default());
    cluster.node_states["k8s-ctr"].datapath.clone()
}

fn settings(values: Value) -> DatapathSettings {
    settings_of(study_lab(), values)
}

fn net(text: &str) -> Option<ipnet::Ipv4Net> {
    Some(text.parse().unwrap())
}

#[test]
fn the_study_labs_values() {
    let settings = settings(json!({
        "ipv4NativeRoutingCIDR": "10.244.0.0/16",
        "bpf": {"masquerade": true},
    }));
    assert_eq!(settings.devices, ["eth0", "eth1"]);
    assert_eq!(settings.masquerade, Masquerade::Ebpf);
    assert!(settings.fragment_tracking);
    let auto_direct_node_routes = true;
    assert_eq!(
        settings.routing,
        Routing::Native {
            auto_direct_node_routes
        }
    );
    assert_eq!(settings.snat_exclusion, net("10.244.0.0/16"));
    assert_eq!(settings.native_routing_cidr, net("10.244.0.0/16"));
    assert_eq!(settings.ip_masq_agent, None);
    assert_eq!(settings.snat_ports, (32_768, 65_535));
    let maps = [settings.nat_max, settings.ct_tcp_max, settings.ct_any_max];
    assert_eq!(maps, [DEFAULT_MAP_ENTRIES; 3]);
}

#[test]
fn direct_node_routes_can_be_left_out() {
    let auto_direct_node_routes = false;
    assert_eq!(
        settings(json!({"autoDirectNodeRoutes": false})).routing,
        Routing::Native {
            auto_direct_node_routes
        }
    );
}

#[test]
fn masquerading_takes_both_values() {
    let iptables = Masquerade::Iptables {
        interfaces: Vec::new(),
        route_source: false,
    };
    assert_eq!(settings(json!({})).masquerade, iptables);
    let off = json!({"bpf": {"masquerade": true}, "enableIPv4Masquerade": false});
    assert_eq!(settings(off).masquerade, Masquerade::Off);
}

#[test]
fn without_a_native_routing_cidr_the_nodes_own_range_is_excluded() {
    let settings = settings(json!({"bpf": {"masquerade": true}}));
    assert_eq!(settings.snat_exclusion, net("10.244.0.0/24"));
    assert_eq!(settings.native_routing_cidr, net("10.244.0.0/24"));
}

#[test]
fn with_the_agent_only_an_explicit_native_routing_cidr_is_excluded() {
    let agent = json!({"enabled": true});
    let implicit = settings(json!({"ipMasqAgent": agent}));
    assert_eq!(implicit.snat_exclusion, None);
    assert_eq!(implicit.native_routing_cidr, net("10.244.0.0/24"));
    let explicit = settings(json!({"ipMasqAgent": agent, "ipv4NativeRoutingCIDR": "10.0.0.0/8"}));
    assert_eq!(explicit.snat_exclusion, net("10.0.0.0/8"));
}

#[test]
fn the_agents_config_is_the_text_of_the_originals_config_map() {
    let settings = settings(json!({"ipMasqAgent": {
        "enabled": true,
        "config": {"nonMasqueradeCIDRs": ["10.10.1.0/24", "10.10.2.0/24"]},
    }}));
    let text = r#"{"nonMasqueradeCIDRs":["10.10.1.0/24","10.10.2.0/24"]}"#;
    assert_eq!(
        settings.ip_masq_agent,
        Some(IpMasqAgent {
            config: Some(text.to_owned())
        })
    );
}

#[test]
fn an_agent_without_config_has_no_file() {
    let settings = settings(json!({"ipMasqAgent": {"enabled": true}}));
    assert_eq!(settings.ip_masq_agent, Some(IpMasqAgent { config: None }));
}

#[test]
fn map_sizes_and_ports_follow_the_values() {
    let settings = settings(json!({
        "nodePort": {"range": "30000,64535"},
        "bpf": {"natMax": 1000, "ctTcpMax": 2000, "ctAnyMax": 3000},
        "devices": ["eth1"],
    }));
    assert_eq!(settings.snat_ports, (64_536, 65_535));
    assert_eq!(
        (settings.nat_max, settings.ct_tcp_max, settings.ct_any_max),
        (1000, 2000, 3000)
    );
    assert_eq!(settings.devices, ["eth1"]);
}

#[test]
fn without_an_outside_there_is_no_eth0_to_manage() {
    let lab = lab(&[("k8s-ctr", Role::ControlPlane, Some(100))]);
    assert_eq!(settings_of(lab, json!({})).devices, ["eth1"]);
}

#[test]
fn the_modes_to_compare_with() {
    let settings = settings(json!({
        "kubeProxyReplacement": false,
        "routingMode": "tunnel",
        "MTU": 1400,
        "egressMasqueradeInterfaces": "eth0, eth+",
        "enableMasqueradeRouteSource": true,
    }));
    assert_eq!(settings.services, ServiceHandling::KubeProxy);
    assert_eq!(
        settings.routing,
        Routing::Tunnel {
            protocol: TunnelProtocol::Vxlan,
            port: 8472
        }
    );
    assert_eq!(settings.mtu, Some(1400));
    assert_eq!(
        settings.masquerade,
        Masquerade::Iptables {
            interfaces: vec!["eth0".to_owned(), "eth+".to_owned()],
            route_source: true
        }
    );
}

#[test]
fn a_tunnel_has_its_protocols_port_unless_told_otherwise() {
    let routing = |values| settings(values).routing;
    let geneve = |port| Routing::Tunnel {
        protocol: TunnelProtocol::Geneve,
        port,
    };
    let default = json!({"routingMode": "tunnel", "tunnelProtocol": "geneve"});
    assert_eq!(routing(default), geneve(6081));
    let other = json!({"routingMode": "tunnel", "tunnelProtocol": "geneve", "tunnelPort": 4789});
    assert_eq!(routing(other), geneve(4789));
}

#[test]
fn what_is_remembered_of_flows() {
    assert_eq!(settings(json!({})).flows, FlowSettings::default());
    let settings = settings(json!({
        "hubble": {"enabled": false, "eventBufferCapacity": 65535},
        "bpf": {"monitorAggregation": "none", "monitorInterval": "1m30s"},
    }));
    let expected = FlowSettings {
        enabled: false,
        capacity: 65_535,
        aggregation: Aggregation::None,
        interval: 90,
    };
    assert_eq!(settings.flows, expected);
}
