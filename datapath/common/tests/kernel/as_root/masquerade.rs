//! Whose packets are masqueraded, and what of them changes.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab_datapath_common::programs::{FROM_CONTAINER, FROM_NETDEV, TO_CONTAINER, TO_NETDEV};
use lab_datapath_common::settings::flag;
use lab_datapath_common::{Direction, protocol};

use crate::datapath::{
    Datapath, EXEMPT_POD, LXC_MAC, NODE, Outcome, POD, POD_MAC, REMOTE_NODE, REMOTE_POD, WORLD,
    tuple,
};
use crate::frame::{ACK, SYN, tcp, udp, udp_without_checksum};

const DNS: u16 = 53;
/// In the range that masquerading gives out, and so kept where it is free.
const PORT: u16 = 40000;

const fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

/// Sends a pod's datagram to `to` out through the device.
fn leaves(datapath: &mut Datapath, from: Ipv4Addr, to: Ipv4Addr) -> Outcome {
    datapath.run(
        TO_NETDEV,
        &udp(at(from, PORT), at(to, DNS), b"query").frame(),
    )
}

fn datagram(from: Ipv4Addr, to: Ipv4Addr) -> Outcome {
    Outcome::Passed(udp(at(from, PORT), at(to, DNS), b"query").frame())
}

#[test]
fn case_1_pod_to_world_leaves_from_the_node() {
    let mut datapath = Datapath::masquerading();
    assert_eq!(leaves(&mut datapath, POD, WORLD), datagram(NODE, WORLD));
}

#[test]
fn case_1_tcp_from_a_port_outside_the_range_gets_another() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (at(POD, 3030), at(WORLD, 80));
    let out = datapath.run(TO_NETDEV, &tcp(pod, world, SYN, b"").frame());
    let entry = datapath
        .nat(&tuple(protocol::TCP, Direction::Out, pod, world))
        .expect("a mapping was made");
    assert!(entry.port.number() >= 32768, "{entry:?}");
    let node = at(NODE, entry.port.number());
    assert_eq!(out, Outcome::Passed(tcp(node, world, SYN, b"").frame()));

    let answer = tcp(world, node, SYN | ACK, b"");
    assert_eq!(
        datapath.run(FROM_NETDEV, &answer.frame()),
        Outcome::Passed(tcp(world, pod, SYN | ACK, b"").frame())
    );
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (at(POD, PORT), at(WORLD, DNS));
    assert_eq!(
        datapath.run(TO_NETDEV, &udp_without_checksum(pod, world, b"q").frame()),
        Outcome::Passed(udp_without_checksum(at(NODE, PORT), world, b"q").frame())
    );
}

#[test]
fn case_2_pod_to_remote_pod_keeps_its_source() {
    let mut datapath = Datapath::masquerading();
    let out = leaves(&mut datapath, POD, REMOTE_POD);
    assert_eq!(out, datagram(POD, REMOTE_POD));
    assert_eq!(datapath.nat_entries(), []);
}

#[test]
fn case_3_pod_to_remote_node_keeps_its_source_without_a_tunnel() {
    let mut datapath = Datapath::masquerading();
    let out = leaves(&mut datapath, POD, REMOTE_NODE);
    assert_eq!(out, datagram(POD, REMOTE_NODE));
}

#[test]
fn case_4_pod_to_remote_node_is_masqueraded_in_tunnel_mode() {
    let mut datapath = Datapath::with(|settings| settings.flags |= flag::TUNNEL);
    let out = leaves(&mut datapath, POD, REMOTE_NODE);
    assert_eq!(out, datagram(NODE, REMOTE_NODE));
}

#[test]
fn case_6_an_exempt_endpoint_keeps_its_source() {
    let mut datapath = Datapath::masquerading();
    let out = leaves(&mut datapath, EXEMPT_POD, WORLD);
    assert_eq!(out, datagram(EXEMPT_POD, WORLD));
}

#[test]
fn the_ip_masq_agents_list_is_a_list_of_prefixes() {
    let mut datapath = Datapath::with(|settings| settings.flags |= flag::IP_MASQ_AGENT);
    datapath.non_masquerade(Ipv4Addr::new(203, 0, 113, 0), 29);
    assert_eq!(leaves(&mut datapath, POD, WORLD), datagram(POD, WORLD));
    let beyond = Ipv4Addr::new(203, 0, 113, 8);
    assert_eq!(leaves(&mut datapath, POD, beyond), datagram(NODE, beyond));
}

#[test]
fn case_7_the_hosts_own_port_is_reserved_and_tracked() {
    let mut datapath = Datapath::masquerading();
    let (host, world) = (at(NODE, 50000), at(WORLD, DNS));
    let packet = udp(host, world, b"query").frame();
    assert_eq!(
        datapath.run(TO_NETDEV, &packet),
        Outcome::Passed(packet.clone())
    );
    let entry = datapath
        .conntrack(&tuple(protocol::UDP, Direction::Out, host, world))
        .expect("the flow is tracked");
    assert_eq!((entry.tx_packets, entry.rx_packets), (1, 0));

    let pod = at(POD, 50000);
    datapath.run(TO_NETDEV, &udp(pod, world, b"query").frame());
    let pods = datapath
        .nat(&tuple(protocol::UDP, Direction::Out, pod, world))
        .expect("a mapping was made");
    assert_ne!(pods.port.number(), 50000, "two flows have one port");
}

#[test]
fn case_20_a_reply_to_the_world_keeps_its_source() {
    let mut datapath = Datapath::masquerading();
    let (pod, world) = (at(POD, 8080), at(WORLD, 50123));
    datapath.run(TO_CONTAINER, &tcp(world, pod, SYN, b"").frame());
    let reply = tcp(pod, world, SYN | ACK, b"").frame();
    for program in [FROM_CONTAINER, TO_NETDEV] {
        assert_eq!(
            datapath.run(program, &reply),
            Outcome::Passed(reply.clone())
        );
    }
    assert_eq!(datapath.nat_entries(), []);
}

#[test]
fn a_reply_goes_straight_into_the_pod_unless_the_stack_forwards() {
    let mut datapath = Datapath::with(|settings| settings.flags &= !flag::HOST_LEGACY_ROUTING);
    let (pod, node, world) = (at(POD, PORT), at(NODE, PORT), at(WORLD, DNS));
    assert_eq!(leaves(&mut datapath, POD, WORLD), datagram(NODE, WORLD));
    let answer = udp(world, pod, b"answer").forwarded();
    assert_eq!(
        datapath.run(FROM_NETDEV, &udp(world, node, b"answer").frame()),
        Outcome::Redirected(answer.framed(POD_MAC, LXC_MAC))
    );
    let entry = datapath
        .conntrack(&tuple(protocol::UDP, Direction::Out, pod, world))
        .expect("the flow is tracked");
    assert_eq!(entry.rx_packets, 1);
}

#[test]
fn another_hosts_frame_is_left_alone() {
    let mut datapath = Datapath::masquerading();
    leaves(&mut datapath, POD, WORLD);
    // A bridge floods; only the MAC address tells.
    let flooded = udp(at(WORLD, DNS), at(NODE, PORT), b"answer").framed(POD_MAC, [0; 6]);
    assert_eq!(
        datapath.run(FROM_NETDEV, &flooded),
        Outcome::Passed(flooded.clone())
    );
}
