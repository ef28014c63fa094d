//! ARP requests for announced addresses.

use std::net::Ipv4Addr;

use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::hooks::Action;

use crate::host::{Node, Skb};
use crate::scene::{ETH1, NODE, ROUTER, START, node};

const ANNOUNCED: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 211);
const MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 200];
const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

type Owner = ([u8; 6], Ipv4Addr);

/// An ARP packet (RFC 826) in its frame.
fn arp(operation: u8, macs: [[u8; 6]; 2], sender: Owner, target: Owner) -> Vec<u8> {
    let mut frame = macs.concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    for (mac, address) in [sender, target] {
        frame.extend(mac);
        frame.extend(address.octets());
    }
    frame
}

fn who_has(address: Ipv4Addr) -> Vec<u8> {
    arp(
        REQUEST,
        [BROADCAST, ROUTER_MAC],
        (ROUTER_MAC, ROUTER),
        ([0; 6], address),
    )
}

fn announcing(until: u32) -> Node {
    let mut node = node();
    let key = L2ResponderKey {
        address: ANNOUNCED.into(),
        ifindex: ETH1,
    };
    let responder = L2Responder {
        valid_until: u64::from(until) * 1_000_000_000,
        mac: MAC,
        padding: [0; 2],
    };
    node.l2_responders.insert(key, responder);
    node
}

#[track_caller]
fn assert_unanswered(node: &Node, mut skb: Skb) {
    let sent = skb.frame.clone();
    assert_eq!(node.cil_from_netdev(&mut skb), Ok(Action::Continue));
    assert_eq!(skb.frame, sent);
}

#[test]
fn a_request_for_an_announced_address_is_answered() {
    let node = announcing(START + 1);
    let mut skb = Skb::new(who_has(ANNOUNCED), ETH1);
    skb.is_for_this_host = false;
    assert_eq!(node.cil_from_netdev(&mut skb), Ok(Action::Reflect));
    let reply = arp(
        REPLY,
        [ROUTER_MAC, MAC],
        (MAC, ANNOUNCED),
        (ROUTER_MAC, ROUTER),
    );
    assert_eq!(skb.frame, reply);
    // A neighbour that only makes sure asks this node alone.
    let mut asked = who_has(ANNOUNCED);
    asked[..6].copy_from_slice(&MAC);
    let mut skb = Skb::new(asked, ETH1);
    assert_eq!(node.cil_from_netdev(&mut skb), Ok(Action::Reflect));
}

#[test]
fn nothing_is_answered_past_the_agents_deadline() {
    let node = announcing(START);
    assert_unanswered(&node, Skb::new(who_has(ANNOUNCED), ETH1));
    let node = announcing(START + 3);
    let mut skb = Skb::new(who_has(ANNOUNCED), ETH1);
    assert_eq!(node.cil_from_netdev(&mut skb), Ok(Action::Reflect));
    node.wait(3);
    assert_unanswered(&node, Skb::new(who_has(ANNOUNCED), ETH1));
}

#[test]
fn other_requests_are_the_stacks() {
    let node = announcing(START + 1);
    assert_unanswered(&node, Skb::new(who_has(NODE), ETH1));
    // Announced on another interface.
    assert_unanswered(&node, Skb::new(who_has(ANNOUNCED), ETH1 + 1));
    // To another node alone.
    let mut others = who_has(ANNOUNCED);
    others[..6].copy_from_slice(&ROUTER_MAC);
    let mut skb = Skb::new(others, ETH1);
    skb.is_for_this_host = false;
    assert_unanswered(&node, skb);
}

#[test]
fn replies_announcements_and_other_frames_are_not_answered() {
    let node = announcing(START + 1);
    let owner = (ROUTER_MAC, ANNOUNCED);
    let reply = arp(REPLY, [BROADCAST, ROUTER_MAC], owner, owner);
    let announcement = arp(REQUEST, [BROADCAST, ROUTER_MAC], owner, ([0; 6], ANNOUNCED));
    let request = who_has(ANNOUNCED);
    let mut tagged = request.clone();
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    let short = request[..41].to_vec();
    for frame in [reply, announcement, tagged, short, Vec::new()] {
        assert_unanswered(&node, Skb::new(frame, ETH1));
    }
}
