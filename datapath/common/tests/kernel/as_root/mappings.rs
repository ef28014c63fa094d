//! Mappings over their life: kept, restored, replaced, exhausted.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::maps::METRIC_EGRESS;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::programs::{FROM_NETDEV, TO_NETDEV};
use lab_datapath_common::{Address, Direction, DropReason, Tuple, protocol};

use crate::datapath::{Datapath, NODE, Outcome, POD, WORLD, tuple};
use crate::frame::udp;

const FROM_POD: SocketAddrV4 = SocketAddrV4::new(POD, 3030);
const TO_WORLD: SocketAddrV4 = SocketAddrV4::new(WORLD, 53);

fn forward() -> Tuple {
    tuple(protocol::UDP, Direction::Out, FROM_POD, TO_WORLD)
}

fn reverse(node: SocketAddrV4) -> Tuple {
    tuple(protocol::UDP, Direction::In, TO_WORLD, node)
}

/// Sends the pod's datagram and gives the socket address it left from.
fn send(datapath: &mut Datapath) -> SocketAddrV4 {
    let out = datapath.run(TO_NETDEV, &udp(FROM_POD, TO_WORLD, b"query").frame());
    let NatEntry { address, port, .. } = datapath.nat(&forward()).expect("a mapping was made");
    let node = SocketAddrV4::new(address.into(), port.number());
    let expected = udp(node, TO_WORLD, b"query");
    assert_eq!(out, Outcome::Passed(expected.frame()));
    node
}

/// Lets the world answer, and compares what reaches the pod.
fn answer(datapath: &mut Datapath, node: SocketAddrV4) {
    assert_eq!(
        datapath.run(FROM_NETDEV, &udp(TO_WORLD, node, b"answer").frame()),
        Outcome::Passed(udp(TO_WORLD, FROM_POD, b"answer").frame())
    );
}

#[test]
fn case_21_issue_29305_an_evicted_reverse_entry_comes_back_with_the_next_packet() {
    let mut datapath = Datapath::masquerading();
    let node = send(&mut datapath);
    datapath.evict(&reverse(node));
    assert_eq!(send(&mut datapath), node, "the flow changed its port");
    answer(&mut datapath, node);
}

#[test]
fn an_evicted_forward_entry_comes_back_with_the_next_answer() {
    let mut datapath = Datapath::masquerading();
    let node = send(&mut datapath);
    datapath.evict(&forward());
    answer(&mut datapath, node);
    assert_eq!(send(&mut datapath), node, "the flow changed its port");
}

#[test]
fn case_23_a_mapping_to_an_address_that_the_node_lost_is_replaced() {
    let mut datapath = Datapath::masquerading();
    let before = send(&mut datapath);
    let moved = Ipv4Addr::new(192, 168, 10, 150);
    datapath.device(moved);
    let after = send(&mut datapath);
    assert_eq!((*before.ip(), *after.ip()), (NODE, moved));
    assert_eq!(datapath.nat(&reverse(before)), None);
    answer(&mut datapath, after);
}

#[test]
fn issue_33074_a_range_without_a_free_port_drops_and_counts() {
    let mut datapath = Datapath::with(|settings| settings.port_max = settings.port_min);
    let first = send(&mut datapath);
    assert_eq!(first.port(), 32768);
    let second = SocketAddrV4::new(POD, 3031);
    assert_eq!(
        datapath.run(TO_NETDEV, &udp(second, TO_WORLD, b"query").frame()),
        Outcome::Dropped
    );
    let counted = datapath.drops(DropReason::NoNatMapping, METRIC_EGRESS);
    assert_eq!(counted, 1);
    let of_first = [(forward(), first), (reverse(first), FROM_POD)];
    let mut entries = datapath.nat_entries();
    entries.sort_unstable_by_key(|(key, _)| key.direction);
    let entries: Vec<_> = entries
        .into_iter()
        .map(|(key, entry)| {
            let to = SocketAddrV4::new(entry.address.into(), entry.port.number());
            (key, to)
        })
        .collect();
    assert_eq!(entries, of_first, "the flow that failed left something");

    // A port is taken towards one remote address and port only.
    let elsewhere = SocketAddrV4::new(WORLD, 54);
    assert_eq!(
        datapath.run(TO_NETDEV, &udp(second, elsewhere, b"query").frame()),
        Outcome::Passed(udp(first, elsewhere, b"query").frame())
    );
}

#[test]
fn a_hundred_flows_from_one_port_number_get_a_hundred_ports() {
    let mut datapath = Datapath::with(|settings| settings.port_max = settings.port_min + 1023);
    for source_port in 1..=100 {
        let pod = SocketAddrV4::new(POD, source_port);
        let out = datapath.run(TO_NETDEV, &udp(pod, TO_WORLD, b"query").frame());
        assert!(
            matches!(out, Outcome::Passed(_)),
            "port {source_port} was dropped"
        );
    }
    let entries = datapath.nat_entries();
    let back: Vec<_> = entries
        .iter()
        .filter(|(key, _)| key.direction == Direction::In as u8)
        .collect();
    assert_eq!((back.len(), entries.len()), (100, 200));
    for (key, entry) in back {
        assert_eq!(entry.address, Address::from(POD));
        assert!((32768..32768 + 1024).contains(&key.destination_port.number()));
    }
}
