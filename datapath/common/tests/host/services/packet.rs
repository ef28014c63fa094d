//! Services per packet: from outside, from pods, and ICMP errors about either.

use std::net::Ipv4Addr;

use lab_datapath_common::endpoint::flag::REDIRECT_BACKEND;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::Route;
use lab_datapath_common::service::{Service, SourceRangeKey, flag, flag2};
use lab_datapath_common::{Direction, DropReason};

use super::{CLUSTER_IP, NODE_PORT, add, arrives, assert_same, key, node, one_hop, request};
use crate::frame::{ACK, DEST_UNREACH, FRAG_NEEDED, SYN, icmp_error, tcp, udp};
use crate::host::{Node, Skb};
use crate::scene::{
    ETH1, LXC, NEIGHBOUR_LXC, NEIGHBOUR_POD, NODE, POD, REMOTE_NODE, REMOTE_POD, ROUTER, tuple,
};

const LOOPBACK: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);

#[test]
fn a_node_port_with_a_backend_here_keeps_the_client() {
    let node = node(&[POD]);
    let (action, skb) = arrives(&node, &request(SYN));
    assert_eq!(action, Ok(Action::ToPod { ifindex: LXC }));
    let to_pod = tcp((ROUTER, 50_000), (POD, 8080), SYN);
    assert_same(&skb.frame, &one_hop(to_pod.clone()));

    let answer = tcp((POD, 8080), (ROUTER, 50_000), SYN | ACK);
    let mut skb = Skb::new(answer.frame(), LXC);
    assert!(matches!(
        node.cil_from_container(&mut skb),
        Ok(Action::ToNeighbour(_))
    ));
    let out = node.packet_leaves(skb);
    let expected = tcp((NODE, NODE_PORT), (ROUTER, 50_000), SYN | ACK);
    assert_same(&out, &one_hop(expected));
}

#[test]
fn a_node_port_with_a_backend_elsewhere_goes_and_comes_back_this_way() {
    let node = node(&[REMOTE_POD]);
    let (action, skb) = arrives(&node, &request(SYN));
    let route = Route {
        ifindex: ETH1,
        next_hop: REMOTE_NODE.into(),
    };
    assert_eq!(action, Ok(Action::ToNeighbour(route)));
    let out = node.packet_leaves(skb);
    let expected = tcp((NODE, 50_000), (REMOTE_POD, 8080), SYN);
    assert_same(&out, &one_hop(expected.clone()));

    let answer = tcp((REMOTE_POD, 8080), (NODE, 50_000), SYN | ACK);
    let (action, skb) = arrives(&node, &answer);
    assert!(matches!(action, Ok(Action::ToNeighbour(_))), "{action:?}");
    let out = node.packet_leaves(skb);
    let expected = tcp((NODE, NODE_PORT), (ROUTER, 50_000), SYN | ACK);
    assert_same(&out, &one_hop(expected));
}

#[test]
fn a_flow_stays_with_its_backend_also_when_there_are_more() {
    let mut node = node(&[REMOTE_POD]);
    arrives(&node, &request(SYN)).0.expect("passes");
    let node_port = Service {
        flags: flag::NODE_PORT | flag::ROUTABLE,
        ..Service::default()
    };
    let both = [REMOTE_POD, POD];
    add(
        &mut node.services,
        2,
        key(NODE, NODE_PORT),
        node_port,
        &both,
    );
    node.draws.borrow_mut().extend([1, 1]);
    let (action, skb) = arrives(&node, &request(ACK));
    assert!(matches!(action, Ok(Action::ToNeighbour(_))), "{action:?}");
    assert_eq!(skb.frame[30..34], REMOTE_POD.octets());
}

#[test]
fn case_32_a_packet_for_a_service_without_backends_is_dropped() {
    let node = node(&[]);
    assert_eq!(arrives(&node, &request(SYN)).0, Err(DropReason::NoService));
    let mut skb = Skb::new(tcp((POD, 40_000), (CLUSTER_IP, 80), SYN).frame(), LXC);
    assert_eq!(
        node.cil_from_container(&mut skb),
        Err(DropReason::NoService)
    );
}

#[test]
fn a_cluster_ip_is_not_for_the_outside() {
    let node = node(&[POD]);
    let request = tcp((ROUTER, 50_000), (CLUSTER_IP, 80), SYN);
    assert_eq!(arrives(&node, &request).0, Err(DropReason::IsClusterIp));
}

#[test]
fn bug_33844_too_big_for_the_clients_side_reaches_the_backend() {
    let node = node(&[POD]);
    arrives(&node, &request(SYN)).0.expect("passes");
    let quoted = tcp((NODE, NODE_PORT), (ROUTER, 50_000), ACK);
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::ToPod { ifindex: LXC }));
    let quoted = tcp((POD, 8080), (ROUTER, 50_000), ACK);
    let expected = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    assert_same(&skb.frame, &one_hop(expected));
}

#[test]
fn bug_40827_a_backends_error_is_the_services_to_the_client() {
    let node = node(&[POD]);
    arrives(&node, &request(SYN)).0.expect("passes");
    let quoted = tcp((ROUTER, 50_000), (POD, 8080), SYN);
    let error = icmp_error(POD, DEST_UNREACH, 3, &quoted, 20);
    let out = node.frame_leaves(error.frame()).expect("passes");
    let expected = icmp_error(NODE, DEST_UNREACH, 3, &request(SYN), 20);
    assert_same(&out, &expected);
}

#[test]
fn an_error_from_the_way_to_another_node_names_the_service() {
    let node = node(&[REMOTE_POD]);
    let (_, skb) = arrives(&node, &request(SYN));
    node.packet_leaves(skb);
    let quoted = tcp((NODE, 50_000), (REMOTE_POD, 8080), ACK);
    let error = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::Continue));
    let out = node.packet_leaves(skb);
    let quoted = request(ACK);
    let expected = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    assert_same(&out, &expected);
}

#[test]
fn an_error_from_the_clients_side_is_told_another_nodes_backend() {
    let node = node(&[REMOTE_POD]);
    let (_, skb) = arrives(&node, &request(SYN));
    node.packet_leaves(skb);
    let quoted = tcp((NODE, NODE_PORT), (ROUTER, 50_000), ACK);
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::Continue));
    let out = node.packet_leaves(skb);
    let quoted = tcp((REMOTE_POD, 8080), (NODE, 50_000), ACK);
    let mut expected = icmp_error(NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    expected.destination = REMOTE_POD;
    assert_same(&out, &expected);
}

#[test]
fn an_error_that_is_forwarded_for_others_stays_as_it_is() {
    let node = node(&[REMOTE_POD]);
    let quoted = tcp((REMOTE_POD, 8080), (ROUTER, 50_000), ACK);
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let out = node.frame_leaves(error.frame()).expect("passes");
    assert_same(&out, &error);
}

#[test]
fn a_source_range_is_for_the_outside_alone_and_may_be_inverted() {
    let mut node = node(&[POD]);
    let key = key(NODE, NODE_PORT);
    let reaches = |node: &Node| match arrives(node, &request(SYN)).0 {
        Ok(action) => action == Action::ToPod { ifindex: LXC },
        Err(reason) => {
            assert_eq!(reason, DropReason::NotInSourceRange);
            false
        }
    };
    let open = node.services.services[&key];
    let range = SourceRangeKey::new(open.rev_nat_index, ROUTER.into());
    for (flags2, ranges, expected) in [
        (0, vec![], false),
        (0, vec![range], true),
        (flag2::SOURCE_RANGE_DENY, vec![], true),
        (flag2::SOURCE_RANGE_DENY, vec![range], false),
    ] {
        let checked = Service {
            flags: open.flags | flag::SOURCE_RANGE,
            flags2,
            ..open
        };
        node.services.services.insert(key, checked);
        node.services.in_source_range = ranges;
        assert_eq!(reaches(&node), expected);
    }
}

#[test]
fn a_pods_packet_past_its_sockets_is_translated_both_ways() {
    let node = node(&[NEIGHBOUR_POD]);
    let mut skb = Skb::new(tcp((POD, 40_000), (CLUSTER_IP, 80), SYN).frame(), LXC);
    let action = node.cil_from_container(&mut skb);
    let neighbour = Action::ToPod {
        ifindex: NEIGHBOUR_LXC,
    };
    assert_eq!(action, Ok(neighbour));
    assert_same(
        &skb.frame,
        &one_hop(tcp((POD, 40_000), (NEIGHBOUR_POD, 8080), SYN)),
    );

    let answer = tcp((NEIGHBOUR_POD, 8080), (POD, 40_000), SYN | ACK);
    let mut skb = Skb::new(answer.frame(), NEIGHBOUR_LXC);
    let action = node.cil_from_container(&mut skb);
    assert_eq!(action, Ok(Action::ToPod { ifindex: LXC }));
    assert_same(
        &skb.frame,
        &one_hop(tcp((CLUSTER_IP, 80), (POD, 40_000), SYN | ACK)),
    );
}

#[test]
fn the_answer_of_another_nodes_backend_comes_from_the_service() {
    let node = node(&[REMOTE_POD]);
    let mut skb = Skb::new(tcp((POD, 40_000), (CLUSTER_IP, 80), SYN).frame(), LXC);
    assert!(matches!(
        node.cil_from_container(&mut skb),
        Ok(Action::ToNeighbour(_))
    ));
    let out = node.packet_leaves(skb);
    assert_same(&out, &one_hop(tcp((POD, 40_000), (REMOTE_POD, 8080), SYN)));
    let answer = tcp((REMOTE_POD, 8080), (POD, 40_000), SYN | ACK);
    let (action, skb) = arrives(&node, &answer);
    assert_eq!(action, Ok(Action::ToPod { ifindex: LXC }));
    assert_same(
        &skb.frame,
        &one_hop(tcp((CLUSTER_IP, 80), (POD, 40_000), SYN | ACK)),
    );
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let node = node(&[POD]);
    let mut skb = Skb::new(tcp((POD, 40_000), (CLUSTER_IP, 80), SYN).frame(), LXC);
    assert_eq!(
        node.cil_from_container(&mut skb),
        Ok(Action::ToPod { ifindex: LXC })
    );
    assert_same(
        &skb.frame,
        &one_hop(tcp((LOOPBACK, 40_000), (POD, 8080), SYN)),
    );

    let answer = tcp((POD, 8080), (LOOPBACK, 40_000), SYN | ACK);
    let mut skb = Skb::new(answer.frame(), LXC);
    assert_eq!(
        node.cil_from_container(&mut skb),
        Ok(Action::ToPod { ifindex: LXC })
    );
    assert_same(
        &skb.frame,
        &one_hop(tcp((CLUSTER_IP, 80), (POD, 40_000), SYN | ACK)),
    );
}

#[test]
fn a_redirects_own_backend_is_not_redirected_per_packet_either() {
    let mut node = node(&[POD]);
    let redirect = Service {
        flags2: flag2::LOCAL_REDIRECT,
        ..Service::default()
    };
    add(&mut node.services, 1, key(CLUSTER_IP, 80), redirect, &[POD]);
    let pod = node.endpoints.get_mut(&POD.into()).expect("there");
    pod.flags |= REDIRECT_BACKEND;
    let packet = tcp((POD, 40_000), (CLUSTER_IP, 80), SYN);
    let mut skb = Skb::new(packet.frame(), LXC);
    assert_eq!(node.cil_from_container(&mut skb), Ok(Action::Continue));
    assert_same(&skb.frame, &packet);
}

#[test]
fn what_is_no_service_is_what_it_was() {
    let node = node(&[POD]);
    let packet = udp((ROUTER, 50_000), (NODE, NODE_PORT));
    let (action, skb) = arrives(&node, &packet);
    assert_eq!(action, Ok(Action::Continue), "another protocol");
    assert_same(&skb.frame, &packet);
    let flow = tuple(17, (ROUTER, 50_000), (NODE, NODE_PORT), Direction::Service);
    assert!(node.tracked(flow).is_none());
}
