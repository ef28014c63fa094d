use std::net::Ipv4Addr;

use lab_model::node_state::{NodeState, Peer, Routing, TunnelProtocol};

use super::*;
use crate::agent::tests::document;
use crate::netlink::{Address, Link};

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        kind: "veth".into(),
        mac: None,
        mtu: 1500,
        up: true,
        arp: !matches!(name, HOST | NET),
        tunnel_port: None,
        master: None,
        peer: None,
        peer_netns_id: None,
    }
}

/// The document's node as it should be, with one pod and one peer.
fn right(state: &NodeState) -> NodeView {
    let host = state.node.cilium_host.into();
    NodeView {
        links: vec![
            link(2, "eth1"),
            link(3, HOST),
            link(4, NET),
            link(5, &state.pods[0].interface),
        ],
        addresses: vec![Address {
            device: 3,
            address: host,
            scope: Scope::Link,
        }],
        routes: vec![
            Route::link(state.pods[0].address.into(), 5).protocol(protocol::KERNEL),
            Route::via(state.peers[0].pod_cidr, state.peers[0].address)
                .device(2)
                .protocol(protocol::KERNEL),
            Route::link("192.168.10.0/24".parse().expect("legal"), 2).protocol(protocol::KERNEL),
            Route::via(Ipv4Net::default(), Ipv4Addr::new(10, 0, 2, 2)).device(1),
        ],
    }
}

fn state() -> NodeState {
    let mut state = document("k8s-ctr", 0);
    state.pods.truncate(1);
    state.peers.push(Peer {
        name: "k8s-w1".into(),
        address: Ipv4Addr::new(192, 168, 10, 101),
        pod_cidr: "10.244.1.0/24".parse().expect("legal"),
        cilium_host: Ipv4Addr::new(10, 244, 1, 1),
    });
    state
}

/// What differs, and the commands that mend it.
fn told(state: &NodeState, view: &NodeView) -> Vec<(String, Vec<String>)> {
    let repairs = node_repairs(state, view, |_| None);
    repairs
        .into_iter()
        .map(|repair| {
            let requests = repair.requests.iter();
            let commands = requests.map(|it| it.describe(|index| view.name_of(index)));
            (repair.why.clone(), commands.collect())
        })
        .collect()
}

#[track_caller]
fn assert_told(view: &NodeView, why: &str, commands: &[&str]) {
    let commands = commands.iter().map(ToString::to_string).collect();
    assert_eq!(told(&state(), view), [(why.to_owned(), commands)]);
}

#[test]
fn a_node_that_matches_needs_nothing() {
    assert_eq!(told(&state(), &right(&state())), []);
}

#[test]
fn routes_that_are_not_ours_stay() {
    let mut view = right(&state());
    view.routes.push(
        Route::via(
            "10.10.0.0/16".parse().expect("legal"),
            Ipv4Addr::new(192, 168, 10, 200),
        )
        .protocol(protocol::STATIC),
    );
    assert_eq!(told(&state(), &view), []);
}

#[test]
fn the_route_of_a_peer_that_moved_is_replaced() {
    let mut view = right(&state());
    view.routes[1].gateway = Some(Ipv4Addr::new(192, 168, 10, 109));
    assert_told(
        &view,
        "route 10.244.1.0/24 via 192.168.10.101 proto kernel is gone",
        &["ip route replace 10.244.1.0/24 via 192.168.10.101 proto kernel"],
    );
}

#[test]
fn the_route_of_a_peer_that_left_goes() {
    let mut view = right(&state());
    let left = Route::via(
        "10.244.9.0/24".parse().expect("legal"),
        Ipv4Addr::new(192, 168, 10, 109),
    );
    view.routes.push(left.device(2).protocol(protocol::KERNEL));
    assert_told(
        &view,
        "route 10.244.9.0/24 via 192.168.10.109 dev eth1 proto kernel leads nowhere",
        &["ip route del 10.244.9.0/24 via 192.168.10.109 dev eth1 proto kernel"],
    );
}

#[test]
fn an_interface_without_a_pod_goes() {
    let mut view = right(&state());
    view.links.push(link(9, "lxcffffffffffff"));
    assert_told(
        &view,
        "lxcffffffffffff belongs to no pod",
        &["ip link del lxcffffffffffff"],
    );
}

#[test]
fn the_gateway_address_is_the_only_one() {
    let mut view = right(&state());
    view.addresses[0].address = "10.244.0.99/32".parse().expect("legal");
    let told = told(&state(), &view);
    assert_eq!(
        told.iter().map(|(why, _)| why.as_str()).collect::<Vec<_>>(),
        [
            "cilium_host has 10.244.0.99/32 as well",
            "cilium_host lacks 10.244.0.1/32"
        ]
    );
    assert_eq!(
        told[1].1,
        ["ip addr add 10.244.0.1/32 dev cilium_host scope link"]
    );
}

#[test]
fn an_empty_node_gets_its_interfaces_first() {
    let (state, view) = (state(), NodeView::default());
    let repairs = told(&state, &view);
    assert_eq!(
        repairs[0].1,
        [
            "ip link add cilium_host up type veth peer cilium_net",
            "ip link set cilium_net up"
        ]
    );
    assert_eq!(repairs[1].0, "lxc0000000000a0 of default/pod-a is gone");
    assert!(
        !repairs.iter().any(|(why, _)| why.contains("10.244.0.10")),
        "its index is not known"
    );
}

#[test]
fn a_pod_gets_its_address_before_its_routes() {
    let state = state();
    let view = NodeView {
        links: vec![link(1, "lo"), link(2, "eth0")],
        ..NodeView::default()
    };
    let repairs = pod_repairs(&state.pods[0], &state, Mtu::of(&state, &view), &view);
    let commands: Vec<_> = repairs
        .iter()
        .flat_map(|repair| &repair.requests)
        .map(|request| request.describe(|index| view.name_of(index)))
        .collect();
    assert_eq!(
        commands,
        [
            "ip addr add 10.244.0.10/32 dev eth0",
            "ip route replace 10.244.0.1 dev eth0 scope link",
            "ip route replace default via 10.244.0.1 dev eth0",
        ]
    );
}

fn tunnelling() -> NodeState {
    let mut state = state();
    state.datapath.routing = Routing::Tunnel {
        protocol: TunnelProtocol::Vxlan,
        port: 8472,
    };
    state
}

#[test]
fn a_node_that_is_to_tunnel_gets_the_device_the_routes_and_the_mtu() {
    let (state, view) = (tunnelling(), right(&state()));
    let commands: Vec<_> = told(&state, &view)
        .into_iter()
        .flat_map(|(_, commands)| commands)
        .collect();
    assert_eq!(
        commands,
        [
            "ip link add cilium_vxlan mtu 1500 up type vxlan external nolearning dstport 8472",
            "ip link set lxc0000000000a0 mtu 1450",
            "ip route replace 10.244.0.1 dev cilium_host proto kernel scope link",
            "ip route replace 10.244.1.0/24 via 10.244.0.1 dev cilium_host proto kernel \
             src 10.244.0.1 mtu 1450",
        ]
    );
}

/// A node as it tunnels.
fn right_tunnel(state: &NodeState) -> NodeView {
    let mut view = right(state);
    let mut vxlan = link(6, "cilium_vxlan");
    vxlan.kind = "vxlan".into();
    vxlan.tunnel_port = Some(8472);
    view.links.push(vxlan);
    view.links[3].mtu = 1450;
    let gateway = state.node.cilium_host;
    view.routes[1] = Route {
        source: Some(gateway),
        ..Route::via(state.peers[0].pod_cidr, gateway)
            .device(3)
            .protocol(protocol::KERNEL)
            .mtu(Some(1450))
    };
    view.routes
        .push(Route::link(gateway.into(), 3).protocol(protocol::KERNEL));
    view
}

#[test]
fn nothing_of_a_tunnel_stays_when_it_is_gone() {
    let (tunnelling, native) = (tunnelling(), state());
    let view = right_tunnel(&tunnelling);
    assert_eq!(told(&tunnelling, &view), []);
    let commands: Vec<_> = told(&native, &view)
        .into_iter()
        .flat_map(|(_, commands)| commands)
        .collect();
    assert_eq!(
        commands,
        [
            "ip link del cilium_vxlan",
            "ip link set lxc0000000000a0 mtu 1500",
            "ip route replace 10.244.1.0/24 via 192.168.10.101 proto kernel",
            "ip route del 10.244.0.1 dev cilium_host proto kernel scope link",
        ]
    );
}

/// cilium/cilium#14339: not of whichever device comes first.
#[test]
fn bug_14339_pods_have_what_the_narrowest_device_leaves() {
    let mut view = right(&state());
    let mut eth0 = link(7, "eth0");
    eth0.mtu = 9000;
    view.links.insert(0, eth0);
    let mtu = |state: &NodeState, view: &NodeView| {
        let mtu = Mtu::of(state, view);
        (mtu.device, mtu.pod, mtu.route)
    };
    assert_eq!(mtu(&state(), &view), (1500, 1500, None));
    assert_eq!(mtu(&tunnelling(), &view), (1500, 1450, Some(1450)));
    let mut chosen = tunnelling();
    chosen.datapath.mtu = Some(1400);
    assert_eq!(mtu(&chosen, &view), (1400, 1350, Some(1350)));
}

/// cilium/cilium#31124.
#[test]
fn bug_31124_only_a_peer_on_the_link_gets_a_direct_route() {
    let mut far = state();
    far.peers[0].address = Ipv4Addr::new(192, 168, 20, 101);
    let view = right(&state());
    assert_eq!(
        told(&far, &view),
        [(
            "route 10.244.1.0/24 via 192.168.10.101 dev eth1 proto kernel leads nowhere".to_owned(),
            vec!["ip route del 10.244.1.0/24 via 192.168.10.101 dev eth1 proto kernel".to_owned()]
        )]
    );
}
