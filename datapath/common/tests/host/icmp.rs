//! ICMP: echo, errors about translated flows both ways, everything else.

use lab_datapath_common::{Direction, DropReason};

use crate::frame::{
    Checksum, DEST_UNREACH, Datagram, ECHO_REPLY, FRAG_NEEDED, REDIRECT, SYN, TIME_EXCEEDED,
    TIMESTAMP, echo_reply, echo_request, icmp, icmp_error, tcp, udp,
};
use crate::host::Node;
use crate::scene::{NODE, POD, ROUTER, START, WORLD, node, source_of, tuple};

/// Sends `sent` from the pod through NAT port `port`, and returns it as the world
/// sees it.
fn translated(node: &Node, sent: &Datagram, port: u16) -> Datagram {
    let first = u32::from(port - 32_768) * 2;
    node.draws.borrow_mut().push_back(first);
    let outside = sent.clone().from((NODE, port));
    assert_eq!(node.pod_sends(sent), Ok(outside.frame()));
    outside
}

/// An error about `outside` arrives at the node; the pod gets the same error
/// about `inside`.
fn reaches_the_pod(node: &Node, outside: &Datagram, inside: &Datagram, quoted: usize) {
    let arriving = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, outside, quoted);
    let mut expected = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, inside, quoted);
    if quoted == 17 && inside.protocol() == 6 {
        // Half of the quoted checksum cannot be corrected.
        let last = expected.data.len() - 1;
        expected.data[last] = arriving.data[last];
    }
    assert_eq!(node.arrives(&arriving), Ok(expected.frame()));
}

#[test]
fn case_11_frag_needed_about_tcp_reaches_the_pod() {
    let node = node();
    let sent = tcp((POD, 3030), (WORLD, 80), SYN);
    let outside = translated(&node, &sent, 32_768);
    reaches_the_pod(&node, &outside, &sent, usize::MAX);
}

#[test]
fn case_12_frag_needed_about_udp_reaches_the_pod() {
    let node = node();
    let sent = udp((POD, 9999), (WORLD, 53));
    let outside = translated(&node, &sent, 32_768);
    reaches_the_pod(&node, &outside, &sent, usize::MAX);
}

#[test]
fn case_13_frag_needed_about_an_echo_reaches_the_pod() {
    let node = node();
    node.take(1, (WORLD, 0), 123);
    node.draws.borrow_mut().push_back(40_000);
    let sent = echo_request((POD, 123), WORLD);
    let outside = sent.clone().from((NODE, 40_000));
    assert_eq!(node.pod_sends(&sent), Ok(outside.frame()));
    reaches_the_pod(&node, &outside, &sent, usize::MAX);
}

#[test]
fn case_15_frag_needed_sent_by_a_pod_leaves_as_the_node() {
    let node = node();
    let sent = tcp((POD, 3030), (WORLD, 80), SYN);
    let outside = translated(&node, &sent, 32_768);
    let leaving = icmp_error(POD, DEST_UNREACH, FRAG_NEEDED, &sent.reply(), 28);
    let expected = icmp_error(NODE, DEST_UNREACH, FRAG_NEEDED, &outside.reply(), 28);
    assert_eq!(node.pod_sends(&leaving), Ok(expected.frame()));
}

#[test]
fn case_15_also_about_an_echo_reply() {
    let node = node();
    node.take(1, (WORLD, 0), 123);
    node.draws.borrow_mut().push_back(40_000);
    let sent = echo_request((POD, 123), WORLD);
    node.pod_sends(&sent).expect("passes");
    let leaving = icmp_error(POD, TIME_EXCEEDED, 1, &echo_reply(WORLD, (POD, 123)), 28);
    let outside = echo_reply(WORLD, (NODE, 40_000));
    let expected = icmp_error(NODE, TIME_EXCEEDED, 1, &outside, 28);
    assert_eq!(node.pod_sends(&leaving), Ok(expected.frame()));
}

/// Routers may quote no more than eight bytes of TCP: ports, but no checksum.
#[test]
fn case_17_bug_33844_eight_bytes_of_tcp_are_enough() {
    let node = node();
    let sent = tcp((POD, 3030), (WORLD, 80), SYN);
    let outside = translated(&node, &sent, 32_768);
    reaches_the_pod(&node, &outside, &sent, 8);
}

#[test]
fn bug_12968_every_error_code_reaches_the_pod() {
    let node = node();
    let sent = udp((POD, 9999), (WORLD, 53));
    let outside = translated(&node, &sent, 40_001);
    let unreachable = (0..=15).map(|code| (DEST_UNREACH, code));
    for (kind, code) in unreachable.chain([(TIME_EXCEEDED, 0), (TIME_EXCEEDED, 1)]) {
        let arriving = icmp_error(ROUTER, kind, code, &outside, 64);
        let expected = icmp_error(ROUTER, kind, code, &sent, 64);
        assert_eq!(
            node.arrives(&arriving),
            Ok(expected.frame()),
            "{kind}/{code}"
        );
    }
}

/// The quoted packet may be cut anywhere: its checksum may be there or not, with
/// an even or odd number of bytes after it.
#[test]
fn bug_40827_the_error_checksum_is_right_however_much_is_quoted() {
    let node = node();
    let mut with_options = tcp((POD, 3031), (WORLD, 80), SYN);
    with_options.options = vec![1; 8];
    let kinds = [
        tcp((POD, 3030), (WORLD, 80), SYN),
        udp((POD, 9999), (WORLD, 53)),
        with_options,
    ];
    for sent in kinds {
        let outside = translated(&node, &sent, 51_234);
        for quoted in 8..=48 {
            reaches_the_pod(&node, &outside, &sent, quoted);
        }
        node.nat.borrow_mut().clear();
    }
}

#[test]
fn a_quoted_udp_packet_without_checksum_keeps_none() {
    let node = node();
    let mut sent = udp((POD, 9999), (WORLD, 53));
    sent.checksum = Checksum::Absent;
    let outside = translated(&node, &sent, 32_768);
    reaches_the_pod(&node, &outside, &sent, 64);
}

/// A checksum that comes to zero is sent as 0xffff, or it would read as "none"
/// (RFC 768), in the quoted packet too.
#[test]
fn a_quoted_udp_checksum_never_becomes_none() {
    let node = node();
    let mut sent = udp((POD, 9999), (WORLD, 53));
    sent.data = vec![0, 0];
    let checksum = sent.frame()[40..42].to_vec();
    sent.data = checksum;
    assert_eq!(sent.frame()[40..42], [0xff, 0xff], "made to be so");
    let outside = translated(&node, &sent, 32_768);
    reaches_the_pod(&node, &outside, &sent, 64);
}

#[test]
fn an_error_about_no_translated_flow_stays_as_it_is() {
    let node = node();
    let cause = udp((NODE, 40_000), (WORLD, 53));
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &cause, 64);
    assert_eq!(node.arrives(&error), Ok(error.frame()));
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &cause, 7);
    assert_eq!(
        node.arrives(&error),
        Ok(error.frame()),
        "no ports to look up"
    );
    let error = icmp_error(POD, DEST_UNREACH, 3, &udp((WORLD, 53), (POD, 9999)), 64);
    assert_eq!(node.pod_sends(&error), Ok(error.frame()));
}

/// What follows the datagram is Ethernet padding, whatever it looks like.
#[test]
fn padding_is_not_taken_for_a_quotation() {
    let node = node();
    let sent = udp((POD, 9999), (WORLD, 53));
    let outside = translated(&node, &sent, 32_768);
    let cut = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &outside, 7);
    let whole = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &outside, 64).frame();
    let mut padded = cut.frame();
    padded.extend(&whole[padded.len()..]);
    assert_eq!(node.arrives(&cut), Ok(cut.frame()));
    assert_eq!(node.frame_arrives(padded.clone()), Ok(padded));
}

#[test]
fn an_unknown_code_from_a_pod_is_dropped_and_from_outside_left() {
    let node = node();
    for (kind, code) in [(DEST_UNREACH, 16), (TIME_EXCEEDED, 2)] {
        let error = icmp_error(POD, kind, code, &udp((WORLD, 53), (POD, 9999)), 64);
        assert_eq!(node.pod_sends(&error), Err(DropReason::UnknownIcmpCode));
        let error = icmp_error(ROUTER, kind, code, &udp((NODE, 40_000), (WORLD, 53)), 64);
        assert_eq!(node.arrives(&error), Ok(error.frame()));
    }
}

#[test]
fn other_types_from_a_pod_are_dropped_redirects_and_stray_replies_pass() {
    let node = node();
    for kind in [TIMESTAMP, 4, 9, 10, 12, 14, 17, 42] {
        let dropped = Err(DropReason::NatUnsupportedProtocol);
        assert_eq!(
            node.pod_sends(&icmp(POD, WORLD, kind, 0)),
            dropped,
            "{kind}"
        );
    }
    for kind in [REDIRECT, ECHO_REPLY] {
        let sent = icmp(POD, WORLD, kind, 0);
        assert_eq!(node.pod_sends(&sent), Ok(sent.frame()), "{kind}");
    }
}

#[test]
fn other_types_towards_a_pod_that_stay_in_the_cluster_are_not_dropped() {
    let node = node();
    let sent = icmp(POD, crate::scene::REMOTE_POD, TIMESTAMP, 0);
    assert_eq!(node.pod_sends(&sent), Ok(sent.frame()));
}

#[test]
fn an_echo_keeps_any_identifier_also_below_the_port_range() {
    let node = node();
    for id in [0, 1, 123, 32_767, 65_535] {
        let sent = echo_request((POD, id), WORLD);
        let outside = sent.clone().from((NODE, id));
        assert_eq!(node.pod_sends(&sent), Ok(outside.frame()), "id {id}");
        assert_eq!(node.arrives(&outside.reply()), Ok(sent.reply().frame()));
    }
}

#[test]
fn two_pods_with_one_identifier_get_their_own_replies() {
    let node = node();
    let first = echo_request((POD, 7), WORLD);
    let second = echo_request((crate::scene::NEIGHBOUR_POD, 7), WORLD);
    node.pod_sends(&first).expect("passes");
    let left = node.pod_sends(&second).expect("passes");
    let (_, id) = source_of(&left);
    assert_ne!(id, 7);
    let reply = echo_reply(WORLD, (NODE, id));
    assert_eq!(node.arrives(&reply), Ok(second.reply().frame()));
    let reply = echo_reply(WORLD, (NODE, 7));
    assert_eq!(node.arrives(&reply), Ok(first.reply().frame()));
}

/// A pod that answers the world's ping sends no request of its own.
#[test]
fn a_reply_to_the_worlds_ping_keeps_the_pod_address() {
    let node = node();
    let request = echo_request((WORLD, 7), POD);
    node.arrives(&request).expect("passes");
    assert_eq!(
        node.pod_sends(&request.reply()),
        Ok(request.reply().frame())
    );
}

/// So that the agent's collector can tell (cilium/cilium#12625 is tested with it).
#[test]
fn an_echo_lives_sixty_seconds_in_conntrack() {
    let node = node();
    node.pod_sends(&echo_request((POD, 7), WORLD))
        .expect("passes");
    let flow = tuple(1, (POD, 7), (WORLD, 0), Direction::Out);
    assert_eq!(node.tracked(flow).map(|it| it.lifetime), Some(START + 60));
}

#[test]
fn an_icmp_header_cut_short_is_dropped() {
    let node = node();
    let mut sent = icmp(POD, WORLD, 8, 0).frame();
    sent.truncate(14 + 20 + 7);
    assert_eq!(node.pod_sends_frame(sent), Err(DropReason::InvalidPacket));
}
