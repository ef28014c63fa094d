//! The kernel may refuse any write, and a packet may end anywhere: a packet that
//! is translated by half is dropped, never passed.

use lab_datapath_common::hooks::Action;
use lab_datapath_common::{Direction, DropReason};

use crate::frame::{ACK, Datagram, SYN, echo_request, icmp_error, tcp, udp};
use crate::host::{Node, Skb};
use crate::scene::tuple;
use crate::scene::{ETH1, LXC, NEIGHBOUR_POD, NODE, POD, ROUTER, WORLD, node, redirecting_node};

type Hook = fn(&Node, &mut Skb) -> Result<Action, DropReason>;

/// Every packet that some hook writes to, beside the hook.
fn written() -> Vec<(Hook, Datagram)> {
    let flows = [
        tcp((POD, 3030), (WORLD, 80), SYN),
        udp((POD, 9999), (WORLD, 53)),
        echo_request((POD, 7), WORLD),
    ];
    let mut all: Vec<(Hook, Datagram)> = Vec::new();
    for sent in flows {
        let outside = sent.clone().from((NODE, 40_000));
        all.push((Node::cil_from_container, sent.clone()));
        all.push((Node::cil_to_netdev, sent.clone()));
        all.push((Node::cil_from_netdev, outside.reply()));
        all.push((
            Node::cil_from_netdev,
            icmp_error(ROUTER, 3, 4, &outside, 64),
        ));
        if sent.protocol() != 1 {
            all.push((
                Node::cil_to_netdev,
                icmp_error(POD, 3, 4, &sent.reply(), 64),
            ));
        }
    }
    all.push((
        Node::cil_from_container,
        tcp((POD, 1), (NEIGHBOUR_POD, 80), ACK),
    ));
    all
}

/// A node on which the flows above are translated to port 40 000 already.
fn busy_node() -> Node {
    let node = redirecting_node();
    let flows = [
        tcp((POD, 3030), (WORLD, 80), SYN),
        udp((POD, 9999), (WORLD, 53)),
        echo_request((POD, 7), WORLD),
    ];
    for sent in flows {
        let remote_port = if sent.protocol() == 1 {
            0
        } else {
            sent.reply().source_port()
        };
        if sent.protocol() == 1 {
            node.take(1, (WORLD, remote_port), 7);
            node.draws.borrow_mut().push_back(40_000);
        } else {
            node.draws.borrow_mut().push_back((40_000 - 32_768) * 2);
        }
        let left = node.frame_leaves(sent.frame());
        assert_eq!(left, Ok(sent.from((NODE, 40_000)).frame()));
    }
    node
}

fn ifindex(datagram: &Datagram) -> u32 {
    if datagram.source == POD { LXC } else { ETH1 }
}

fn skb(hook: Hook, datagram: &Datagram) -> Skb {
    let at_device = std::ptr::fn_addr_eq(hook, Node::cil_to_netdev as Hook);
    Skb::new(
        datagram.frame(),
        if at_device { ETH1 } else { ifindex(datagram) },
    )
}

#[test]
fn a_packet_with_a_refused_write_is_dropped() {
    for (hook, datagram) in written() {
        let mut refusals = 0;
        for write in 0.. {
            let mut skb = skb(hook, &datagram);
            skb.refuse = Some(write);
            let outcome = hook(&busy_node(), &mut skb);
            if !skb.was_refused() {
                outcome.expect("nothing was refused");
                break;
            }
            let reason = outcome.expect_err("half-rewritten");
            let fits = [DropReason::WriteError, DropReason::ChecksumL4];
            assert!(fits.contains(&reason), "{datagram:?}: {reason}");
            refusals += 1;
        }
        assert!(refusals > 0, "{datagram:?} is not written to");
    }
}

/// A packet that ends early is dropped, left alone, or translated as far as a
/// receiver can tell: no address changes without the checksum that covers it.
#[test]
fn a_packet_cut_short_is_dropped_or_left_alone() {
    for (hook, datagram) in written() {
        let whole = {
            let mut skb = skb(hook, &datagram);
            hook(&busy_node(), &mut skb).expect("passes");
            skb.frame
        };
        for length in 0..whole.len() {
            let mut skb = skb(hook, &datagram);
            skb.frame.truncate(length);
            let before = skb.frame.clone();
            if hook(&busy_node(), &mut skb).is_ok() {
                let is_whole = skb.frame == whole[..length];
                assert!(
                    skb.frame == before || is_whole,
                    "{length} bytes of {datagram:?}"
                );
            }
        }
    }
}

#[test]
fn a_refused_reply_is_dropped_also_when_conntrack_is_full() {
    let node = busy_node();
    node.ct.borrow_mut().clear();
    node.ct_is_full.set(true);
    let reply = udp((WORLD, 53), (NODE, 40_000));
    let mut skb = Skb::new(reply.frame(), ETH1);
    assert_eq!(
        node.cil_from_netdev(&mut skb),
        Err(DropReason::CtCreateFailed)
    );
}

/// Without room for a forward entry a reply still gets through.
#[test]
fn a_full_nat_map_does_not_stop_replies() {
    let node = node();
    let sent = tcp((POD, 40_000), (WORLD, 80), SYN);
    node.pod_sends(&sent).expect("passes");
    let forward = tuple(6, (POD, 40_000), (WORLD, 80), Direction::Out);
    node.nat.borrow_mut().remove(&forward);
    node.nat_room.set(Some(1));
    let reply = sent.clone().from((NODE, 40_000)).reply();
    assert_eq!(node.arrives(&reply), Ok(sent.reply().frame()));
}
