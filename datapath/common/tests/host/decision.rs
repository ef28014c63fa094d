//! Whether the source is translated: one test per rule of the decision.

use lab_datapath_common::{Direction, settings::flag};

use crate::frame::{Payload, SYN, datagram, tcp, udp};
use crate::scene::{
    CILIUM_HOST, NODE, POD, REMOTE_NODE, REMOTE_POD, ROUTER, WORLD, node, source_of, tuple,
};
use lab_datapath_common::endpoint;

const FROM_POD: (std::net::Ipv4Addr, u16) = (POD, 40_000);

#[test]
fn case_1_udp_to_the_world_takes_the_node_address_and_nothing_else_changes() {
    let node = node();
    let sent = udp(FROM_POD, (WORLD, 53));
    let left = node.pod_sends(&sent).expect("passes");
    assert_eq!(left, sent.from((NODE, 40_000)).frame());
}

#[test]
fn case_2_a_pod_on_another_node_sees_the_pod() {
    let node = node();
    let sent = udp(FROM_POD, (REMOTE_POD, 53));
    assert_eq!(node.pod_sends(&sent), Ok(sent.frame()));
    assert!(node.nat.borrow().is_empty());
}

#[test]
fn case_3_native_routing_another_node_sees_the_pod() {
    let node = node();
    let sent = udp(FROM_POD, (REMOTE_NODE, 53));
    assert_eq!(node.pod_sends(&sent), Ok(sent.frame()));
}

#[test]
fn case_4_tunnel_another_node_sees_the_node() {
    let mut node = node();
    node.set(flag::TUNNEL);
    let sent = udp(FROM_POD, (REMOTE_NODE, 53));
    let expected = sent.clone().from((NODE, 40_000)).frame();
    assert_eq!(node.pod_sends(&sent), Ok(expected));
}

#[test]
fn rule_7_remote_node_masquerade_translates_towards_other_nodes() {
    let mut node = node();
    node.set(flag::REMOTE_NODE_MASQUERADE);
    let sent = udp(FROM_POD, (REMOTE_NODE, 53));
    let expected = sent.clone().from((NODE, 40_000)).frame();
    assert_eq!(node.pod_sends(&sent), Ok(expected));
}

#[test]
fn case_6_an_endpoint_with_no_snat_keeps_its_address() {
    let mut node = node();
    let pod = node.endpoints.get_mut(&POD.into()).expect("the pod");
    pod.flags |= endpoint::flag::NO_SNAT;
    let sent = udp(FROM_POD, (WORLD, 53));
    assert_eq!(node.pod_sends(&sent), Ok(sent.frame()));
}

#[test]
fn rule_5_another_address_of_the_host_stays() {
    let node = node();
    let sent = udp((CILIUM_HOST, 40_000), (WORLD, 53));
    assert_eq!(node.host_sends(&sent), Ok(sent.frame()));
}

#[test]
fn case_20_a_reply_to_the_world_keeps_the_pod_address() {
    let node = node();
    let request = tcp((WORLD, 50_000), (POD, 80), SYN);
    assert_eq!(node.arrives(&request), Ok(request.frame()));
    let reply = request.reply();
    assert_eq!(node.pod_sends(&reply), Ok(reply.frame()));
    assert!(node.nat.borrow().is_empty());
}

/// A dead entry is no flow any more: the pod's packet opens a new one.
#[test]
fn rule_2_a_reply_counts_only_while_the_flow_is_alive() {
    let node = node();
    let request = udp((WORLD, 50_000), (POD, 53));
    node.arrives(&request).expect("passes");
    node.wait(60);
    let left = node.pod_sends(&request.reply()).expect("passes");
    assert_eq!(source_of(&left).0, NODE);
}

#[test]
fn rule_4_the_exclusion_ends_where_its_prefix_ends() {
    let node = node();
    let inside = udp(FROM_POD, ("10.244.255.255".parse().expect("address"), 53));
    assert_eq!(node.pod_sends(&inside), Ok(inside.frame()));
    let outside = udp(FROM_POD, ("10.245.0.0".parse().expect("address"), 53));
    let left = node.pod_sends(&outside).expect("passes");
    assert_eq!(source_of(&left).0, NODE);
}

#[test]
fn rule_4_no_exclusion_translates_between_pods_too() {
    let mut node = node();
    node.clear(flag::EXCLUSION);
    let left = node.pod_sends(&udp(FROM_POD, (REMOTE_POD, 53)));
    assert_eq!(source_of(&left.expect("passes")).0, NODE);
}

#[test]
fn rule_6_non_masquerade_cidrs_count_only_with_the_ip_masq_agent() {
    let mut node = node();
    node.non_masquerade = vec![ROUTER.into()];
    let sent = udp(FROM_POD, (ROUTER, 53));
    let translated = sent.clone().from((NODE, 40_000)).frame();
    assert_eq!(node.pod_sends(&sent), Ok(translated));
    node.set(flag::IP_MASQ_AGENT);
    assert_eq!(node.pod_sends(&sent), Ok(sent.frame()));
}

#[test]
fn rule_8_what_is_forwarded_for_others_stays() {
    let node = node();
    let sent = udp((ROUTER, 40_000), (WORLD, 53));
    assert_eq!(node.host_sends(&sent), Ok(sent.frame()));
}

#[test]
fn masquerading_off_or_no_address_on_the_device_leaves_everything() {
    let sent = udp(FROM_POD, (WORLD, 53));
    let mut off = node();
    off.clear(flag::MASQUERADE);
    assert_eq!(off.pod_sends(&sent), Ok(sent.frame()));
    let mut bare = node();
    bare.devices
        .values_mut()
        .for_each(|it| it.address = Default::default());
    assert_eq!(bare.pod_sends(&sent), Ok(sent.frame()));
    let mut unmanaged = node();
    unmanaged.devices.clear();
    assert_eq!(unmanaged.pod_sends(&sent), Ok(sent.frame()));
}

#[test]
fn a_protocol_without_ports_leaves_untranslated() {
    let node = node();
    let esp = datagram(POD, WORLD, Payload::Other { protocol: 50 });
    assert_eq!(node.pod_sends(&esp), Ok(esp.frame()));
    assert!(node.ct.borrow().is_empty());
}

#[test]
fn what_is_not_ipv4_passes() {
    let node = node();
    let mut arp = udp(FROM_POD, (WORLD, 53)).frame();
    arp[13] = 0x06;
    assert_eq!(node.pod_sends_frame(arp.clone()), Ok(arp));
    let short = vec![0; 20];
    assert_eq!(node.pod_sends_frame(short.clone()), Ok(short));
}

/// The flow is in conntrack as the pod sees it, before translation.
#[test]
fn a_translated_flow_is_tracked_by_its_original_source() {
    let node = node();
    node.pod_sends(&udp(FROM_POD, (WORLD, 53))).expect("passes");
    let flow = tuple(17, FROM_POD, (WORLD, 53), Direction::Out);
    assert_eq!(node.tracked(flow).map(|it| it.tx_packets), Some(1));
}
