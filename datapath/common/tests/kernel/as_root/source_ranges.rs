//! LoadBalancer addresses that are there for some clients alone.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::maps::METRIC_INGRESS;
use lab_datapath_common::programs::{FROM_CONTAINER, FROM_NETDEV};
use lab_datapath_common::service::{Service, flag, flag2};
use lab_datapath_common::settings::flag::SERVICES;
use lab_datapath_common::{DropReason, protocol};

use crate::datapath::{Datapath, Outcome, POD, REMOTE_POD};
use crate::frame::{ACK, Packet, SYN, tcp};
use crate::services::{Frontend, LOAD_BALANCER, NODE_PORT};

const RANGED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 241), 80);
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 242), 80);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(REMOTE_POD, 8080);
const ID: u16 = 3;

/// Two LoadBalancer addresses, of which one has a range; the other's is not its.
fn ranged(flags2: u8) -> Datapath {
    let mut datapath = Datapath::with(|settings| settings.flags |= SERVICES);
    let checked = Service {
        flags: LOAD_BALANCER.flags | flag::SOURCE_RANGE,
        flags2,
        ..LOAD_BALANCER
    };
    for (id, at) in [(ID, RANGED), (ID + 1, OTHER)] {
        let frontend = Frontend::new(id, protocol::TCP, at);
        datapath.service(&frontend, checked, &[ELSEWHERE]);
    }
    datapath.source_range(ID, Ipv4Addr::new(192, 168, 10, 192), 27);
    datapath.source_range(ID + 1, Ipv4Addr::new(10, 0, 0, 0), 8);
    datapath
}

fn from(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, last), 50_000)
}

fn passed(packet: &Packet) -> Outcome {
    Outcome::Passed(packet.frame())
}

/// Whether a client's packet becomes one to the backend; else it is dropped, for this
/// reason and no other.
#[track_caller]
fn asks(datapath: &mut Datapath, client: SocketAddrV4, at: SocketAddrV4, flags: u8) -> bool {
    let before = datapath.drops(DropReason::NotInSourceRange, METRIC_INGRESS);
    let outcome = datapath.run(FROM_NETDEV, &tcp(client, at, flags, b"").frame());
    let denied = datapath.drops(DropReason::NotInSourceRange, METRIC_INGRESS) - before;
    if outcome == Outcome::Dropped {
        assert_eq!(denied, 1, "dropped for another reason");
        return false;
    }
    assert_eq!(outcome, passed(&tcp(client, ELSEWHERE, flags, b"")));
    assert_eq!(denied, 0);
    true
}

#[test]
fn a_range_lets_its_own_clients_in_to_the_last_address() {
    let mut datapath = ranged(0);
    for (last, is_let_in) in [(191, false), (192, true), (223, true), (224, false)] {
        assert_eq!(
            asks(&mut datapath, from(last), RANGED, SYN),
            is_let_in,
            "{last}"
        );
    }
    assert_eq!(DropReason::NotInSourceRange.code(), 177);
}

#[test]
fn a_range_is_of_one_service() {
    let mut datapath = ranged(0);
    let ten = SocketAddrV4::new(Ipv4Addr::new(10, 10, 1, 200), 50_000);
    assert!(asks(&mut datapath, ten, OTHER, SYN));
    assert!(!asks(&mut datapath, ten, RANGED, SYN));
    assert!(!asks(&mut datapath, from(200), OTHER, SYN));
}

#[test]
fn denied_ranges_let_everyone_else_in() {
    let mut datapath = ranged(flag2::SOURCE_RANGE_DENY);
    assert!(!asks(&mut datapath, from(200), RANGED, SYN));
    assert!(asks(&mut datapath, from(224), RANGED, SYN));
}

/// Every packet is asked about, so that a range that goes ends what it let in.
#[test]
fn a_flow_that_was_let_in_ends_with_its_range() {
    let mut datapath = ranged(0);
    assert!(asks(&mut datapath, from(200), RANGED, SYN));
    assert!(asks(&mut datapath, from(200), RANGED, ACK));
    datapath.forget_source_range(ID, Ipv4Addr::new(192, 168, 10, 192), 27);
    assert!(!asks(&mut datapath, from(200), RANGED, ACK));
}

#[test]
fn neither_pods_nor_node_ports_are_asked_about() {
    let mut datapath = ranged(0);
    let pod = SocketAddrV4::new(POD, 40_000);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &tcp(pod, RANGED, SYN, b"").frame()),
        passed(&tcp(pod, ELSEWHERE, SYN, b""))
    );
    let port = SocketAddrV4::new(crate::datapath::NODE, 30_080);
    let frontend = Frontend::new(ID + 2, protocol::TCP, port);
    datapath.service(&frontend, NODE_PORT, &[ELSEWHERE]);
    assert!(asks(&mut datapath, from(10), port, SYN));
}
