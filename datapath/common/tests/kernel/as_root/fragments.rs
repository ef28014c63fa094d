//! Fragments: only the first has ports.

use std::net::SocketAddrV4;

use lab_datapath_common::DropReason;
use lab_datapath_common::maps::METRIC_EGRESS;
use lab_datapath_common::programs::{FROM_NETDEV, TO_NETDEV};
use lab_datapath_common::settings::flag;

use crate::datapath::{Datapath, NODE, Outcome, POD, WORLD};
use crate::frame::{Packet, udp};

const PAYLOAD: &[u8] = &[0x5a; 64];
/// Transport bytes in the first fragment.
const CUT: usize = 32;
const PORT: u16 = 40000;

fn datagram(from: SocketAddrV4, to: SocketAddrV4) -> [Packet; 2] {
    udp(from, to, PAYLOAD).fragments(CUT)
}

const fn sockets() -> [SocketAddrV4; 3] {
    [
        SocketAddrV4::new(POD, PORT),
        SocketAddrV4::new(NODE, PORT),
        SocketAddrV4::new(WORLD, 53),
    ]
}

#[test]
fn fragments_in_order_leave_and_come_back_as_one_flow() {
    let mut datapath = Datapath::masquerading();
    let [pod, node, world] = sockets();
    for (program, from, to) in [
        (TO_NETDEV, datagram(pod, world), datagram(node, world)),
        (FROM_NETDEV, datagram(world, node), datagram(world, pod)),
    ] {
        for (fragment, expected) in from.iter().zip(to) {
            assert_eq!(
                datapath.run(program, &fragment.frame()),
                Outcome::Passed(expected.frame())
            );
        }
    }
}

#[test]
fn case_24_issue_25709_a_fragment_ahead_of_the_first_is_dropped_with_its_own_reason() {
    let mut datapath = Datapath::masquerading();
    let [pod, node, world] = sockets();
    let [first, second] = datagram(pod, world);
    assert_eq!(datapath.run(TO_NETDEV, &second.frame()), Outcome::Dropped);
    let counted = datapath.drops(DropReason::FragmentNotFound, METRIC_EGRESS);
    assert_eq!(counted, 1);
    for (fragment, expected) in [first, second].iter().zip(datagram(node, world)) {
        assert_eq!(
            datapath.run(TO_NETDEV, &fragment.frame()),
            Outcome::Passed(expected.frame())
        );
    }
}

#[test]
fn case_24_without_tracking_every_fragment_is_dropped() {
    let mut datapath = Datapath::with(|settings| settings.flags &= !flag::FRAGMENT_TRACKING);
    let [pod, _, world] = sockets();
    for fragment in datagram(pod, world) {
        assert_eq!(datapath.run(TO_NETDEV, &fragment.frame()), Outcome::Dropped);
    }
    let counted = datapath.drops(DropReason::FragmentsUnsupported, METRIC_EGRESS);
    assert_eq!(counted, 2);
}
