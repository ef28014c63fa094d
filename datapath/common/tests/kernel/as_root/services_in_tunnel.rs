//! Services per packet whose backend is behind a tunnel. A test run's packet has no outer
//! header, so it takes up what comes out of the tunnel where `cil_from_overlay` hands it on.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::programs::{
    FROM_CONTAINER, FROM_HOST, FROM_NETDEV, TO_NETDEV, TO_OVERLAY, UNMASQUERADE,
};
use lab_datapath_common::settings::flag::{HOST_LEGACY_ROUTING, SERVICES, TUNNEL};
use lab_datapath_common::{Direction, protocol};

use crate::datapath::{Datapath, NODE, Outcome, POD, REMOTE_NODE, REMOTE_POD, tuple};
use crate::frame::{ACK, Packet, SYN, fragmentation_needed, tcp, udp, udp_without_checksum};
use crate::services::{Frontend, NODE_PORT};

/// This node, among the pods (`cilium_host`).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 200), 50_000);
const AT_NODE: SocketAddrV4 = SocketAddrV4::new(NODE, 30_080);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(REMOTE_POD, 8080);
/// The client as the backend knows it.
const FROM_GATEWAY: SocketAddrV4 = SocketAddrV4::new(GATEWAY, CLIENT.port());

type Make = fn(SocketAddrV4, SocketAddrV4) -> Packet;

const OF_EVERY_KIND: [(u8, Make); 3] = [
    (protocol::TCP, |from, to| tcp(from, to, ACK, b"odd")),
    (protocol::UDP, |from, to| udp(from, to, b"odd")),
    (protocol::UDP, |from, to| {
        udp_without_checksum(from, to, b"odd")
    }),
];

/// A node with a NodePort. Every device is loopback here: `at` says whose address it has.
fn tunnelling(protocol: u8, routing: u32) -> Datapath {
    let mut datapath = Datapath::with(|settings| {
        settings.flags = settings.flags & !HOST_LEGACY_ROUTING | SERVICES | TUNNEL | routing;
        settings.tunnel_ifindex = 1;
        settings.host_ifindex = 4244;
        settings.tunnel_mtu = 128;
    });
    datapath.behind_tunnel(REMOTE_POD, 9214, REMOTE_NODE);
    let frontend = Frontend::new(2, protocol, AT_NODE);
    datapath.service(&frontend, NODE_PORT, &[ELSEWHERE]);
    datapath
}

/// Runs a packet at the device with that address.
fn at(datapath: &mut Datapath, address: Ipv4Addr, program: &str, packet: &Packet) -> Outcome {
    datapath.device(address);
    datapath.run(program, &packet.frame())
}

fn passed(packet: &Packet) -> Outcome {
    Outcome::Passed(packet.frame())
}

fn redirected(packet: &Packet) -> Outcome {
    Outcome::Redirected(packet.frame())
}

/// The client's packet, as it enters the tunnel.
fn enters(datapath: &mut Datapath, packet: Make) {
    let (sent, to_backend) = (packet(CLIENT, AT_NODE), packet(CLIENT, ELSEWHERE));
    let outcome = at(datapath, NODE, FROM_NETDEV, &sent);
    assert_eq!(outcome, passed(&to_backend));
    let outcome = at(datapath, GATEWAY, FROM_HOST, &to_backend);
    assert_eq!(outcome, redirected(&to_backend));
    let outcome = at(datapath, GATEWAY, TO_OVERLAY, &to_backend);
    assert_eq!(outcome, passed(&packet(FROM_GATEWAY, ELSEWHERE)));
}

#[test]
fn a_node_port_reaches_a_backend_through_the_tunnel_and_its_answer_the_client() {
    for (protocol, packet) in OF_EVERY_KIND {
        let mut datapath = tunnelling(protocol, HOST_LEGACY_ROUTING);
        enters(&mut datapath, packet);
        let answer = packet(ELSEWHERE, FROM_GATEWAY);
        let to_client = packet(ELSEWHERE, CLIENT);
        let outcome = at(&mut datapath, GATEWAY, UNMASQUERADE, &answer);
        assert_eq!(outcome, redirected(&to_client), "to the node's stack");
        let outcome = at(&mut datapath, NODE, TO_NETDEV, &to_client);
        assert_eq!(outcome, passed(&packet(AT_NODE, CLIENT)));
    }
}

/// `tunnel_mtu` bytes fit, and not one more.
#[test]
fn past_the_stack_goes_what_fits_into_the_tunnel() {
    let mut datapath = tunnelling(protocol::UDP, 0);
    let packet = |to, payload: usize| udp(CLIENT, to, &vec![7; payload]);
    assert_eq!(
        at(&mut datapath, NODE, FROM_NETDEV, &packet(AT_NODE, 100)),
        redirected(&packet(ELSEWHERE, 100).forwarded())
    );
    assert_eq!(
        at(&mut datapath, NODE, FROM_NETDEV, &packet(AT_NODE, 101)),
        passed(&packet(ELSEWHERE, 101))
    );
}

/// What the stack then says of it is about the service.
#[test]
fn the_client_is_told_of_the_tunnels_mtu() {
    let mut datapath = tunnelling(protocol::TCP, HOST_LEGACY_ROUTING);
    let packet = |to| tcp(CLIENT, to, ACK, b"data");
    at(&mut datapath, NODE, FROM_NETDEV, &packet(AT_NODE));
    let error = |to| fragmentation_needed(NODE, *CLIENT.ip(), packet(to).first_bytes(24));
    assert_eq!(
        at(&mut datapath, NODE, TO_NETDEV, &error(ELSEWHERE)),
        passed(&error(AT_NODE))
    );
}

#[test]
fn errors_are_told_each_side_as_it_knows_the_flow() {
    let packet: Make = |from, to| tcp(from, to, ACK, b"data");
    let mut datapath = tunnelling(protocol::TCP, HOST_LEGACY_ROUTING);
    enters(&mut datapath, packet);
    let error = |from, to: SocketAddrV4, about: Packet| {
        fragmentation_needed(from, *to.ip(), about.first_bytes(20))
    };
    let remote = error(REMOTE_NODE, FROM_GATEWAY, packet(FROM_GATEWAY, ELSEWHERE));
    let within = error(REMOTE_NODE, CLIENT, packet(CLIENT, ELSEWHERE));
    let outcome = at(&mut datapath, GATEWAY, UNMASQUERADE, &remote);
    assert_eq!(outcome, redirected(&within));
    let outcome = at(&mut datapath, NODE, TO_NETDEV, &within);
    let to_client = error(REMOTE_NODE, CLIENT, packet(CLIENT, AT_NODE));
    assert_eq!(outcome, passed(&to_client));

    let clients = error(*CLIENT.ip(), ELSEWHERE, packet(ELSEWHERE, CLIENT));
    let outcome = at(&mut datapath, GATEWAY, TO_OVERLAY, &clients);
    let to_backend = error(GATEWAY, ELSEWHERE, packet(ELSEWHERE, FROM_GATEWAY));
    assert_eq!(outcome, passed(&to_backend));
}

#[test]
fn the_nodes_own_ports_are_reserved_in_the_tunnel() {
    let mut datapath = tunnelling(protocol::TCP, HOST_LEGACY_ROUTING);
    let own = tcp(FROM_GATEWAY, ELSEWHERE, SYN, b"");
    let outcome = at(&mut datapath, GATEWAY, TO_OVERLAY, &own);
    assert_eq!(outcome, passed(&own));
    let request = tcp(CLIENT, AT_NODE, SYN, b"");
    at(&mut datapath, NODE, FROM_NETDEV, &request);
    let request = tcp(CLIENT, ELSEWHERE, SYN, b"");
    let outcome = at(&mut datapath, GATEWAY, TO_OVERLAY, &request);
    let flow = tuple(protocol::TCP, Direction::Out, CLIENT, ELSEWHERE);
    let port = datapath.nat(&flow).expect("a mapping was made").port;
    assert_ne!(port.number(), CLIENT.port(), "two flows have one port");
    let from = SocketAddrV4::new(GATEWAY, port.number());
    assert_eq!(outcome, passed(&tcp(from, ELSEWHERE, SYN, b"")));
}

#[test]
fn later_fragments_follow_the_first_into_the_tunnel() {
    let mut datapath = tunnelling(protocol::UDP, HOST_LEGACY_ROUTING);
    let pieces = |from, to| udp(from, to, &[7; 56]).fragments(32);
    let (sent, to_backend) = (pieces(CLIENT, AT_NODE), pieces(CLIENT, ELSEWHERE));
    for (sent, expected) in sent.iter().zip(&to_backend) {
        let outcome = at(&mut datapath, NODE, FROM_NETDEV, sent);
        assert_eq!(outcome, passed(expected));
    }
    for (sent, expected) in to_backend.iter().zip(&pieces(FROM_GATEWAY, ELSEWHERE)) {
        let outcome = at(&mut datapath, GATEWAY, TO_OVERLAY, sent);
        assert_eq!(outcome, passed(expected));
    }
}

#[test]
fn what_pods_send_takes_no_port() {
    let mut datapath = tunnelling(protocol::TCP, 0);
    let sent = tcp(SocketAddrV4::new(POD, 40_000), ELSEWHERE, SYN, b"");
    let entered = sent.clone().forwarded();
    let outcome = at(&mut datapath, NODE, FROM_CONTAINER, &sent);
    assert_eq!(outcome, redirected(&entered));
    let outcome = at(&mut datapath, GATEWAY, TO_OVERLAY, &entered);
    assert_eq!(outcome, passed(&entered));
    assert_eq!(datapath.nat_entries(), []);
}
