//! Into the tunnel and out of it, and ARP answered, by the programs as loaded. What a
//! tunnel's device makes of it is tested with real ones, by the agent's tests.

use std::net::SocketAddrV4;

use lab_datapath_common::DropReason;
use lab_datapath_common::maps::METRIC_INGRESS;
use lab_datapath_common::programs::{
    FROM_CONTAINER, FROM_HOST, FROM_NETDEV, FROM_OVERLAY, TO_HOST, TO_OVERLAY,
};
use lab_datapath_common::settings::flag;

use crate::datapath::{Datapath, NODE, Outcome, POD, REMOTE_NODE, REMOTE_POD};
use crate::frame::{Packet, udp};

const IDENTITY: u32 = 9214;

fn tunnelling() -> Datapath {
    let mut datapath = Datapath::with(|settings| {
        settings.flags |= flag::TUNNEL;
        settings.flags &= !flag::HOST_LEGACY_ROUTING;
        settings.tunnel_ifindex = 4243;
        settings.host_ifindex = 4244;
        settings.tunnel_mtu = 128;
    });
    datapath.behind_tunnel(REMOTE_POD, IDENTITY, REMOTE_NODE);
    datapath
}

fn datagram(payload: usize) -> Packet {
    let payload = vec![7; payload];
    udp(
        SocketAddrV4::new(POD, 40000),
        SocketAddrV4::new(REMOTE_POD, 53),
        &payload,
    )
}

#[test]
fn a_pods_packet_goes_into_the_tunnel_one_hop_on() {
    let mut datapath = tunnelling();
    let sent = datagram(100);
    assert_eq!(
        datapath.run(FROM_CONTAINER, &sent.frame()),
        Outcome::Redirected(sent.forwarded().frame())
    );
}

#[test]
fn bug_22624_a_packet_too_long_for_the_tunnel_goes_to_the_stack() {
    let mut datapath = tunnelling();
    let sent = datagram(101).frame();
    assert_eq!(
        datapath.run(FROM_CONTAINER, &sent),
        Outcome::Passed(sent.clone())
    );
}

#[test]
fn what_the_stack_sends_goes_into_the_tunnel_as_it_is() {
    let mut datapath = tunnelling();
    let sent = datagram(100).frame();
    assert_eq!(
        datapath.run(FROM_HOST, &sent),
        Outcome::Redirected(sent.clone())
    );
    let elsewhere = udp(
        SocketAddrV4::new(POD, 40000),
        SocketAddrV4::new(NODE, 53),
        b"",
    )
    .frame();
    assert_eq!(
        datapath.run(FROM_HOST, &elsewhere),
        Outcome::Passed(elsewhere.clone())
    );
}

/// A test run's packet has no outer header.
#[test]
fn what_did_not_come_out_of_a_tunnel_is_dropped() {
    let mut datapath = tunnelling();
    assert_eq!(
        datapath.run(FROM_OVERLAY, &datagram(8).frame()),
        Outcome::Dropped
    );
    assert_eq!(datapath.drops(DropReason::NoTunnelKey, METRIC_INGRESS), 1);
}

#[test]
fn marking_and_retyping_leave_the_packet_alone() {
    let mut datapath = tunnelling();
    let sent = datagram(8).frame();
    for program in [TO_OVERLAY, TO_HOST] {
        assert_eq!(datapath.run(program, &sent), Outcome::Passed(sent.clone()));
    }
}

#[test]
fn an_arp_request_for_an_announced_address_is_answered_until_the_deadline() {
    const MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];
    const ASKER: [u8; 6] = [2, 0, 0, 0, 9, 200];
    let arp = |operation: u8, macs: [[u8; 6]; 2], owners: [&[u8]; 4]| {
        let mut frame = macs.concat();
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
        frame.extend(owners.concat());
        frame
    };
    let (asked, asker) = (NODE.octets(), REMOTE_NODE.octets());
    let request = arp(1, [[0xff; 6], ASKER], [&ASKER, &asker, &[0; 6], &asked]);
    let reply = arp(2, [ASKER, MAC], [&MAC, &asked, &ASKER, &asker]);
    let mut datapath = tunnelling();
    datapath.announce(NODE, MAC, u64::MAX);
    assert_eq!(
        datapath.run(FROM_NETDEV, &request),
        Outcome::Redirected(reply)
    );
    datapath.announce(NODE, MAC, 1);
    assert_eq!(
        datapath.run(FROM_NETDEV, &request),
        Outcome::Passed(request.clone())
    );
}
