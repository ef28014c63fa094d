//! Masquerading as Cilium's agent has iptables do it, word for word.

use lab_model::node_state::{DatapathSettings, Masquerade, Routing, TunnelProtocol};

use super::super::ruleset::{Ruleset, Saved, Table, restore_input};
use super::super::wanted;
use super::{assert_rules, by_iptables, node};
use crate::agent::NodeView;
use crate::netlink::{Link, Route};

fn masquerading(masquerade: Masquerade, routing: Routing, view: &NodeView) -> Ruleset {
    let datapath = DatapathSettings {
        masquerade,
        routing,
        snat_exclusion: Some("10.244.0.0/16".parse().unwrap()),
        ..DatapathSettings::default()
    };
    wanted(&node(datapath, Vec::new()), view)
}

const NATIVE: Routing = Routing::Native {
    auto_direct_node_routes: true,
};

#[test]
fn cilium_masquerades_in_its_order() {
    let rules = masquerading(by_iptables(&[], false), NATIVE, &NodeView::default());
    assert_rules(
        &rules,
        "CILIUM_POST_nat",
        &[
            "-s 10.244.0.0/24 -d 192.168.10.101/32 -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "-s 10.244.0.0/24 ! -d 10.244.0.0/16 ! -o cilium_+ -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
            "-m mark --mark 0xa00/0xe00 -m comment --comment \"exclude proxy return traffic from masquerade\" -j ACCEPT",
            "-s 127.0.0.1/32 -o cilium_host -m comment --comment \"cilium host->cluster from 127.0.0.1 masquerade\" -j SNAT --to-source 10.244.0.200",
            "-o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT -m comment --comment \"hairpin traffic that originated from a local pod\" -j SNAT --to-source 10.244.0.200",
        ],
    );
}

#[test]
fn egress_masquerade_interfaces_say_where_instead_of_who() {
    let rules = masquerading(
        by_iptables(&["eth0", "ens+"], false),
        NATIVE,
        &NodeView::default(),
    );
    assert_eq!(
        rules.of(Table::Nat, "CILIUM_POST_nat")[..4],
        [
            "-d 192.168.10.101/32 -o eth0 -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "-d 192.168.10.101/32 -o ens+ -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "! -d 10.244.0.0/16 -o eth0 -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
            "! -d 10.244.0.0/16 -o ens+ -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
        ]
    );
}

/// Case 4 in this mode: towards a node, a tunnel masquerades and native routing does
/// not (cases 3 and 4).
#[test]
fn under_a_tunnel_nodes_are_no_exception() {
    let tunnel = Routing::Tunnel {
        protocol: TunnelProtocol::Vxlan,
        port: 8472,
    };
    let rules = masquerading(by_iptables(&[], false), tunnel, &NodeView::default());
    let chain = rules.of(Table::Nat, "CILIUM_POST_nat");
    assert!(
        chain[0].contains("cilium masquerade non-cluster"),
        "{}",
        chain[0]
    );
    // Packets of pods keep their address in the tunnel.
    assert_eq!(
        chain[2],
        "! -s 10.244.0.0/24 ! -d 10.244.0.0/24 -o cilium_host -m comment --comment \"cilium \
         host->cluster masquerade\" -j SNAT --to-source 10.244.0.200"
    );
    // Unless kube-proxy has them come back through this node.
    assert!(
        chain[3].starts_with(
            "-s 10.244.0.0/24 ! -d 10.244.0.0/24 -o cilium_host -m mark --mark 0x4000/0x4000 "
        ),
        "{}",
        chain[3]
    );
}

#[test]
fn route_source_takes_the_most_specific_route_first_and_the_default_last() {
    let link = |index, name: &str| Link {
        index,
        name: name.to_owned(),
        ..Link::default()
    };
    let route = |to: &str, device, source: [u8; 4]| {
        let mut route = Route::link(to.parse().unwrap(), device);
        route.source = Some(source.into());
        route
    };
    let view = NodeView {
        links: vec![link(2, "eth0"), link(3, "eth1"), link(9, "lxc1")],
        addresses: Vec::new(),
        routes: vec![
            route("0.0.0.0/0", 2, [10, 0, 2, 15]),
            route("192.168.10.0/24", 3, [192, 168, 10, 100]),
            route("10.10.1.0/28", 3, [192, 168, 10, 99]),
            route("10.244.0.0/16", 3, [192, 168, 10, 100]),
            route("10.244.0.7/32", 9, [192, 168, 10, 100]),
            Route::link("172.16.0.0/12".parse().unwrap(), 3),
        ],
    };
    let rules = masquerading(by_iptables(&[], true), NATIVE, &view);
    let snat =
        "-m comment --comment \"cilium snat non-cluster via source route\" -j SNAT --to-source";
    assert_eq!(
        rules.of(Table::Nat, "CILIUM_POST_nat")[1..4],
        [
            format!("-s 10.244.0.0/24 -d 10.10.1.0/28 -o eth1 {snat} 192.168.10.99"),
            format!("-s 10.244.0.0/24 -d 192.168.10.0/24 -o eth1 {snat} 192.168.10.100"),
            format!("-s 10.244.0.0/24 ! -d 10.244.0.0/16 -o eth0 {snat} 10.0.2.15"),
        ]
    );
    let eth0 = masquerading(by_iptables(&["eth0"], true), NATIVE, &view);
    let on_eth1 = eth0.of(Table::Nat, "CILIUM_POST_nat");
    assert!(
        !on_eth1.iter().any(|rule| rule.contains("-o eth1")),
        "{on_eth1:?}"
    );
}

#[test]
fn ebpf_needs_no_rules() {
    let view = NodeView::default();
    assert!(masquerading(Masquerade::Ebpf, NATIVE, &view).is_empty());
    assert!(masquerading(Masquerade::Off, NATIVE, &view).is_empty());
    assert_eq!(restore_input(&Ruleset::default(), &Saved::default()), "");
}
