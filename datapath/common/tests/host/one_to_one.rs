//! The outside's stateless translation.

use std::net::Ipv4Addr;

use lab_datapath_common::DropReason;
use lab_datapath_common::nat::one_to_one::replace;
use lab_datapath_common::nat::rewrite::Side;

use crate::frame::{Checksum, Datagram, SYN, echo_request, icmp_error, tcp, udp};
use crate::host::{Host, Node, Skb};
use crate::scene::WORLD;

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 3);

fn run(frame: Vec<u8>, side: Side) -> Result<Vec<u8>, DropReason> {
    let (old, new) = match side {
        Side::Source => (INSIDE, OUTSIDE),
        Side::Destination => (OUTSIDE, INSIDE),
    };
    let mut skb = Skb::new(frame, 5);
    let node = &Node::default();
    let mut host = Host {
        node,
        skb: &mut skb,
    };
    replace(&mut host, side, old.into(), new.into())?;
    Ok(skb.frame)
}

fn kinds() -> Vec<Datagram> {
    let mut unsummed = udp((INSIDE, 9999), (WORLD, 53));
    unsummed.checksum = Checksum::Absent;
    vec![
        tcp((INSIDE, 3030), (WORLD, 80), SYN),
        udp((INSIDE, 9999), (WORLD, 53)),
        unsummed,
        echo_request((INSIDE, 7), WORLD),
    ]
}

#[test]
fn out_and_back_only_the_address_changes() {
    for sent in kinds() {
        let outside = sent.clone().from((OUTSIDE, sent.source_port()));
        assert_eq!(run(sent.frame(), Side::Source), Ok(outside.frame()));
        let reply = outside.reply();
        assert_eq!(
            run(reply.frame(), Side::Destination),
            Ok(sent.reply().frame())
        );
    }
}

#[test]
fn an_error_quotes_the_address_that_its_receiver_knows() {
    for sent in kinds() {
        let outside = sent.clone().from((OUTSIDE, sent.source_port()));
        for quoted in [8, 64] {
            let arriving = icmp_error(WORLD, 3, 4, &outside, quoted).frame();
            let expected = icmp_error(WORLD, 3, 4, &sent, quoted).frame();
            assert_eq!(run(arriving, Side::Destination), Ok(expected));
        }
    }
}

#[test]
fn fragments_are_translated_each() {
    let mut sent = udp((INSIDE, 9999), (WORLD, 53));
    sent.data = (0..200).collect();
    let outside = sent.clone().from((OUTSIDE, 9999)).fragments(64);
    let left: Result<Vec<_>, _> = sent
        .fragments(64)
        .into_iter()
        .map(|frame| run(frame, Side::Source))
        .collect();
    assert_eq!(left, Ok(outside));
}

#[test]
fn other_addresses_pass_untouched() {
    let sent = udp((WORLD, 9999), (OUTSIDE, 53)).frame();
    assert_eq!(run(sent.clone(), Side::Source), Ok(sent));
    let arp = vec![0; 60];
    assert_eq!(run(arp.clone(), Side::Destination), Ok(arp));
}
