//! ICMP errors about flows to services: each side is told of the flow as it knows it.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::programs::{FROM_CONTAINER, FROM_NETDEV, TO_CONTAINER, TO_NETDEV};
use lab_datapath_common::protocol;
use lab_datapath_common::settings::flag::{HOST_LEGACY_ROUTING, SERVICES};

use crate::datapath::{
    Datapath, LXC_MAC, NODE, Outcome, POD, POD_MAC, REMOTE_NODE, REMOTE_POD, WORLD,
};
use crate::frame::{ACK, Packet, fragmentation_needed, tcp, udp};
use crate::services::{CLUSTER_IP, Frontend, NODE_PORT};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 200), 50_000);
const AT_NODE: SocketAddrV4 = SocketAddrV4::new(NODE, 30_080);
const HERE: SocketAddrV4 = SocketAddrV4::new(POD, 8080);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(REMOTE_POD, 8080);
/// The client as another node's backend knows it.
const FROM_NODE: SocketAddrV4 = SocketAddrV4::new(NODE, CLIENT.port());

const FOR_CLUSTER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 80), 80);
const POD_AS_CLIENT: SocketAddrV4 = SocketAddrV4::new(POD, 40_000);

type Make = fn(SocketAddrV4, SocketAddrV4) -> Packet;

/// A packet's maker, and how much of it routers quote: down to eight bytes, which of TCP
/// hold no checksum (cilium/cilium#33844), and more than its header.
const QUOTED: [(u8, Make, &[usize]); 2] = [
    (
        protocol::TCP,
        |from, to| tcp(from, to, ACK, b"data"),
        &[8, 16, 18, 20, 24],
    ),
    (protocol::UDP, |from, to| udp(from, to, b"data"), &[8, 12]),
];

/// A flow of the client to a NodePort with that backend, as far as it came.
fn reached(protocol: u8, packet: Make, backend: SocketAddrV4) -> Datapath {
    let mut datapath = Datapath::with(|settings| {
        settings.flags |= SERVICES;
        if backend == HERE {
            settings.flags &= !HOST_LEGACY_ROUTING;
        }
    });
    let frontend = Frontend::new(2, protocol, AT_NODE);
    datapath.service(&frontend, NODE_PORT, &[backend]);
    let arrived = datapath.run(FROM_NETDEV, &packet(CLIENT, AT_NODE).frame());
    if backend == HERE {
        assert!(matches!(arrived, Outcome::Redirected(_)), "{arrived:?}");
        return datapath;
    }
    assert_eq!(arrived, Outcome::Passed(packet(CLIENT, ELSEWHERE).frame()));
    assert_eq!(
        datapath.run(TO_NETDEV, &packet(CLIENT, ELSEWHERE).frame()),
        Outcome::Passed(packet(FROM_NODE, ELSEWHERE).frame())
    );
    datapath
}

/// Runs `check` on a flow to a backend, with each packet and each length of quotation.
fn with_every_quotation(backend: SocketAddrV4, check: fn(&mut Datapath, Make, usize)) {
    for (protocol, packet, lengths) in QUOTED {
        let mut datapath = reached(protocol, packet, backend);
        for length in lengths {
            check(&mut datapath, packet, *length);
        }
    }
}

fn error(from: Ipv4Addr, to: SocketAddrV4, about: &Packet, length: usize) -> Packet {
    fragmentation_needed(from, *to.ip(), about.first_bytes(length))
}

fn passes(datapath: &mut Datapath, program: &str, sent: &Packet, expected: &Packet) {
    assert_eq!(
        datapath.run(program, &sent.frame()),
        Outcome::Passed(expected.frame())
    );
}

#[test]
fn bug_12968_an_answer_too_big_for_the_clients_side_is_told_the_backend() {
    with_every_quotation(HERE, |datapath, packet, length| {
        let sent = error(WORLD, AT_NODE, &packet(AT_NODE, CLIENT), length);
        let expected = error(WORLD, HERE, &packet(HERE, CLIENT), length);
        assert_eq!(
            datapath.run(FROM_NETDEV, &sent.frame()),
            Outcome::Redirected(expected.forwarded().framed(POD_MAC, LXC_MAC))
        );
    });
}

#[test]
fn bug_40827_a_backends_error_is_the_services_to_the_client() {
    with_every_quotation(HERE, |datapath, packet, length| {
        let sent = error(POD, CLIENT, &packet(CLIENT, HERE), length);
        let expected = error(NODE, CLIENT, &packet(CLIENT, AT_NODE), length);
        passes(datapath, TO_NETDEV, &sent, &expected);
    });
}

/// The router on the way stays who it is; the quoted flow is the client's own.
#[test]
fn an_error_from_the_way_to_another_nodes_backend_is_told_the_client() {
    with_every_quotation(ELSEWHERE, |datapath, packet, length| {
        let sent = error(
            REMOTE_NODE,
            FROM_NODE,
            &packet(FROM_NODE, ELSEWHERE),
            length,
        );
        let within = error(REMOTE_NODE, CLIENT, &packet(CLIENT, ELSEWHERE), length);
        passes(datapath, FROM_NETDEV, &sent, &within);
        let expected = error(REMOTE_NODE, CLIENT, &packet(CLIENT, AT_NODE), length);
        passes(datapath, TO_NETDEV, &within, &expected);
    });
}

/// The backend knows this node alone, by its address and the port of the flow.
#[test]
fn an_error_from_the_clients_side_is_told_another_nodes_backend() {
    with_every_quotation(ELSEWHERE, |datapath, packet, length| {
        let sent = error(WORLD, AT_NODE, &packet(AT_NODE, CLIENT), length);
        let within = error(WORLD, ELSEWHERE, &packet(ELSEWHERE, CLIENT), length);
        passes(datapath, FROM_NETDEV, &sent, &within);
        let expected = error(NODE, ELSEWHERE, &packet(ELSEWHERE, FROM_NODE), length);
        passes(datapath, TO_NETDEV, &within, &expected);
    });
}

/// What the pod sent past its sockets: a raw socket's packet, say. Errors come from the way,
/// or from the backend itself, straight or through the stack.
#[test]
fn an_error_about_what_a_pod_sent_past_its_sockets_names_the_service() {
    for (protocol, packet, lengths) in QUOTED {
        let mut datapath = Datapath::with(|settings| {
            settings.flags = settings.flags & !HOST_LEGACY_ROUTING | SERVICES;
        });
        let frontend = Frontend::new(1, protocol, FOR_CLUSTER);
        datapath.service(&frontend, CLUSTER_IP, &[ELSEWHERE]);
        let (asked, sent) = (
            packet(POD_AS_CLIENT, FOR_CLUSTER),
            packet(POD_AS_CLIENT, ELSEWHERE),
        );
        passes(&mut datapath, FROM_CONTAINER, &asked, &sent);
        for length in lengths {
            for (from, as_seen) in [(REMOTE_NODE, REMOTE_NODE), (REMOTE_POD, *FOR_CLUSTER.ip())] {
                let arrives = error(from, POD_AS_CLIENT, &sent, *length);
                let expected = error(as_seen, POD_AS_CLIENT, &asked, *length);
                datapath.endpoint(POD, 0);
                assert_eq!(
                    datapath.run(FROM_NETDEV, &arrives.frame()),
                    Outcome::Redirected(expected.clone().forwarded().framed(POD_MAC, LXC_MAC))
                );
                datapath.endpoint_here(POD);
                passes(&mut datapath, TO_CONTAINER, &arrives, &expected);
                // The stack's own, or once more on the same way.
                passes(&mut datapath, TO_CONTAINER, &expected, &expected);
            }
        }
    }
}

/// Whose socket was translated asked for the backend, as far as any packet says.
#[test]
fn an_error_about_a_backend_that_was_asked_for_itself_stays_as_it_is() {
    let mut datapath = Datapath::with(|settings| {
        settings.flags = settings.flags & !HOST_LEGACY_ROUTING | SERVICES;
    });
    let frontend = Frontend::new(1, protocol::TCP, FOR_CLUSTER);
    datapath.service(&frontend, CLUSTER_IP, &[ELSEWHERE]);
    let sent = tcp(POD_AS_CLIENT, ELSEWHERE, ACK, b"data");
    passes(&mut datapath, FROM_CONTAINER, &sent, &sent);
    let error = error(REMOTE_POD, POD_AS_CLIENT, &sent, 24);
    assert_eq!(
        datapath.run(FROM_NETDEV, &error.frame()),
        Outcome::Redirected(error.clone().forwarded().framed(POD_MAC, LXC_MAC))
    );
}
