//! "Fragmentation needed" about masqueraded flows, both ways: without it, path
//! MTU discovery of a pod finds a black hole.

use std::net::SocketAddrV4;

use lab_datapath_common::programs::{FROM_NETDEV, TO_NETDEV};
use lab_datapath_common::settings::flag;
use lab_datapath_common::{Direction, protocol};

use crate::datapath::{Datapath, LXC_MAC, NODE, Outcome, POD, POD_MAC, REMOTE_POD, WORLD, tuple};
use crate::frame::{ACK, Packet, echo_request, fragmentation_needed, tcp, udp};

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Sends `packet(pod)` to the world and gives the packet that left for it.
fn masqueraded(
    datapath: &mut Datapath,
    protocol: u8,
    pod: SocketAddrV4,
    world: SocketAddrV4,
    packet: impl Fn(SocketAddrV4) -> Packet,
) -> Packet {
    let out = datapath.run(TO_NETDEV, &packet(pod).frame());
    let entry = datapath
        .nat(&tuple(protocol, Direction::Out, pod, world))
        .expect("a mapping was made");
    let left = packet(SocketAddrV4::new(NODE, entry.port.number()));
    assert_eq!(out, Outcome::Passed(left.frame()));
    left
}

/// Lets a router quote that many transport bytes of what a pod sent, and compares.
fn quotes(datapath: &mut Datapath, sent: &Packet, left: &Packet, transport_bytes: usize) {
    let error = fragmentation_needed(WORLD, NODE, left.first_bytes(transport_bytes));
    let expected = fragmentation_needed(WORLD, POD, sent.first_bytes(transport_bytes));
    assert_eq!(
        datapath.run(FROM_NETDEV, &error.frame()),
        Outcome::Passed(expected.frame())
    );
}

#[test]
fn case_11_error_about_masqueraded_tcp_names_the_pod() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (SocketAddrV4::new(POD, 3030), SocketAddrV4::new(WORLD, 80));
    let packet = |from| tcp(from, world, ACK, b"data");
    let left = masqueraded(&mut datapath, protocol::TCP, pod, world, packet);
    quotes(&mut datapath, &packet(pod), &left, TCP_HEADER);
}

#[test]
fn case_12_error_about_masqueraded_udp_names_the_pod() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (SocketAddrV4::new(POD, 9999), SocketAddrV4::new(WORLD, 53));
    let packet = |from| udp(from, world, b"data");
    let left = masqueraded(&mut datapath, protocol::UDP, pod, world, packet);
    quotes(&mut datapath, &packet(pod), &left, UDP_HEADER);
}

#[test]
fn case_13_error_about_a_masqueraded_echo_names_the_pod() {
    let mut datapath = Datapath::masquerading();
    let sent = echo_request(POD, WORLD, 123, b"abcdefgh");
    let left = echo_request(NODE, WORLD, 123, b"abcdefgh");
    assert_eq!(
        datapath.run(TO_NETDEV, &sent.frame()),
        Outcome::Passed(left.frame())
    );
    quotes(&mut datapath, &sent, &left, 8);
}

#[test]
fn case_17_issue_33844_eight_bytes_of_tcp_hold_no_checksum_to_correct() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (SocketAddrV4::new(POD, 3030), SocketAddrV4::new(WORLD, 80));
    let packet = |from| tcp(from, world, ACK, b"data");
    let left = masqueraded(&mut datapath, protocol::TCP, pod, world, packet);
    quotes(&mut datapath, &packet(pod), &left, 8);
}

#[test]
fn issue_40827_the_errors_own_checksum_covers_every_word_that_changed() {
    let mut datapath = Datapath::masquerading();
    // Addresses, port and header checksum change in the quoted packet, its
    // transport checksum only where it is quoted; many ports, for many carries.
    for port in [1024, 3030, 9999, 20_000, 32_767] {
        let pod = SocketAddrV4::new(POD, port);
        let world = SocketAddrV4::new(WORLD, 80);
        let packet = |from| tcp(from, world, ACK, b"data");
        let left = masqueraded(&mut datapath, protocol::TCP, pod, world, packet);
        for quoted in [8, 12, 16, 18, TCP_HEADER, TCP_HEADER + 4] {
            quotes(&mut datapath, &packet(pod), &left, quoted);
        }
    }
}

#[test]
fn issue_12968_the_error_goes_straight_into_the_pod() {
    let mut datapath = Datapath::with(|settings| settings.flags &= !flag::HOST_LEGACY_ROUTING);
    let (pod, world) = (SocketAddrV4::new(POD, 3030), SocketAddrV4::new(WORLD, 80));
    let packet = |from| tcp(from, world, ACK, b"data");
    let left = masqueraded(&mut datapath, protocol::TCP, pod, world, packet);
    let error = fragmentation_needed(WORLD, NODE, left.first_bytes(TCP_HEADER));
    let expected = fragmentation_needed(WORLD, POD, packet(pod).first_bytes(TCP_HEADER));
    assert_eq!(
        datapath.run(FROM_NETDEV, &error.frame()),
        Outcome::Redirected(expected.forwarded().framed(POD_MAC, LXC_MAC))
    );
}

#[test]
fn case_15_an_error_that_a_pod_sends_leaves_from_the_node() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (SocketAddrV4::new(POD, 3030), SocketAddrV4::new(WORLD, 80));
    let request = |from| tcp(from, world, ACK, b"data");
    let left = masqueraded(&mut datapath, protocol::TCP, pod, world, request);
    let port = u16::from_be_bytes([left.first_bytes(2)[20], left.first_bytes(2)[21]]);
    let answer = |to| tcp(world, to, ACK, b"more");
    let sent = fragmentation_needed(POD, WORLD, answer(pod).first_bytes(TCP_HEADER));
    let node = SocketAddrV4::new(NODE, port);
    let expected = fragmentation_needed(NODE, WORLD, answer(node).first_bytes(TCP_HEADER));
    assert_eq!(
        datapath.run(TO_NETDEV, &sent.frame()),
        Outcome::Passed(expected.frame())
    );
}

#[test]
fn an_error_about_an_unknown_flow_is_the_hosts() {
    let mut datapath = Datapath::masquerading();
    let (node, world) = (SocketAddrV4::new(NODE, 40000), SocketAddrV4::new(WORLD, 80));
    let sent = tcp(node, world, ACK, b"data");
    let error = fragmentation_needed(REMOTE_POD, NODE, sent.first_bytes(TCP_HEADER)).frame();
    assert_eq!(
        datapath.run(FROM_NETDEV, &error),
        Outcome::Passed(error.clone())
    );
}
