//! Any packet out and its reply back: the pod cannot tell that it was translated,
//! and every checksum on the way is what a sender would have written.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use crate::frame::{Checksum, Datagram, ECHO_REQUEST, Payload, datagram, icmp_error, sum};
use crate::host::{Skb, Summed};
use crate::scene::{ETH1, NODE, POD, node, source_of};

fn payload() -> impl Strategy<Value = Payload> {
    let ports = any::<[u16; 2]>();
    prop_oneof![
        (ports, any::<u8>()).prop_map(|(ports, flags)| Payload::Tcp { ports, flags }),
        any::<[u16; 2]>().prop_map(|ports| Payload::Udp { ports }),
        any::<u16>().prop_map(|id| {
            let [i0, i1] = id.to_be_bytes();
            // A sequence number: an echo reply of nothing but zeros has a sum that
            // no incremental correction gets right (RFC 1624, section 3).
            Payload::Icmp {
                kind: ECHO_REQUEST,
                code: 0,
                rest: [i0, i1, 0, 1],
            }
        }),
    ]
}

fn sent() -> impl Strategy<Value = Datagram> {
    // Anything outside the cluster's own networks and the node's.
    let world =
        (11_u8..=191, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d));
    let data = prop::collection::vec(any::<u8>(), 0..300);
    let checksum = prop_oneof![
        Just(Checksum::Finished),
        Just(Checksum::Absent),
        Just(Checksum::LeftToDevice),
    ];
    let header = (2_u8.., any::<u16>(), 0_usize..=10);
    (world, payload(), data, checksum, header).prop_map(
        |(world, payload, data, checksum, (ttl, id, options))| {
            let is_icmp = matches!(payload, Payload::Icmp { .. });
            let is_udp = matches!(payload, Payload::Udp { .. });
            let checksum = match checksum {
                Checksum::Absent if !is_udp => Checksum::Finished,
                _ if is_icmp => Checksum::Finished,
                checksum => checksum,
            };
            let options = vec![1; options * 4];
            Datagram {
                ttl,
                id,
                options,
                data,
                checksum,
                ..datagram(POD, world, payload)
            }
        },
    )
}

/// The frame as the kernel has it: with what the device summed up, or left to do.
fn skb(datagram: &Datagram, complete: bool) -> Skb {
    let mut skb = Skb::new(datagram.frame(), ETH1);
    skb.summed = match datagram.checksum {
        Checksum::LeftToDevice => Summed::Partial,
        // The kernel looks at no sum of a UDP packet without a checksum
        // (`__skb_checksum_validate_needed`), and the helper leaves it stale.
        Checksum::Finished if complete => Summed::Complete(sum(&skb.frame[14..])),
        _ => Summed::None,
    };
    skb
}

/// What the device summed up is still the sum.
fn sum_is_right(skb: &Skb) -> bool {
    match skb.summed {
        // Zero has two forms in ones' complement.
        Summed::Complete(total) => total % 0xffff == sum(&skb.frame[14..]) % 0xffff,
        Summed::None | Summed::Partial => true,
    }
}

proptest! {
    #[test]
    fn out_and_back_is_the_identity(sent in sent(), taken: bool, complete: bool, seed: u64) {
        let node = node();
        node.seed.set(seed);
        if taken {
            let remote_port = match sent.payload {
                Payload::Icmp { .. } => 0,
                _ => sent.reply().source_port(),
            };
            node.take(sent.protocol(), (sent.destination, remote_port), sent.source_port());
        }
        let mut out = skb(&sent, complete);
        node.cil_to_netdev(&mut out).expect("leaves");
        let outside = sent.clone().from(source_of(&out.frame));
        prop_assert_eq!(source_of(&out.frame).0, NODE);
        prop_assert_eq!(&out.frame, &outside.frame());
        prop_assert!(sum_is_right(&out));
        prop_assert!(!taken || outside.source_port() != sent.source_port());

        let mut back = skb(&outside.reply(), complete);
        node.cil_from_netdev(&mut back).expect("comes back");
        prop_assert_eq!(&back.frame, &sent.reply().frame());
        prop_assert!(sum_is_right(&back));
    }

    /// The same for an error about it, wherever the quotation ends.
    #[test]
    fn an_error_quotes_what_was_sent(sent in sent(), quoted in 8_usize..100, complete: bool, seed: u64) {
        prop_assume!(sent.checksum != Checksum::LeftToDevice, "quoted from the wire");
        // Of TCP, that is half of the checksum, which cannot be corrected.
        prop_assume!(quoted != 17);
        let node = node();
        node.seed.set(seed);
        let mut out = skb(&sent, complete);
        node.cil_to_netdev(&mut out).expect("leaves");
        let outside = sent.clone().from(source_of(&out.frame));
        let router = Ipv4Addr::new(192, 168, 10, 200);
        let mut error = skb(&icmp_error(router, 11, 0, &outside, quoted), complete);
        node.cil_from_netdev(&mut error).expect("comes back");
        prop_assert_eq!(&error.frame, &icmp_error(router, 11, 0, &sent, quoted).frame());
        prop_assert!(sum_is_right(&error));
    }
}
