//! The short way past the stack.

use lab_datapath_common::Direction;
use lab_datapath_common::DropReason;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::Route;

use crate::frame::{Datagram, SYN, echo_request, icmp_error, tcp, udp};
use crate::host::{Node, Skb};
use crate::scene::{
    ETH1, LXC, LXC_MAC, NEIGHBOUR_LXC, NEIGHBOUR_POD, NODE, POD, POD_MAC, REMOTE_POD, ROUTER,
    WORLD, node, redirecting_node, tuple,
};

const OUT: Action = Action::ToNeighbour(Route {
    ifindex: ETH1,
    next_hop: lab_datapath_common::Address::from_bytes([192, 168, 10, 200]),
});

fn from_pod(node: &Node, frame: Vec<u8>) -> (Result<Action, DropReason>, Vec<u8>) {
    let mut skb = Skb::new(frame, LXC);
    (node.cil_from_container(&mut skb), skb.frame)
}

fn arrives(node: &Node, frame: Vec<u8>) -> (Result<Action, DropReason>, Vec<u8>) {
    let mut skb = Skb::new(frame, ETH1);
    (node.cil_from_netdev(&mut skb), skb.frame)
}

/// What a pod gets of `sent`: a hop further, from its node-side interface.
fn delivered(sent: &Datagram) -> Vec<u8> {
    let mut sent = sent.clone();
    sent.ttl -= 1;
    sent.macs = [POD_MAC, LXC_MAC]
        .concat()
        .try_into()
        .expect("two addresses");
    sent.frame()
}

#[test]
fn a_pod_of_the_same_node_gets_the_packet_directly() {
    let node = redirecting_node();
    let sent = tcp((POD, 40_000), (NEIGHBOUR_POD, 80), SYN);
    let ifindex = NEIGHBOUR_LXC;
    let expected = (Ok(Action::ToPod { ifindex }), delivered(&sent));
    assert_eq!(from_pod(&node, sent.frame()), expected);
    let tracked = |direction| node.tracked(tuple(6, (POD, 40_000), (NEIGHBOUR_POD, 80), direction));
    assert_eq!(tracked(Direction::Out).map(|it| it.tx_packets), Some(1));
    assert_eq!(tracked(Direction::In).map(|it| it.tx_packets), Some(1));
}

#[test]
fn a_packet_to_the_world_goes_to_the_neighbour_and_is_translated_there() {
    let node = redirecting_node();
    let mut sent = tcp((POD, 40_000), (WORLD, 80), SYN);
    let (action, frame) = from_pod(&node, sent.frame());
    sent.ttl -= 1;
    assert_eq!((action, &frame), (Ok(OUT), &sent.frame()));
    assert_eq!(
        node.frame_leaves(frame),
        Ok(sent.from((NODE, 40_000)).frame())
    );
}

#[test]
fn a_masqueraded_reply_goes_straight_to_the_pod() {
    let node = redirecting_node();
    let sent = udp((POD, 40_000), (WORLD, 53));
    from_pod(&node, sent.frame()).0.expect("passes");
    node.frame_leaves(sent.frame()).expect("passes");
    let reply = sent.reply();
    let arriving = reply.clone().to((NODE, 40_000)).frame();
    let expected = (Ok(Action::ToPod { ifindex: LXC }), delivered(&reply));
    assert_eq!(arrives(&node, arriving), expected);
    let flow = tuple(17, (POD, 40_000), (WORLD, 53), Direction::Out);
    assert_eq!(node.tracked(flow).map(|it| it.rx_packets), Some(1));
}

#[test]
fn bug_12968_an_error_goes_straight_to_the_pod() {
    let node = redirecting_node();
    let sent = udp((POD, 40_000), (WORLD, 53));
    node.frame_leaves(sent.frame()).expect("passes");
    let outside = sent.clone().from((NODE, 40_000));
    let arriving = icmp_error(ROUTER, 3, 4, &outside, 64).frame();
    let expected = delivered(&icmp_error(ROUTER, 3, 4, &sent, 64));
    assert_eq!(
        arrives(&node, arriving),
        (Ok(Action::ToPod { ifindex: LXC }), expected)
    );
}

#[test]
fn case_20_the_worlds_request_goes_straight_to_the_pod_and_the_reply_out_as_it_is() {
    let node = redirecting_node();
    let request = tcp((WORLD, 50_000), (POD, 80), SYN);
    let expected = (Ok(Action::ToPod { ifindex: LXC }), delivered(&request));
    assert_eq!(arrives(&node, request.frame()), expected);
    let (action, frame) = from_pod(&node, request.reply().frame());
    assert_eq!(action, Ok(OUT));
    assert_eq!(node.frame_leaves(frame.clone()), Ok(frame));
}

#[test]
fn every_ttl_is_decremented_with_a_right_checksum() {
    let node = redirecting_node();
    for ttl in 2..=255 {
        let mut sent = echo_request((POD, u16::from(ttl)), WORLD);
        sent.ttl = ttl;
        let (action, frame) = from_pod(&node, sent.frame());
        sent.ttl -= 1;
        assert_eq!((action, frame), (Ok(OUT), sent.frame()), "TTL {ttl}");
    }
}

/// What the stack must do itself: answer, fragment, read options, route.
#[test]
fn whatever_is_not_plain_goes_through_the_stack_untouched() {
    let node = redirecting_node();
    let plain = udp((POD, 40_000), (WORLD, 53));
    let mut dying = plain.clone();
    dying.ttl = 1;
    let mut optional = plain.clone();
    optional.options = vec![1; 4];
    let mut large = plain.clone();
    large.data = vec![0; 1473];
    let to_host = udp((POD, 40_000), (NODE, 53));
    let unrouted = udp((POD, 40_000), (REMOTE_POD, 53));
    for sent in [dying, optional, large, to_host, unrouted] {
        let frame = sent.frame();
        assert_eq!(
            from_pod(&node, frame.clone()),
            (Ok(Action::Continue), frame)
        );
    }
    let mut skb = Skb::new(plain.frame(), LXC);
    skb.is_for_this_host = false;
    assert_eq!(node.cil_from_container(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.frame, plain.frame());
}

#[test]
fn the_largest_packet_that_fits_takes_the_short_way() {
    let node = redirecting_node();
    let mut sent = udp((POD, 40_000), (WORLD, 53));
    sent.data = vec![0; 1472];
    assert_eq!(from_pod(&node, sent.frame()).0, Ok(OUT));
}

/// The size of a segment decides, not that of the packet before it is cut up.
#[test]
fn a_gso_packet_is_measured_by_its_segments() {
    let node = redirecting_node();
    let mut sent = tcp((POD, 40_000), (WORLD, 80), SYN);
    sent.data = vec![0; 8000];
    for (gso_size, action) in [(1460, OUT), (1461, Action::Continue)] {
        let mut skb = Skb::new(sent.frame(), LXC);
        skb.gso_size = gso_size;
        assert_eq!(node.cil_from_container(&mut skb), Ok(action), "{gso_size}");
    }
}

#[test]
fn a_route_over_a_device_that_is_not_managed_is_the_stacks() {
    let mut node = redirecting_node();
    node.devices.clear();
    let sent = udp((POD, 40_000), (WORLD, 53)).frame();
    assert_eq!(from_pod(&node, sent.clone()), (Ok(Action::Continue), sent));
}

#[test]
fn frames_for_others_are_left_alone_at_the_device() {
    let node = redirecting_node();
    let sent = udp((WORLD, 53), (POD, 40_000));
    let mut skb = Skb::new(sent.frame(), ETH1);
    skb.is_for_this_host = false;
    assert_eq!(node.cil_from_netdev(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.frame, sent.frame());
    assert!(node.ct.borrow().is_empty());
}

#[test]
fn host_legacy_routing_leaves_every_packet_to_the_stack() {
    let node = node();
    for sent in [
        udp((POD, 1), (WORLD, 53)),
        udp((POD, 1), (NEIGHBOUR_POD, 53)),
    ] {
        let frame = sent.frame();
        assert_eq!(
            from_pod(&node, frame.clone()),
            (Ok(Action::Continue), frame)
        );
    }
}

/// The stack answers a reply that may go no further; the flow stays alive.
#[test]
fn a_reply_at_the_end_of_its_ttl_is_translated_and_left_to_the_stack() {
    let node = redirecting_node();
    let sent = udp((POD, 40_000), (WORLD, 53));
    node.frame_leaves(sent.frame()).expect("passes");
    let mut reply = sent.reply();
    reply.ttl = 1;
    let arriving = reply.clone().to((NODE, 40_000)).frame();
    assert_eq!(
        arrives(&node, arriving),
        (Ok(Action::Continue), reply.frame())
    );
}
