//! Services per packet: what comes from outside for one, what a pod sends to one past its
//! sockets, and what answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::maps::{METRIC_EGRESS, METRIC_INGRESS};
use lab_datapath_common::programs::{FROM_CONTAINER, FROM_NETDEV, TO_CONTAINER, TO_NETDEV};
use lab_datapath_common::service::{Service, flag, flag2, packet, scope};
use lab_datapath_common::settings::flag::{HOST_LEGACY_ROUTING, SERVICES};
use lab_datapath_common::{Direction, DropReason, endpoint, protocol};

use crate::datapath::{Datapath, LXC_MAC, NODE, Outcome, POD, POD_MAC, REMOTE_POD, tuple};
use crate::frame::{ACK, Packet, SYN, tcp, udp, udp_without_checksum};
use crate::services::{CLUSTER_IP, Frontend, LOAD_BALANCER, NODE_PORT};

/// The source that a pod sees when it reaches itself through a service.
const ITSELF: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 200), 50_000);
const AT_NODE: SocketAddrV4 = SocketAddrV4::new(NODE, 30_080);
const FOR_CLUSTER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 80), 80);
const HERE: SocketAddrV4 = SocketAddrV4::new(POD, 8080);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(REMOTE_POD, 8080);
/// A pod of this node, beside the one that every test has.
const NEIGHBOUR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 12), 8080);
const POD_AS_CLIENT: SocketAddrV4 = SocketAddrV4::new(POD, 40_000);

/// A node that knows services and leaves forwarding to the stack.
fn serving() -> Datapath {
    Datapath::with(|settings| settings.flags |= SERVICES)
}

/// One that puts packets into a pod's namespace itself.
fn delivering() -> Datapath {
    let mut datapath = Datapath::with(|settings| {
        settings.flags |= SERVICES;
        settings.flags &= !HOST_LEGACY_ROUTING;
    });
    datapath.endpoint(*NEIGHBOUR.ip(), 0);
    datapath
}

fn node_port(protocol: u8) -> Frontend {
    Frontend::new(2, protocol, AT_NODE)
}

fn cluster_ip() -> Frontend {
    Frontend::new(1, protocol::TCP, FOR_CLUSTER)
}

fn passed(packet: &Packet) -> Outcome {
    Outcome::Passed(packet.frame())
}

/// Into a pod's namespace, one hop on.
fn delivered(packet: Packet) -> Outcome {
    Outcome::Redirected(packet.forwarded().framed(POD_MAC, LXC_MAC))
}

fn syn(from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    tcp(from, to, SYN, b"")
}

fn syn_ack(from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    tcp(from, to, SYN | ACK, b"")
}

/// What `make` gives for both ends, and whether it passes a program as `expected`.
type Make = fn(SocketAddrV4, SocketAddrV4) -> Packet;

const OF_EVERY_KIND: [(u8, Make); 3] = [
    (protocol::TCP, |from, to| tcp(from, to, ACK, b"odd")),
    (protocol::UDP, |from, to| udp(from, to, b"odd")),
    (protocol::UDP, |from, to| {
        udp_without_checksum(from, to, b"odd")
    }),
];

#[test]
fn a_node_port_with_a_backend_here_keeps_the_client() {
    for (protocol, packet) in OF_EVERY_KIND {
        let mut datapath = delivering();
        datapath.service(&node_port(protocol), NODE_PORT, &[HERE]);
        assert_eq!(
            datapath.run(FROM_NETDEV, &packet(CLIENT, AT_NODE).frame()),
            delivered(packet(CLIENT, HERE))
        );
        assert_eq!(
            datapath.run(FROM_CONTAINER, &packet(HERE, CLIENT).frame()),
            passed(&packet(HERE, CLIENT)),
            "who answers knows no service"
        );
        assert_eq!(
            datapath.run(TO_NETDEV, &packet(HERE, CLIENT).frame()),
            passed(&packet(AT_NODE, CLIENT))
        );
        assert_eq!(datapath.nat_entries(), [], "no port is taken");
    }
}

#[test]
fn a_node_port_with_a_backend_elsewhere_goes_and_comes_back_under_the_nodes_address() {
    for (protocol, packet) in OF_EVERY_KIND {
        let mut datapath = serving();
        datapath.service(&node_port(protocol), NODE_PORT, &[ELSEWHERE]);
        let node = SocketAddrV4::new(NODE, CLIENT.port());
        for (program, from, expected) in [
            (
                FROM_NETDEV,
                packet(CLIENT, AT_NODE),
                packet(CLIENT, ELSEWHERE),
            ),
            (
                TO_NETDEV,
                packet(CLIENT, ELSEWHERE),
                packet(node, ELSEWHERE),
            ),
            (
                FROM_NETDEV,
                packet(ELSEWHERE, node),
                packet(ELSEWHERE, CLIENT),
            ),
            (
                TO_NETDEV,
                packet(ELSEWHERE, CLIENT),
                packet(AT_NODE, CLIENT),
            ),
        ] {
            assert_eq!(datapath.run(program, &from.frame()), passed(&expected));
        }
    }
}

/// Ports below the range may be the node's own.
#[test]
fn on_the_way_to_another_node_a_port_outside_the_range_becomes_one_within() {
    let mut datapath = serving();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[ELSEWHERE]);
    let client = SocketAddrV4::new(*CLIENT.ip(), 1024);
    datapath.run(FROM_NETDEV, &syn(client, AT_NODE).frame());
    let out = datapath.run(TO_NETDEV, &syn(client, ELSEWHERE).frame());
    let flow = tuple(protocol::TCP, Direction::Out, client, ELSEWHERE);
    let entry = datapath.nat(&flow).expect("a mapping was made");
    assert!(entry.port.number() >= 32_768, "{entry:?}");
    let node = SocketAddrV4::new(NODE, entry.port.number());
    assert_eq!(out, passed(&syn(node, ELSEWHERE)));
    assert_eq!(
        datapath.run(FROM_NETDEV, &syn_ack(ELSEWHERE, node).frame()),
        passed(&syn_ack(ELSEWHERE, client))
    );
}

/// The flow to the backend is tracked as one that was opened here, of that service.
#[test]
fn both_legs_of_a_flow_are_tracked() {
    let mut datapath = serving();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[ELSEWHERE]);
    datapath.run(FROM_NETDEV, &syn(CLIENT, AT_NODE).frame());
    let asked = tuple(protocol::TCP, Direction::Service, CLIENT, AT_NODE);
    let asked = datapath.conntrack(&asked).expect("the choice is kept");
    assert_eq!((asked.rev_nat_index, asked.tx_packets), (2, 1));
    assert_ne!(asked.backend, 0);
    let flow = tuple(protocol::TCP, Direction::Out, CLIENT, ELSEWHERE);
    let flow = datapath.conntrack(&flow).expect("the flow is tracked");
    assert_eq!((flow.rev_nat_index, flow.tx_packets), (2, 1));
}

#[test]
fn a_load_balancers_address_is_answered_without_being_the_nodes() {
    let mut datapath = delivering();
    let address = SocketAddrV4::new(Ipv4Addr::new(192, 168, 10, 211), 80);
    let frontend = Frontend::new(3, protocol::TCP, address);
    datapath.service(&frontend, LOAD_BALANCER, &[HERE]);
    assert_eq!(
        datapath.run(FROM_NETDEV, &syn(CLIENT, address).frame()),
        delivered(syn(CLIENT, HERE))
    );
    assert_eq!(
        datapath.run(TO_NETDEV, &syn_ack(HERE, CLIENT).frame()),
        passed(&syn_ack(address, CLIENT))
    );
}

/// `externalTrafficPolicy: Local` without a backend here, and `internalTrafficPolicy: Cluster`.
#[test]
fn a_local_policy_drops_and_counts_what_comes_from_outside_alone() {
    let mut datapath = delivering();
    let local = Service {
        flags: NODE_PORT.flags | flag::EXT_LOCAL_SCOPE,
        flags2: flag2::TWO_SCOPES,
        ..NODE_PORT
    };
    let from_outside = node_port(protocol::TCP);
    datapath.service(&from_outside, local, &[]);
    let from_cluster = Frontend {
        scope: scope::INT,
        ..node_port(protocol::TCP)
    };
    datapath.service(&from_cluster, local, &[NEIGHBOUR]);
    let request = syn(CLIENT, AT_NODE).frame();
    assert_eq!(datapath.run(FROM_NETDEV, &request), Outcome::Dropped);
    assert_eq!(datapath.drops(DropReason::NoService, METRIC_INGRESS), 1);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &syn(POD_AS_CLIENT, AT_NODE).frame()),
        delivered(syn(POD_AS_CLIENT, NEIGHBOUR))
    );
    assert_eq!(datapath.drops(DropReason::NoService, METRIC_EGRESS), 0);

    datapath.service(&from_outside, local, &[HERE]);
    assert_eq!(
        datapath.run(FROM_NETDEV, &request),
        delivered(syn(CLIENT, HERE))
    );
}

#[test]
fn case_32_a_packet_for_a_service_without_backends_is_dropped_and_counted() {
    let mut datapath = serving();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[]);
    datapath.service(&cluster_ip(), CLUSTER_IP, &[]);
    let request = syn(CLIENT, AT_NODE).frame();
    assert_eq!(datapath.run(FROM_NETDEV, &request), Outcome::Dropped);
    let request = syn(POD_AS_CLIENT, FOR_CLUSTER).frame();
    assert_eq!(datapath.run(FROM_CONTAINER, &request), Outcome::Dropped);
    for direction in [METRIC_INGRESS, METRIC_EGRESS] {
        assert_eq!(datapath.drops(DropReason::NoService, direction), 1);
    }
}

#[test]
fn a_cluster_ip_is_not_for_the_outside() {
    let mut datapath = serving();
    datapath.service(&cluster_ip(), CLUSTER_IP, &[HERE]);
    let request = syn(CLIENT, FOR_CLUSTER).frame();
    assert_eq!(datapath.run(FROM_NETDEV, &request), Outcome::Dropped);
    assert_eq!(datapath.drops(DropReason::IsClusterIp, METRIC_INGRESS), 1);
}

#[test]
fn a_pods_packet_past_its_sockets_is_translated_both_ways() {
    let mut datapath = delivering();
    datapath.service(&cluster_ip(), CLUSTER_IP, &[NEIGHBOUR]);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &syn(POD_AS_CLIENT, FOR_CLUSTER).frame()),
        delivered(syn(POD_AS_CLIENT, NEIGHBOUR))
    );
    assert_eq!(
        datapath.run(FROM_CONTAINER, &syn_ack(NEIGHBOUR, POD_AS_CLIENT).frame()),
        delivered(syn_ack(FOR_CLUSTER, POD_AS_CLIENT))
    );
}

/// Straight from the device into the pod, and where the stack forwards.
#[test]
fn the_answer_of_another_nodes_backend_comes_from_the_service() {
    let (request, answer) = (
        syn(POD_AS_CLIENT, FOR_CLUSTER).frame(),
        syn_ack(ELSEWHERE, POD_AS_CLIENT).frame(),
    );
    let to_backend = passed(&syn(POD_AS_CLIENT, ELSEWHERE));
    let from_service = syn_ack(FOR_CLUSTER, POD_AS_CLIENT);

    let mut datapath = delivering();
    datapath.service(&cluster_ip(), CLUSTER_IP, &[ELSEWHERE]);
    assert_eq!(datapath.run(FROM_CONTAINER, &request), to_backend);
    let straight = datapath.run(FROM_NETDEV, &answer);
    assert_eq!(straight, delivered(from_service.clone()));

    let mut datapath = serving();
    datapath.service(&cluster_ip(), CLUSTER_IP, &[ELSEWHERE]);
    assert_eq!(datapath.run(FROM_CONTAINER, &request), to_backend);
    let through_the_stack = datapath.run(TO_CONTAINER, &answer);
    assert_eq!(through_the_stack, passed(&from_service));
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    assert_eq!(Ipv4Addr::from(packet::LOOPBACK), ITSELF);
    for (protocol, packet) in OF_EVERY_KIND {
        let mut datapath = delivering();
        let frontend = Frontend::new(1, protocol, FOR_CLUSTER);
        datapath.service(&frontend, CLUSTER_IP, &[HERE]);
        let as_seen = SocketAddrV4::new(ITSELF, POD_AS_CLIENT.port());
        assert_eq!(
            datapath.run(FROM_CONTAINER, &packet(POD_AS_CLIENT, FOR_CLUSTER).frame()),
            delivered(packet(as_seen, HERE))
        );
        assert_eq!(
            datapath.run(FROM_CONTAINER, &packet(HERE, as_seen).frame()),
            delivered(packet(FOR_CLUSTER, POD_AS_CLIENT))
        );
    }
}

/// Case 31 for packets: `skipRedirectFromBackend`.
#[test]
fn case_31_a_redirects_own_backend_is_not_redirected() {
    let mut datapath = delivering();
    let redirect = Service {
        flags2: flag2::LOCAL_REDIRECT,
        ..CLUSTER_IP
    };
    datapath.service(&cluster_ip(), redirect, &[HERE]);
    let without = Frontend {
        scope: scope::UNREDIRECTED,
        ..cluster_ip()
    };
    datapath.service(&without, CLUSTER_IP, &[NEIGHBOUR]);
    let request = syn(POD_AS_CLIENT, FOR_CLUSTER).frame();
    datapath.endpoint(POD, endpoint::flag::REDIRECT_BACKEND);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &request),
        delivered(syn(POD_AS_CLIENT, NEIGHBOUR))
    );
    let other = SocketAddrV4::new(*NEIGHBOUR.ip(), 40_000);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &syn(other, FOR_CLUSTER).frame()),
        delivered(syn(other, HERE)),
        "everybody else is"
    );
}

/// Sends that many clients' first packets, and says how many met `HERE`.
fn reach_here(datapath: &mut Datapath, ports: std::ops::Range<u16>) -> usize {
    ports
        .filter(|port| {
            let client = SocketAddrV4::new(*CLIENT.ip(), *port);
            let outcome = datapath.run(FROM_NETDEV, &syn(client, AT_NODE).frame());
            let (here, neighbour) = (
                delivered(syn(client, HERE)),
                delivered(syn(client, NEIGHBOUR)),
            );
            assert!(outcome == here || outcome == neighbour, "{outcome:?}");
            outcome == here
        })
        .count()
}

/// By the client's address: its ports don't count.
#[test]
fn session_affinity_keeps_a_clients_connections_together() {
    let both = [HERE, NEIGHBOUR];
    let mut datapath = delivering();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &both);
    let without = reach_here(&mut datapath, 50_000..50_064);
    assert!(0 < without && without < 64, "{without} of 64");

    let sticky = Service {
        flags: NODE_PORT.flags | flag::AFFINITY,
        backend_or_timeout: 10_800,
        ..NODE_PORT
    };
    let mut datapath = delivering();
    datapath.service(&node_port(protocol::TCP), sticky, &both);
    let with = reach_here(&mut datapath, 50_000..50_064);
    assert!(with == 0 || with == 64, "{with} of 64");
    let gone = if with == 64 { HERE } else { NEIGHBOUR };
    datapath.forget_backend(gone);
    let remaining = if with == 64 { NEIGHBOUR } else { HERE };
    datapath.service(&node_port(protocol::TCP), sticky, &[remaining]);
    let moved = reach_here(&mut datapath, 51_000..51_064);
    assert_eq!(moved, 64 - with, "all to the one that is left");
}

#[test]
fn a_flow_stays_with_its_backend_until_that_is_gone() {
    let mut datapath = delivering();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[HERE]);
    let later = |datapath: &mut Datapath| {
        datapath.run(FROM_NETDEV, &tcp(CLIENT, AT_NODE, ACK, b"x").frame())
    };
    let to_here = delivered(tcp(CLIENT, HERE, ACK, b"x"));
    assert_eq!(later(&mut datapath), to_here);
    // No longer among those that a new flow may get, and yet there.
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[NEIGHBOUR]);
    for _ in 0..8 {
        assert_eq!(later(&mut datapath), to_here);
    }
    datapath.forget_backend(HERE);
    let to_neighbour = delivered(tcp(CLIENT, NEIGHBOUR, ACK, b"x"));
    assert_eq!(later(&mut datapath), to_neighbour);
}

#[test]
fn later_fragments_follow_the_first_to_the_backend() {
    let mut datapath = delivering();
    datapath.service(&node_port(protocol::UDP), NODE_PORT, &[HERE]);
    let sent = udp(CLIENT, AT_NODE, &[7; 56]).fragments(32);
    let expected = udp(CLIENT, HERE, &[7; 56]).fragments(32);
    for (piece, expected) in sent.iter().zip(expected) {
        assert_eq!(
            datapath.run(FROM_NETDEV, &piece.frame()),
            delivered(expected)
        );
    }
}

#[test]
fn what_is_no_service_is_what_it_was() {
    let mut datapath = delivering();
    datapath.service(&node_port(protocol::TCP), NODE_PORT, &[HERE]);
    let beside = SocketAddrV4::new(NODE, AT_NODE.port() + 1);
    for packet in [
        udp(CLIENT, AT_NODE, b"another protocol"),
        syn(CLIENT, beside),
    ] {
        let outcome = datapath.run(FROM_NETDEV, &packet.frame());
        assert_eq!(outcome, passed(&packet));
    }
    let own = syn(HERE, CLIENT);
    assert_eq!(
        datapath.run(TO_NETDEV, &own.frame()),
        passed(&syn(
            SocketAddrV4::new(NODE, mapped(&mut datapath, HERE, CLIENT)),
            CLIENT
        )),
        "a pod's own connection from the service's port is masqueraded"
    );
}

/// The port that a pod's flow leaves with.
fn mapped(datapath: &mut Datapath, from: SocketAddrV4, to: SocketAddrV4) -> u16 {
    let flow = tuple(protocol::TCP, Direction::Out, from, to);
    let entry = datapath.nat(&flow).expect("a mapping was made");
    entry.port.number()
}
