//! What the hooks report, and how conntrack thins it out.

use lab_datapath_common::settings::flag;
use lab_datapath_common::trace::{self, Event, Point, kind, reason};
use lab_datapath_common::{Address, DropReason};

use crate::frame::{ACK, Datagram, FIN, SYN, echo_request, tcp, udp};
use crate::host::{Host, Node, Skb};
use crate::scene::{
    ETH1, LXC, NEIGHBOUR_LXC, NEIGHBOUR_POD, NODE, POD, REMOTE_POD, WORLD, node, redirecting_node,
};

const PSH: u8 = 8;

/// A node that reports as `monitorAggregation: medium` does, every 5 s.
fn reporting(mut node: Node) -> Node {
    node.set(flag::FLOWS | flag::AGGREGATE_ORIGINS | flag::AGGREGATE_FLOWS);
    node.settings.report_interval = 5;
    node
}

fn events(node: &Node) -> Vec<Event> {
    node.events.borrow_mut().split_off(0)
}

/// Where it was seen, and what conntrack said.
fn points(node: &Node) -> Vec<(u8, u8)> {
    let seen = |event: &Event| {
        assert_eq!(event.kind, kind::TRACE);
        (event.detail, event.reason)
    };
    events(node).iter().map(seen).collect()
}

const TO_ENDPOINT: u8 = Point::ToEndpoint as u8;
const TO_STACK: u8 = Point::ToStack as u8;
const TO_NETWORK: u8 = Point::ToNetwork as u8;

fn between_pods(node: &Node, sent: &Datagram, ifindex: u32) {
    let mut skb = Skb::new(sent.frame(), ifindex);
    node.cil_from_container(&mut skb).expect("passes");
}

/// From a pod through its interface and, with the note it got there, the device.
fn to_the_network(node: &Node, sent: &Datagram) {
    let mut skb = Skb::new(sent.frame(), LXC);
    node.cil_from_container(&mut skb).expect("passes");
    skb.ifindex = ETH1;
    node.cil_to_netdev(&mut skb).expect("passes");
}

#[test]
fn nothing_is_reported_with_flows_off() {
    let mut node = reporting(redirecting_node());
    node.clear(flag::FLOWS);
    to_the_network(&node, &tcp((POD, 40_000), (WORLD, 80), SYN));
    between_pods(&node, &tcp((POD, 40_000), (NEIGHBOUR_POD, 80), SYN), LXC);
    assert_eq!(events(&node), []);
}

/// The lines of the notes: SYN, SYN-ACK, ACK, request, answer, both FINs, the last ACK;
/// and none of the ACKs and segments in between.
#[test]
fn a_connection_is_reported_by_the_flags_it_has_not_had() {
    let node = reporting(redirecting_node());
    let request = |flags| tcp((POD, 40_000), (NEIGHBOUR_POD, 80), flags);
    let reply = |flags| tcp((NEIGHBOUR_POD, 80), (POD, 40_000), flags);
    let mut steps = Vec::new();
    let mut step = |client: bool, flags| {
        if client {
            between_pods(&node, &request(flags), LXC);
        } else {
            between_pods(&node, &reply(flags), NEIGHBOUR_LXC);
        }
        steps.push((flags, points(&node)));
    };
    step(true, SYN);
    step(false, SYN | ACK);
    step(true, ACK);
    step(true, ACK | PSH);
    step(false, ACK);
    step(false, ACK | PSH);
    step(true, ACK);
    step(true, ACK | PSH);
    step(true, ACK | FIN);
    step(false, ACK | FIN);
    step(true, ACK);
    let to = |reason| vec![(TO_ENDPOINT, reason)];
    let expected = [
        (SYN, to(reason::NEW)),
        (SYN | ACK, to(reason::REPLY)),
        (ACK, to(reason::ESTABLISHED)),
        (ACK | PSH, to(reason::ESTABLISHED)),
        (ACK, vec![]),
        (ACK | PSH, to(reason::REPLY)),
        (ACK, vec![]),
        (ACK | PSH, vec![]),
        (ACK | FIN, to(reason::ESTABLISHED)),
        (ACK | FIN, to(reason::REPLY)),
        (ACK, to(reason::ESTABLISHED)),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn an_unchanged_flow_is_reported_once_an_interval() {
    let node = reporting(redirecting_node());
    let ping = echo_request((POD, 7), NEIGHBOUR_POD);
    let mut reported = 0;
    for _ in 0..60 {
        between_pods(&node, &ping, LXC);
        reported += events(&node).len();
        node.wait(1);
    }
    // Every sixth second: the report of a second ends only after five full ones.
    assert_eq!(reported, 10);
}

#[test]
fn every_packet_is_reported_where_it_comes_from_too_without_aggregation() {
    let mut node = reporting(redirecting_node());
    node.clear(flag::AGGREGATE_ORIGINS | flag::AGGREGATE_FLOWS);
    let ping = echo_request((POD, 7), NEIGHBOUR_POD);
    let from = (Point::FromEndpoint as u8, reason::UNKNOWN);
    between_pods(&node, &ping, LXC);
    assert_eq!(points(&node), [from, (TO_ENDPOINT, reason::NEW)]);
    between_pods(&node, &ping, LXC);
    assert_eq!(points(&node), [from, (TO_ENDPOINT, reason::ESTABLISHED)]);
}

#[test]
fn a_masqueraded_flow_is_reported_once_with_the_pods_address_and_both_identities() {
    let node = reporting(redirecting_node());
    to_the_network(&node, &tcp((POD, 40_000), (WORLD, 80), SYN));
    let [event] = events(&node)[..] else {
        panic!("one event");
    };
    assert_eq!((event.detail, event.reason), (TO_NETWORK, reason::NEW));
    assert_eq!(event.original, Address::from(POD));
    assert_eq!(
        event.head[26..30],
        NODE.octets(),
        "the packet is translated"
    );
    assert_eq!(
        (event.source_identity, event.destination_identity),
        (4711, 2)
    );
    assert_eq!(event.ifindex, ETH1);
    assert_eq!(event.length, u32::from(event.captured));
}

#[test]
fn the_stack_is_a_point_of_its_own_and_the_device_agrees_with_the_pods_interface() {
    let node = reporting(node());
    let request = tcp((WORLD, 50_000), (POD, 80), SYN);
    let mut skb = Skb::new(request.frame(), LXC);
    node.cil_to_container(&mut skb).expect("passes");
    assert_eq!(points(&node), [(TO_ENDPOINT, reason::NEW)]);
    let reply = tcp((POD, 80), (WORLD, 50_000), SYN | ACK);
    to_the_network(&node, &reply);
    let replied = [(TO_STACK, reason::REPLY), (TO_NETWORK, reason::REPLY)];
    assert_eq!(points(&node), replied);
    // Nothing new: neither says anything.
    to_the_network(&node, &reply);
    assert_eq!(points(&node), []);
}

#[test]
fn the_hosts_tracked_flows_are_known_and_others_are_not() {
    let node = reporting(redirecting_node());
    let leaves = |sent: Datagram| {
        let mut skb = Skb::new(sent.frame(), ETH1);
        node.cil_to_netdev(&mut skb).expect("passes");
        points(&node)
    };
    let new = [(TO_NETWORK, reason::NEW)];
    assert_eq!(leaves(udp((NODE, 44_999), (WORLD, 53))), new);
    // A port below the range is nobody's: not tracked, so always reported.
    let unknown = [(TO_NETWORK, reason::UNKNOWN)];
    for _ in 0..2 {
        assert_eq!(leaves(tcp((NODE, 22), (WORLD, 50_000), ACK)), unknown);
    }
}

#[test]
fn what_a_pod_sends_to_another_node_carries_its_reason_to_the_device() {
    let node = reporting(node());
    to_the_network(&node, &udp((POD, 40_000), (REMOTE_POD, 53)));
    let both = [(TO_STACK, reason::NEW), (TO_NETWORK, reason::NEW)];
    assert_eq!(points(&node), both);
}

#[test]
fn a_drop_is_reported_with_its_reason_whatever_the_aggregation() {
    let node = reporting(node());
    for _ in 0..2 {
        let mut skb = Skb::new(udp((POD, 40_000), (WORLD, 53)).frame(), LXC);
        let host = Host {
            node: &node,
            skb: &mut skb,
        };
        trace::dropped(&host, DropReason::NoNatMapping.code(), true);
        let [event] = events(&node)[..] else {
            panic!("one event");
        };
        assert_eq!((event.kind, event.detail), (kind::DROP, 167));
        assert_eq!(event.source_identity, 4711);
    }
}

/// In a lab of namespaces one node hands the very packet to another, notes and all.
#[test]
fn what_another_node_noted_is_not_believed() {
    let node = reporting(node());
    let transit = udp((REMOTE_POD, 40_000), (WORLD, 53));
    let mut skb = Skb::new(transit.frame(), ETH1);
    skb.tc_index = u16::MAX;
    node.cil_from_netdev(&mut skb).expect("passes");
    assert_eq!(skb.tc_index, 0);
    node.cil_to_netdev(&mut skb).expect("passes");
    assert_eq!(points(&node), [(TO_NETWORK, reason::UNKNOWN)]);
}
