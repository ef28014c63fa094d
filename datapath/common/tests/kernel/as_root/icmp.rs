//! ICMP messages that are no errors.

use lab_datapath_common::maps::METRIC_EGRESS;
use lab_datapath_common::programs::{FROM_NETDEV, TO_NETDEV};
use lab_datapath_common::{Address, Direction, DropReason, Port, Tuple, protocol};

use crate::datapath::{Datapath, NODE, Outcome, POD, WORLD};
use crate::frame::{echo_reply, echo_request, icmp};

/// The identifier that a pod's echo requests to the world leave with.
fn given_id(datapath: &mut Datapath, id: u16) -> u16 {
    let forward = Tuple {
        source: Address::from(POD),
        destination: Address::from(WORLD),
        source_port: Port::new(id),
        destination_port: Port::NONE,
        protocol: protocol::ICMP,
        direction: Direction::Out as u8,
        padding: [0; 2],
    };
    let entry = datapath.nat(&forward).expect("a mapping was made");
    entry.port.number()
}

#[test]
fn an_echo_keeps_its_free_identifier_there_and_back() {
    let mut datapath = Datapath::masquerading();
    assert_eq!(
        datapath.run(
            TO_NETDEV,
            &echo_request(POD, WORLD, 123, b"abcdefgh").frame()
        ),
        Outcome::Passed(echo_request(NODE, WORLD, 123, b"abcdefgh").frame())
    );
    assert_eq!(
        datapath.run(
            FROM_NETDEV,
            &echo_reply(WORLD, NODE, 123, b"abcdefgh").frame()
        ),
        Outcome::Passed(echo_reply(WORLD, POD, 123, b"abcdefgh").frame())
    );
}

#[test]
fn an_echo_whose_identifier_the_host_has_gets_another() {
    let mut datapath = Datapath::masquerading();
    let hosts = echo_request(NODE, WORLD, 123, b"abcdefgh").frame();
    assert_eq!(
        datapath.run(TO_NETDEV, &hosts),
        Outcome::Passed(hosts.clone())
    );
    let out = datapath.run(
        TO_NETDEV,
        &echo_request(POD, WORLD, 123, b"abcdefgh").frame(),
    );
    let id = given_id(&mut datapath, 123);
    assert_ne!(id, 123, "two flows have one identifier");
    assert_eq!(
        out,
        Outcome::Passed(echo_request(NODE, WORLD, id, b"abcdefgh").frame())
    );
    assert_eq!(
        datapath.run(
            FROM_NETDEV,
            &echo_reply(WORLD, NODE, id, b"abcdefgh").frame()
        ),
        Outcome::Passed(echo_reply(WORLD, POD, 123, b"abcdefgh").frame())
    );
}

#[test]
fn case_9_a_timestamp_request_of_the_host_is_dropped() {
    let mut datapath = Datapath::masquerading();
    // Type 13, three timestamps (RFC 792).
    let mut message = [0; 20];
    message[0] = 13;
    let out = datapath.run(TO_NETDEV, &icmp(NODE, WORLD, &message).frame());
    assert_eq!(out, Outcome::Dropped);
    let counted = datapath.drops(DropReason::NatUnsupportedProtocol, METRIC_EGRESS);
    assert_eq!(counted, 1);
}

#[test]
fn an_echo_reply_nobody_asked_for_is_the_hosts() {
    let mut datapath = Datapath::masquerading();
    let reply = echo_reply(WORLD, NODE, 77, b"abcdefgh").frame();
    assert_eq!(
        datapath.run(FROM_NETDEV, &reply),
        Outcome::Passed(reply.clone())
    );
}
