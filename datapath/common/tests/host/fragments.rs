//! Fragments: only the first one has ports.

use lab_datapath_common::{DropReason, settings::flag};

use crate::frame::{Datagram, echo_reply, echo_request, udp};
use crate::scene::{NODE, POD, REMOTE_POD, WORLD, node};

/// 200 bytes of payload, in fragments of 64.
fn large(mut datagram: Datagram) -> Datagram {
    datagram.data = (0..200).collect();
    datagram
}

#[test]
fn fragments_of_one_datagram_leave_with_one_source() {
    let node = node();
    let sent = large(udp((POD, 40_000), (WORLD, 53)));
    let expected = sent.clone().from((NODE, 40_000)).fragments(64);
    assert!(expected.len() > 3);
    let left: Result<Vec<_>, _> = sent
        .fragments(64)
        .into_iter()
        .map(|frame| node.pod_sends_frame(frame))
        .collect();
    assert_eq!(left, Ok(expected));
    let reply = large(sent.reply());
    let arrived: Result<Vec<_>, _> = reply
        .clone()
        .to((NODE, 40_000))
        .fragments(64)
        .into_iter()
        .map(|frame| node.frame_arrives(frame))
        .collect();
    assert_eq!(arrived, Ok(reply.fragments(64)));
}

#[test]
fn case_24_bug_25709_a_later_fragment_before_the_first_is_dropped() {
    let node = node();
    let sent = large(udp((POD, 40_000), (WORLD, 53))).fragments(64);
    let unknown = Err(DropReason::FragmentNotFound);
    assert_eq!(node.pod_sends_frame(sent[1].clone()), unknown);
    assert_eq!(DropReason::FragmentNotFound.code(), 175);
    node.pod_sends_frame(sent[0].clone()).expect("passes");
    node.pod_sends_frame(sent[1].clone())
        .expect("now it is known");
    let reply = large(udp((WORLD, 53), (NODE, 40_000))).fragments(64);
    assert_eq!(node.frame_arrives(reply[1].clone()), unknown);
}

#[test]
fn case_24_without_tracking_every_fragment_is_dropped() {
    let mut node = node();
    node.clear(flag::FRAGMENT_TRACKING);
    for frame in large(udp((POD, 40_000), (WORLD, 53))).fragments(64) {
        let dropped = Err(DropReason::FragmentsUnsupported);
        assert_eq!(node.pod_sends_frame(frame), dropped);
    }
    assert_eq!(DropReason::FragmentsUnsupported.code(), 157);
}

#[test]
fn fragments_of_another_datagram_are_not_taken_for_known() {
    let node = node();
    let sent = large(udp((POD, 40_000), (WORLD, 53)));
    node.pod_sends_frame(sent.fragments(64)[0].clone())
        .expect("passes");
    let mut other = sent.clone();
    other.id = 0x4321;
    let unknown = Err(DropReason::FragmentNotFound);
    assert_eq!(
        node.pod_sends_frame(other.fragments(64)[1].clone()),
        unknown
    );
}

#[test]
fn bug_45339_an_icmp_fragment_that_needs_translating_is_dropped() {
    for tracking in [true, false] {
        let mut node = node();
        if !tracking {
            node.clear(flag::FRAGMENT_TRACKING);
        }
        for frame in large(echo_request((POD, 7), WORLD)).fragments(64) {
            assert_eq!(node.pod_sends_frame(frame), Err(DropReason::InvalidPacket));
        }
        assert_eq!(DropReason::InvalidPacket.code(), 134);
    }
}

#[test]
fn an_icmp_fragment_that_needs_no_translating_passes() {
    let node = node();
    for frame in large(echo_request((POD, 7), REMOTE_POD)).fragments(64) {
        assert_eq!(node.pod_sends_frame(frame.clone()), Ok(frame));
    }
}

#[test]
fn a_large_ping_from_the_world_is_answered_in_fragments() {
    let node = node();
    let request = large(echo_request((WORLD, 7), POD));
    for frame in request.fragments(64) {
        assert_eq!(node.frame_arrives(frame.clone()), Ok(frame));
    }
    for frame in request.reply().fragments(64) {
        assert_eq!(node.pod_sends_frame(frame.clone()), Ok(frame));
    }
}

#[test]
fn bug_22624_a_large_ping_of_the_host_passes_both_ways() {
    let node = node();
    let request = large(echo_request((NODE, 7), WORLD));
    for frame in request.fragments(64) {
        assert_eq!(node.frame_leaves(frame.clone()), Ok(frame));
    }
    for frame in request.reply().fragments(64) {
        assert_eq!(node.frame_arrives(frame.clone()), Ok(frame));
    }
}

/// The request went out whole, the reply comes in fragments, to another
/// identifier than the pod's: it cannot be translated, and is not let through.
#[test]
fn a_fragmented_echo_reply_that_needs_translating_is_dropped() {
    let node = node();
    node.take(1, (WORLD, 0), 7);
    node.draws.borrow_mut().push_back(40_000);
    node.pod_sends(&echo_request((POD, 7), WORLD))
        .expect("passes");
    let reply = large(echo_reply(WORLD, (NODE, 40_000))).fragments(64);
    let dropped = Err(DropReason::InvalidPacket);
    assert_eq!(node.frame_arrives(reply[0].clone()), dropped);
    assert_eq!(node.frame_arrives(reply[1].clone()), dropped);
}
