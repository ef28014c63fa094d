//! Rule 1: the host's own packets, whose ports are reserved.

use lab_datapath_common::conntrack::flag;
use lab_datapath_common::{Direction, DropReason};

use crate::frame::{ACK, FIN, SYN, TIMESTAMP, echo_request, icmp, tcp, udp};
use crate::scene::{NODE, POD, START, WORLD, node, source_of, tuple};

#[test]
fn case_7_udp_from_the_host_keeps_its_port_and_is_tracked() {
    let node = node();
    let sent = udp((NODE, 50_000), (WORLD, 53));
    assert_eq!(node.host_sends(&sent), Ok(sent.frame()));
    let flow = tuple(17, (NODE, 50_000), (WORLD, 53), Direction::Out);
    assert_eq!(node.tracked(flow).map(|it| it.tx_packets), Some(1));
    let entry = node.mapped(flow).expect("reserved");
    assert_eq!((entry.address, entry.port.number()), (NODE.into(), 50_000));
    assert_eq!(entry.needs_ct, 1);
}

#[test]
fn rule_1_ports_below_the_range_are_nobodys_business() {
    let node = node();
    for (port, entries) in [(32_767, 0), (32_768, 2)] {
        let sent = udp((NODE, port), (WORLD, 53));
        assert_eq!(node.host_sends(&sent), Ok(sent.frame()));
        assert_eq!(node.nat.borrow().len(), entries, "port {port}");
    }
}

#[test]
fn case_9_an_icmp_timestamp_of_the_host_is_dropped() {
    let node = node();
    let sent = icmp(NODE, WORLD, TIMESTAMP, 0);
    let dropped = Err(DropReason::NatUnsupportedProtocol);
    assert_eq!(node.host_sends(&sent), dropped);
}

#[test]
fn the_host_gives_way_to_a_pod_that_has_the_port() {
    let node = node();
    let pod = udp((POD, 50_000), (WORLD, 53));
    node.pod_sends(&pod).expect("passes");
    let host = udp((NODE, 50_000), (WORLD, 53));
    let left = node.host_sends(&host).expect("passes");
    let (address, port) = source_of(&left);
    assert_eq!(address, NODE);
    assert_ne!(port, 50_000);
    assert_eq!(left, host.clone().from((NODE, port)).frame());
    let reply = host.clone().from((NODE, port)).reply();
    assert_eq!(node.arrives(&reply), Ok(host.reply().frame()));
    let reply = pod.clone().from((NODE, 50_000)).reply();
    assert_eq!(node.arrives(&reply), Ok(pod.reply().frame()));
}

#[test]
fn a_pod_gives_way_to_the_host_that_has_the_port() {
    let node = node();
    let host = tcp((NODE, 50_000), (WORLD, 80), SYN);
    node.host_sends(&host).expect("passes");
    let pod = tcp((POD, 50_000), (WORLD, 80), SYN);
    let left = node.pod_sends(&pod).expect("passes");
    assert_ne!(source_of(&left).1, 50_000);
}

/// Both directions are in the entry, or a connection of the host that both sides
/// closed would hold its port for as long as an open one.
#[test]
fn a_connection_of_the_host_closes_with_the_fin_of_both_sides() {
    let node = node();
    let host = |flags| tcp((NODE, 50_000), (WORLD, 80), flags);
    node.host_sends(&host(SYN)).expect("passes");
    node.arrives(&host(SYN | ACK).reply()).expect("passes");
    node.host_sends(&host(FIN | ACK)).expect("passes");
    node.arrives(&host(FIN | ACK).reply()).expect("passes");
    let flow = tuple(6, (NODE, 50_000), (WORLD, 80), Direction::Out);
    let entry = node.tracked(flow).expect("tracked");
    let closed = flag::RX_CLOSING | flag::TX_CLOSING;
    assert_eq!(entry.flags & closed, closed);
    assert_eq!((entry.tx_packets, entry.rx_packets), (2, 2));
    assert_eq!(entry.lifetime, START + 10);
}

#[test]
fn a_ping_of_the_host_keeps_its_identifier() {
    let node = node();
    let sent = echo_request((NODE, 123), WORLD);
    assert_eq!(node.host_sends(&sent), Ok(sent.frame()));
    assert_eq!(node.arrives(&sent.reply()), Ok(sent.reply().frame()));
    let flow = tuple(1, (NODE, 123), (WORLD, 0), Direction::Out);
    let counts = node.tracked(flow).map(|it| (it.tx_packets, it.rx_packets));
    assert_eq!(counts, Some((1, 1)));
}

#[test]
fn what_comes_for_the_host_itself_is_left_alone() {
    let node = node();
    let request = tcp((WORLD, 50_000), (NODE, 22), SYN);
    assert_eq!(node.arrives(&request), Ok(request.frame()));
    assert!(node.ct.borrow().is_empty() && node.nat.borrow().is_empty());
}
