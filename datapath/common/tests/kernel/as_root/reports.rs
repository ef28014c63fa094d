//! Events in the ring buffer, byte by byte.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::programs::{FROM_CONTAINER, TO_NETDEV};
use lab_datapath_common::settings::flag;
use lab_datapath_common::trace::{HEAD, Point, kind, reason};
use lab_datapath_common::{Address, DropReason};

use crate::datapath::{Datapath, NODE, Outcome, POD, REMOTE_NODE, WORLD};
use crate::frame::{SYN, tcp, udp};

const fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn reporting() -> Datapath {
    let mut datapath = Datapath::with(|settings| settings.flags |= flag::FLOWS);
    // The programs are shared with tests before this one.
    datapath.events();
    datapath
}

#[test]
fn an_event_has_the_packet_as_it_left_and_the_address_it_had() {
    let mut datapath = reporting();
    let sent = udp(at(POD, 40_000), at(WORLD, 53), b"query").frame();
    let Outcome::Passed(left) = datapath.run(TO_NETDEV, &sent) else {
        panic!("it was not passed");
    };
    let [event] = datapath.events()[..] else {
        panic!("one event");
    };
    assert_eq!(
        (event.kind, event.detail),
        (kind::TRACE, Point::ToNetwork as u8)
    );
    assert_eq!(event.original, Address::from(POD));
    assert_eq!(usize::from(event.captured), left.len());
    assert_eq!(event.head[..left.len()], left);
    assert_eq!(event.head[26..30], NODE.octets());
    assert!(event.time > 0);
}

#[test]
fn an_event_has_128_bytes_of_a_long_packet() {
    let mut datapath = reporting();
    let sent = udp(at(POD, 40_000), at(REMOTE_NODE, 53), &[7; 1000]).frame();
    assert_eq!(
        datapath.run(FROM_CONTAINER, &sent),
        Outcome::Passed(sent.clone())
    );
    let events = datapath.events();
    let points: Vec<_> = events
        .iter()
        .map(|event| (event.detail, event.reason))
        .collect();
    let expected = [
        (Point::FromEndpoint as u8, reason::UNKNOWN),
        (Point::ToStack as u8, reason::NEW),
    ];
    assert_eq!(points, expected);
    let event = &events[1];
    assert_eq!(usize::from(event.captured), HEAD);
    assert_eq!(event.head[..], sent[..HEAD]);
    assert_eq!(event.length as usize, sent.len());
    assert_eq!(event.destination_identity, 6, "the remote node's");
}

#[test]
fn a_drop_is_an_event() {
    let mut datapath = reporting();
    let sent = tcp(at(POD, 40_000), at(WORLD, 80), SYN, b"").frame();
    let cut = &sent[..14 + 20 + 2];
    assert_eq!(datapath.run(FROM_CONTAINER, cut), Outcome::Dropped);
    let [event] = datapath.events()[..] else {
        panic!("one event");
    };
    let code = DropReason::InvalidPacket.code();
    assert_eq!((event.kind, event.detail), (kind::DROP, code));
    assert_eq!(event.head[..cut.len()], *cut);
}

#[test]
fn without_flows_there_are_no_events() {
    let mut datapath = Datapath::masquerading();
    datapath.events();
    let sent = udp(at(POD, 40_000), at(WORLD, 53), b"query").frame();
    datapath.run(TO_NETDEV, &sent);
    assert_eq!(datapath.events(), []);
}
