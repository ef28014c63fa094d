//! How long flows live, and who opened them.

use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::{Direction, DropReason};

use crate::frame::{ACK, Datagram, FIN, RST, SYN, tcp, udp};
use crate::host::Node;
use crate::scene::{NODE, POD, START, WORLD, node, tuple};

fn packet(flags: u8) -> Datagram {
    tcp((POD, 40_000), (WORLD, 80), flags)
}

fn out(node: &Node, flags: u8) {
    node.pod_sends(&packet(flags)).expect("passes");
}

fn back(node: &Node, flags: u8) {
    let reply = packet(flags).reply().to((NODE, 40_000));
    node.arrives(&reply).expect("passes");
}

fn flow(node: &Node) -> CtEntry {
    let key = tuple(6, (POD, 40_000), (WORLD, 80), Direction::Out);
    node.tracked(key).expect("tracked")
}

#[test]
fn an_attempt_lives_60_seconds_a_connection_8000() {
    let node = node();
    out(&node, SYN);
    assert_eq!(flow(&node).lifetime, START + 60);
    back(&node, SYN | ACK);
    assert_eq!(flow(&node).lifetime, START + 60);
    node.wait(1);
    out(&node, ACK);
    assert_eq!(flow(&node).lifetime, START + 1 + 8000);
    assert_eq!((flow(&node).tx_packets, flow(&node).rx_packets), (2, 1));
}

#[test]
fn both_fins_leave_10_seconds_one_does_not() {
    let node = node();
    out(&node, SYN);
    out(&node, ACK);
    out(&node, FIN | ACK);
    assert_eq!(flow(&node).lifetime, START + 8000);
    back(&node, FIN | ACK);
    assert_eq!(flow(&node).lifetime, START + 10);
    node.wait(5);
    out(&node, ACK);
    assert_eq!(
        flow(&node).lifetime,
        START + 10,
        "the last ACK adds nothing"
    );
}

#[test]
fn a_reset_from_either_side_leaves_10_seconds() {
    for reset in [out, back] {
        let node = node();
        out(&node, SYN);
        out(&node, ACK);
        reset(&node, RST);
        assert_eq!(flow(&node).lifetime, START + 10);
    }
}

#[test]
fn a_closed_connection_is_reopened_by_syn() {
    let node = node();
    out(&node, SYN);
    out(&node, FIN | ACK);
    back(&node, FIN | ACK);
    out(&node, SYN);
    let entry = flow(&node);
    assert_eq!(
        (entry.lifetime, entry.tx_packets, entry.flags),
        (START + 60, 1, 0)
    );
    out(&node, ACK);
    assert_eq!(flow(&node).lifetime, START + 8000);
}

/// Only its opener starts a flow over; a SYN from the other side is no new flow.
#[test]
fn a_closed_connection_is_not_reopened_by_a_syn_from_the_other_side() {
    let node = node();
    out(&node, SYN);
    out(&node, FIN | ACK);
    back(&node, FIN | ACK);
    back(&node, SYN);
    assert_eq!(flow(&node).lifetime, START + 10);
    assert_eq!((flow(&node).tx_packets, flow(&node).rx_packets), (2, 2));
    assert_eq!(node.ct.borrow().len(), 1, "no IN entry");
}

#[test]
fn a_second_syn_of_an_open_connection_changes_nothing() {
    let node = node();
    out(&node, SYN);
    out(&node, ACK);
    out(&node, SYN);
    assert_eq!(
        (flow(&node).lifetime, flow(&node).tx_packets),
        (START + 8000, 3)
    );
}

#[test]
fn another_protocol_lives_60_seconds_from_its_last_packet() {
    let node = node();
    let sent = udp((POD, 40_000), (WORLD, 53));
    node.pod_sends(&sent).expect("passes");
    node.wait(59);
    node.arrives(&sent.reply().to((NODE, 40_000)))
        .expect("passes");
    let key = tuple(17, (POD, 40_000), (WORLD, 53), Direction::Out);
    let entry = node.tracked(key).expect("tracked");
    assert_eq!((entry.lifetime, entry.rx_packets), (START + 59 + 60, 1));
}

/// Else the flow's next packet would pass for a reply, and leave untranslated.
#[test]
fn a_reply_makes_an_evicted_flow_anew_as_opened_here() {
    let node = node();
    out(&node, SYN);
    out(&node, ACK);
    node.ct.borrow_mut().clear();
    back(&node, ACK);
    assert_eq!(flow(&node).rx_packets, 1);
    assert_eq!(node.ct.borrow().len(), 1, "no IN entry");
    let left = node.pod_sends(&packet(ACK)).expect("passes");
    assert_eq!(left, packet(ACK).from((NODE, 40_000)).frame());
}

#[test]
fn a_full_conntrack_map_drops_new_flows_and_keeps_old_ones() {
    let node = node();
    out(&node, SYN);
    node.ct_is_full.set(true);
    out(&node, ACK);
    let new = tcp((POD, 40_001), (WORLD, 80), SYN);
    assert_eq!(node.pod_sends(&new), Err(DropReason::CtCreateFailed));
}

#[test]
fn bytes_count_the_whole_frame_each_way() {
    let node = node();
    out(&node, SYN);
    back(&node, SYN | ACK);
    let length = packet(SYN).frame().len() as u64;
    assert_eq!(
        (flow(&node).tx_bytes, flow(&node).rx_bytes),
        (length, length)
    );
}
