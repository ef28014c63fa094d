//! Into the tunnel, and out of it.

use std::net::Ipv4Addr;

use lab_datapath_common::endpoint::identity;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::settings::flag;
use lab_datapath_common::tunnel::{self, MARK_OVERLAY, TunnelKey};
use lab_datapath_common::{Direction, DropReason};

use crate::frame::{SYN, tcp, udp};
use crate::host::{Host, Node, Skb};
use crate::scene::{
    CILIUM_HOST, ETH1, LXC, LXC_MAC, NODE, POD, POD_MAC, REMOTE_NODE, REMOTE_POD, WORLD,
    redirecting_node, tuple,
};

const VXLAN: u32 = 20;
const HOST: u32 = 21;
/// The other node's pod, and its gateway.
const REMOTE_IDENTITY: u32 = 9214;
const REMOTE_HOST: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);

/// Identity of the scene's pods.
const IDENTITY: u32 = 4711;

fn tunnelling_node() -> Node {
    let mut node = redirecting_node();
    node.set(flag::TUNNEL);
    node.settings.tunnel_ifindex = VXLAN;
    node.settings.host_ifindex = HOST;
    node.settings.tunnel_mtu = 1450;
    node.identities.insert(REMOTE_POD.into(), REMOTE_IDENTITY);
    node.identities
        .insert(REMOTE_HOST.into(), identity::REMOTE_NODE);
    for address in [REMOTE_POD, REMOTE_HOST] {
        node.tunnel_endpoints
            .insert(address.into(), REMOTE_NODE.into());
    }
    node
}

fn host<'a>(node: &'a Node, skb: &'a mut Skb) -> Host<'a> {
    Host { node, skb }
}

fn key(identity: u32) -> TunnelKey {
    TunnelKey {
        identity,
        remote: REMOTE_NODE.into(),
    }
}

#[test]
fn a_pods_packet_to_a_remote_pod_goes_into_the_tunnel_with_its_identity() {
    let node = tunnelling_node();
    let mut sent = tcp((POD, 40_000), (REMOTE_POD, 80), SYN);
    let mut skb = Skb::new(sent.frame(), LXC);
    let action = node.cil_from_container(&mut skb);
    assert_eq!(action, Ok(Action::ToTunnel { ifindex: VXLAN }));
    assert_eq!(skb.tunnel_key, Some(key(IDENTITY)));
    sent.ttl -= 1;
    assert_eq!(skb.frame, sent.frame(), "inner addresses are kept");
    let tracked = node.tracked(tuple(6, (POD, 40_000), (REMOTE_POD, 80), Direction::Out));
    assert_eq!(tracked.map(|it| it.tx_packets), Some(1));
}

#[test]
fn natively_no_packet_is_encapsulated() {
    let mut node = tunnelling_node();
    node.clear(flag::TUNNEL);
    let mut skb = Skb::new(udp((POD, 40_000), (REMOTE_POD, 53)).frame(), LXC);
    assert_eq!(node.cil_from_container(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.tunnel_key, None);
}

/// Nothing is behind the tunnel but pods: other nodes and the world are reached as ever.
#[test]
fn what_no_tunnel_leads_to_is_not_encapsulated() {
    let node = tunnelling_node();
    for destination in [REMOTE_NODE, WORLD] {
        let mut skb = Skb::new(udp((POD, 40_000), (destination, 53)).frame(), LXC);
        let action = node.cil_from_container(&mut skb).expect("passes");
        assert!(!matches!(action, Action::ToTunnel { .. }), "{action:?}");
        assert_eq!(skb.tunnel_key, None);
    }
}

/// The stack, whose route is as narrow as the tunnel, answers or cuts it up.
#[test]
fn a_packet_longer_than_the_tunnel_takes_goes_to_the_stack() {
    let mut node = tunnelling_node();
    let sent = udp((POD, 40_000), (REMOTE_POD, 53)).frame();
    let length = u16::try_from(sent.len() - 14).expect("short");
    for (tunnel_mtu, fits) in [(length, true), (length - 1, false)] {
        node.settings.tunnel_mtu = tunnel_mtu;
        let mut skb = Skb::new(sent.clone(), LXC);
        let action = node.cil_from_container(&mut skb).expect("passes");
        assert_eq!(action == Action::ToTunnel { ifindex: VXLAN }, fits);
        let mut skb = Skb::new(sent.clone(), HOST);
        let action = tunnel::from_host(&mut host(&node, &mut skb));
        let expected = if fits {
            Ok(Action::ToTunnel { ifindex: VXLAN })
        } else {
            Err(DropReason::FragmentationNeeded)
        };
        assert_eq!(action, expected);
    }
}

/// A GSO packet is as long as its segments will be.
#[test]
fn segments_are_measured_not_the_packet_that_they_are_cut_from() {
    let mut node = tunnelling_node();
    let mut sent = tcp((POD, 40_000), (REMOTE_POD, 80), 0x10).frame();
    sent.resize(9_000, 0);
    for (gso_size, fits) in [(1_410, true), (1_411, false)] {
        node.settings.tunnel_mtu = 1_450;
        let mut skb = Skb::new(sent.clone(), LXC);
        skb.gso_size = gso_size;
        let action = node.cil_from_container(&mut skb).expect("passes");
        assert_eq!(
            action == Action::ToTunnel { ifindex: VXLAN },
            fits,
            "{gso_size}"
        );
    }
}

#[test]
fn the_host_is_a_remote_node_to_others() {
    let node = tunnelling_node();
    for (source, identity) in [
        (CILIUM_HOST, identity::REMOTE_NODE),
        (NODE, identity::REMOTE_NODE),
        (POD, IDENTITY),
        (WORLD, identity::WORLD),
    ] {
        let sent = udp((source, 40_000), (REMOTE_POD, 53)).frame();
        let mut skb = Skb::new(sent.clone(), HOST);
        let action = tunnel::from_host(&mut host(&node, &mut skb));
        assert_eq!(action, Ok(Action::ToTunnel { ifindex: VXLAN }));
        assert_eq!(skb.tunnel_key, Some(key(identity)), "{source}");
        assert_eq!(skb.frame, sent, "the stack has counted this hop");
    }
}

fn comes_out(node: &Node, frame: Vec<u8>, identity: u32) -> (Result<Action, DropReason>, Skb) {
    let mut skb = Skb::new(frame, VXLAN);
    // The inner MAC addresses are the other node's.
    skb.is_for_this_host = false;
    skb.tunnel_key = Some(key(identity));
    let action = tunnel::from_overlay(&mut host(node, &mut skb));
    (action, skb)
}

#[test]
fn what_comes_out_for_a_pod_goes_straight_to_it() {
    let node = tunnelling_node();
    let mut sent = tcp((REMOTE_POD, 40_000), (POD, 80), SYN);
    let (action, skb) = comes_out(&node, sent.frame(), REMOTE_IDENTITY);
    assert_eq!(action, Ok(Action::ToPod { ifindex: LXC }));
    assert!(skb.is_for_this_host);
    sent.ttl -= 1;
    sent.macs = [POD_MAC, LXC_MAC].concat().try_into().expect("two");
    assert_eq!(skb.frame, sent.frame());
    let tracked = node.tracked(tuple(6, (REMOTE_POD, 40_000), (POD, 80), Direction::In));
    assert_eq!(tracked.map(|it| it.tx_packets), Some(1));
}

#[test]
fn what_comes_out_for_the_host_or_needs_the_stack_goes_to_the_host() {
    let mut node = tunnelling_node();
    let to_host = Ok(Action::ToHost { ifindex: HOST });
    let sent = udp((REMOTE_POD, 40_000), (CILIUM_HOST, 53)).frame();
    let (action, skb) = comes_out(&node, sent.clone(), REMOTE_IDENTITY);
    assert_eq!((action, skb.frame), (to_host, sent));
    let mut last_hop = udp((REMOTE_POD, 40_000), (POD, 53));
    last_hop.ttl = 1;
    let (action, _) = comes_out(&node, last_hop.frame(), REMOTE_IDENTITY);
    assert_eq!(action, to_host);
    node.set(flag::HOST_LEGACY_ROUTING);
    let sent = udp((REMOTE_POD, 40_000), (POD, 53)).frame();
    assert_eq!(comes_out(&node, sent, REMOTE_IDENTITY).0, to_host);
}

#[test]
fn the_stack_takes_what_the_overlay_hands_it_for_its_own() {
    let node = tunnelling_node();
    let mut skb = Skb::new(udp((REMOTE_POD, 40_000), (CILIUM_HOST, 53)).frame(), HOST);
    skb.is_for_this_host = false;
    let action = tunnel::to_host(&mut host(&node, &mut skb));
    assert_eq!((action, skb.is_for_this_host), (Ok(Action::Continue), true));
}

/// Any node presents its host as a remote node.
#[test]
fn nobody_may_claim_to_be_this_host() {
    let node = tunnelling_node();
    let sent = udp((REMOTE_POD, 40_000), (POD, 53)).frame();
    let (action, _) = comes_out(&node, sent.clone(), identity::HOST);
    assert_eq!(action, Err(DropReason::InvalidIdentity));
    let mut skb = Skb::new(sent, VXLAN);
    let action = tunnel::from_overlay(&mut host(&node, &mut skb));
    assert_eq!(action, Err(DropReason::NoTunnelKey));
}

/// cilium/cilium#26908: outer packets are the node's own, from a port in the range.
#[test]
fn bug_26908_outer_packets_reserve_no_port() {
    let node = tunnelling_node();
    let mut inner = Skb::new(udp((POD, 40_000), (REMOTE_POD, 53)).frame(), VXLAN);
    inner.mark = 0x1234_0c00;
    let action = tunnel::to_overlay(&mut host(&node, &mut inner));
    assert_eq!(action, Ok(Action::Continue));
    assert_eq!(
        inner.mark,
        0x1234_0000 | MARK_OVERLAY,
        "other bits are others'"
    );
    let outer = udp((NODE, 45_000), (REMOTE_NODE, 8472)).frame();
    let mut skb = Skb::new(outer.clone(), ETH1);
    skb.mark = inner.mark;
    assert_eq!(node.cil_to_netdev(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.frame, outer);
    assert!(node.nat.borrow().is_empty() && node.ct.borrow().is_empty());
    // Without the mark it is a datagram of the host like any other.
    let mut skb = Skb::new(outer, ETH1);
    assert_eq!(node.cil_to_netdev(&mut skb), Ok(Action::Continue));
    assert!(!node.nat.borrow().is_empty());
}
