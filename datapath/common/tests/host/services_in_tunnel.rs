//! Services per packet whose backend is behind a tunnel.

use lab_datapath_common::endpoint::identity;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::Route;
use lab_datapath_common::settings::{Device, flag};
use lab_datapath_common::trace::Point;
use lab_datapath_common::tunnel::{MARK_OVERLAY, TunnelKey};
use lab_datapath_common::{Direction, DropReason};

use crate::frame::{ACK, DEST_UNREACH, Datagram, FRAG_NEEDED, SYN, icmp_error, tcp};
use crate::host::{Node, Skb};
use crate::scene::{
    CILIUM_HOST, ETH1, NODE, POD, REMOTE_NODE, REMOTE_POD, ROUTER, WORLD, source_of, tuple,
};
use crate::services::{NODE_PORT, arrives, assert_same, node, one_hop, request};

const VXLAN: u32 = 20;
const HOST: u32 = 21;
const TO_TUNNEL: Result<Action, DropReason> = Ok(Action::ToTunnel { ifindex: VXLAN });
const TO_HOST: Result<Action, DropReason> = Ok(Action::ToHost { ifindex: HOST });
const TO_ROUTER: Result<Action, DropReason> = Ok(Action::ToNeighbour(Route {
    ifindex: ETH1,
    next_hop: lab_datapath_common::Address::from_bytes(ROUTER.octets()),
}));

fn tunnelling() -> Node {
    let mut node = node(&[REMOTE_POD]);
    node.set(flag::TUNNEL);
    node.settings.tunnel_ifindex = VXLAN;
    node.settings.host_ifindex = HOST;
    node.settings.tunnel_mtu = 1450;
    node.identities.insert(REMOTE_POD.into(), 9214);
    node.tunnel_endpoints
        .insert(REMOTE_POD.into(), REMOTE_NODE.into());
    node.routes.remove(&REMOTE_POD.into());
    let device = Device {
        address: CILIUM_HOST.into(),
        ..Device::default()
    };
    node.devices.insert(VXLAN, device);
    node
}

fn key(identity: u32) -> TunnelKey {
    TunnelKey {
        identity,
        remote: REMOTE_NODE.into(),
    }
}

/// Into the tunnel's device.
fn into_tunnel(node: &Node, skb: Skb) -> Skb {
    let mut skb = Skb {
        ifindex: VXLAN,
        ..skb
    };
    assert_eq!(node.cil_to_overlay(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.mark, MARK_OVERLAY);
    skb
}

/// Out of the tunnel, with the other node's MAC addresses inside.
fn comes_out(node: &Node, datagram: &Datagram) -> (Result<Action, DropReason>, Skb) {
    let mut skb = Skb::new(datagram.frame(), VXLAN);
    skb.is_for_this_host = false;
    skb.tunnel_key = Some(key(9214));
    let action = node.cil_from_overlay(&mut skb);
    (action, skb)
}

fn answer(to: (std::net::Ipv4Addr, u16)) -> Datagram {
    tcp((REMOTE_POD, 8080), to, SYN | ACK)
}

#[test]
fn a_request_goes_through_the_tunnel_under_the_nodes_address_and_the_answer_comes_back() {
    let node = tunnelling();
    let (action, skb) = arrives(&node, &request(SYN));
    assert_eq!(action, TO_TUNNEL);
    assert_eq!(skb.tunnel_key, Some(key(identity::WORLD)));
    let skb = into_tunnel(&node, skb);
    let expected = tcp((CILIUM_HOST, 50_000), (REMOTE_POD, 8080), SYN);
    assert_same(&skb.frame, &one_hop(expected));

    let (action, skb) = comes_out(&node, &answer((CILIUM_HOST, 50_000)));
    assert_eq!(action, TO_ROUTER);
    assert_same(&skb.frame, &one_hop(answer((ROUTER, 50_000))));
    let expected = tcp((NODE, NODE_PORT), (ROUTER, 50_000), SYN | ACK);
    assert_same(&node.packet_leaves(skb), &one_hop(expected));
}

/// Straight and by the stack: what answers a client is reported where it leaves, and what
/// is the node's own is the node's.
#[test]
fn an_answer_to_a_client_is_not_reported_as_the_hosts() {
    for routing in [0, flag::HOST_LEGACY_ROUTING] {
        let mut node = tunnelling();
        node.set(flag::FLOWS | routing);
        let points = |node: &Node| -> Vec<u8> {
            let events = node.events.borrow_mut().split_off(0);
            events.iter().map(|event| event.detail).collect()
        };
        let (_, skb) = arrives(&node, &request(SYN));
        into_tunnel(&node, skb);
        points(&node);
        let (_, skb) = comes_out(&node, &answer((CILIUM_HOST, 50_000)));
        assert_eq!(points(&node), [Point::FromOverlay as u8]);
        node.packet_leaves(skb);
        assert_eq!(points(&node), [Point::ToNetwork as u8]);

        let own = tcp((CILIUM_HOST, 60_000), (REMOTE_POD, 8080), SYN);
        into_tunnel(&node, Skb::new(own.frame(), HOST));
        points(&node);
        for to in [60_000, 60_001] {
            let (action, _) = comes_out(&node, &answer((CILIUM_HOST, to)));
            assert_eq!(action, TO_HOST);
            let host = [Point::FromOverlay as u8, Point::ToHost as u8];
            assert_eq!(points(&node), host);
        }
    }
}

#[test]
fn where_the_stack_forwards_it_is_translated_at_the_same_places() {
    let mut node = tunnelling();
    node.set(flag::HOST_LEGACY_ROUTING);
    let (action, skb) = arrives(&node, &request(SYN));
    assert_eq!(action, Ok(Action::Continue));
    let mut skb = Skb {
        ifindex: HOST,
        ..skb
    };
    assert_eq!(node.cil_from_host(&mut skb), TO_TUNNEL);
    assert_eq!(skb.tunnel_key, Some(key(identity::WORLD)));
    let expected = tcp((CILIUM_HOST, 50_000), (REMOTE_POD, 8080), SYN);
    assert_same(&into_tunnel(&node, skb).frame, &expected);

    let (action, skb) = comes_out(&node, &answer((CILIUM_HOST, 50_000)));
    assert_eq!(action, TO_HOST);
    assert_same(&skb.frame, &answer((ROUTER, 50_000)));
    let expected = tcp((NODE, NODE_PORT), (ROUTER, 50_000), SYN | ACK);
    assert_same(&node.packet_leaves(skb), &expected);
}

/// The node's own connection to the same backend has the port; the client gets another.
#[test]
fn the_nodes_own_port_is_reserved_in_the_tunnel() {
    let node = tunnelling();
    let own = tcp((CILIUM_HOST, 50_000), (REMOTE_POD, 8080), SYN);
    let skb = into_tunnel(&node, Skb::new(own.frame(), HOST));
    assert_same(&skb.frame, &own);
    let flow = tuple(6, (CILIUM_HOST, 50_000), (REMOTE_POD, 8080), Direction::Out);
    assert_eq!(node.tracked(flow).map(|it| it.tx_packets), Some(1));

    let (_, skb) = arrives(&node, &request(SYN));
    let (address, port) = source_of(&into_tunnel(&node, skb).frame);
    assert_eq!(address, CILIUM_HOST);
    assert_ne!(port, 50_000, "two flows have one port");
    let (action, skb) = comes_out(&node, &answer((CILIUM_HOST, 50_000)));
    assert_eq!(action, TO_HOST);
    assert_same(&skb.frame, &answer((CILIUM_HOST, 50_000)));
    let (action, skb) = comes_out(&node, &answer((CILIUM_HOST, port)));
    assert_eq!(action, TO_ROUTER);
    assert_same(&skb.frame, &one_hop(answer((ROUTER, 50_000))));
}

#[test]
fn what_is_forwarded_for_others_and_what_pods_send_is_left_alone() {
    let node = tunnelling();
    for source in [WORLD, POD, NODE] {
        let sent = tcp((source, 50_000), (REMOTE_POD, 8080), ACK);
        let skb = into_tunnel(&node, Skb::new(sent.frame(), HOST));
        assert_same(&skb.frame, &sent);
    }
    assert!(node.nat.borrow().is_empty());
}

/// The stack answers the client, which knows the service alone: path MTU discovery works.
#[test]
fn a_request_too_long_for_the_tunnel_is_answered_about_the_service() {
    let mut node = tunnelling();
    let length = u16::try_from(request(ACK).frame().len() - 14).expect("short");
    node.settings.tunnel_mtu = length - 1;
    let (action, skb) = arrives(&node, &request(ACK));
    assert_eq!(action, Ok(Action::Continue));
    let quoted = tcp((ROUTER, 50_000), (REMOTE_POD, 8080), ACK);
    assert_same(&skb.frame, &quoted);
    let error = icmp_error(NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let expected = icmp_error(NODE, DEST_UNREACH, FRAG_NEEDED, &request(ACK), 20);
    let out = node.frame_leaves(error.frame()).expect("passes");
    assert_same(&out, &expected);
    node.settings.tunnel_mtu = length;
    assert_eq!(arrives(&node, &request(ACK)).0, TO_TUNNEL);
}

#[test]
fn an_error_from_within_the_tunnel_is_told_the_client() {
    let node = tunnelling();
    let (_, skb) = arrives(&node, &request(SYN));
    into_tunnel(&node, skb);
    let quoted = tcp((CILIUM_HOST, 50_000), (REMOTE_POD, 8080), ACK);
    let error = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = comes_out(&node, &error);
    assert_eq!(action, TO_HOST);
    let expected = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &request(ACK), 20);
    assert_same(&node.packet_leaves(skb), &expected);
}

#[test]
fn an_error_from_the_clients_side_is_told_the_backend_in_the_tunnel() {
    let node = tunnelling();
    let (_, skb) = arrives(&node, &request(SYN));
    into_tunnel(&node, skb);
    let quoted = tcp((NODE, NODE_PORT), (ROUTER, 50_000), ACK);
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::Continue));
    let mut skb = Skb {
        ifindex: HOST,
        ..skb
    };
    assert_eq!(node.cil_from_host(&mut skb), TO_TUNNEL);
    let quoted = tcp((REMOTE_POD, 8080), (CILIUM_HOST, 50_000), ACK);
    let mut expected = icmp_error(CILIUM_HOST, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    expected.destination = REMOTE_POD;
    assert_same(&into_tunnel(&node, skb).frame, &expected);
}
