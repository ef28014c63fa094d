//! Services, at the socket and per packet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use lab_datapath_common::endpoint::flag::REDIRECT_BACKEND;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::{Refused, Route};
use lab_datapath_common::service::socket::{
    Forward, Peer, Reverse, Socket, forward, may_bind, reverse,
};
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, ReverseSk, ReverseSkKey,
    Service, ServiceKey, Services, SkipKey, SourceRangeKey, flag, flag2, scope,
};
use lab_datapath_common::settings;
use lab_datapath_common::trace::XlatePoint;
use lab_datapath_common::{Address, Direction, DropReason, Port, protocol};

use crate::frame::{ACK, DEST_UNREACH, Datagram, FRAG_NEEDED, SYN, icmp_error, tcp, udp};
use crate::host::{Host, Node, ServiceMaps, Skb};
use crate::scene::{
    ETH1, LXC, NEIGHBOUR_LXC, NEIGHBOUR_POD, NODE, POD, REMOTE_NODE, REMOTE_POD, ROUTER,
    redirecting_node, tuple,
};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
pub(crate) const NODE_PORT: u16 = 30080;
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);
const HOST_NETNS: u64 = 1;
const POD_NETNS: u64 = 2;

fn add(maps: &mut ServiceMaps, id: u16, key: ServiceKey, service: Service, to: &[Ipv4Addr]) {
    let service = Service {
        rev_nat_index: id,
        ..service
    };
    for (slot, address) in (1..).zip(to) {
        let backend = u32::from(id) * 10 + u32::from(slot);
        let value = Backend {
            address: (*address).into(),
            port: Port::new(8080),
            protocol: key.protocol,
            ..Backend::default()
        };
        maps.backends.insert(backend, value);
        let at_slot = Service {
            backend_or_timeout: backend,
            ..service
        };
        maps.services.insert(key.at_slot(slot), at_slot);
        maps.matches.push(AffinityMatch {
            backend,
            rev_nat_index: id,
            padding: 0,
        });
    }
    let count = u16::try_from(to.len()).expect("few");
    maps.services.insert(key, Service { count, ..service });
    let frontend = ReverseNat {
        address: key.address,
        port: key.port,
        padding: 0,
    };
    maps.reverse_nat.insert(id, frontend);
}

fn key(address: Ipv4Addr, port: u16) -> ServiceKey {
    ServiceKey::new(address.into(), Port::new(port), protocol::TCP)
}

/// A ClusterIP and a NodePort, both TCP and in front of `backends`.
pub(crate) fn node(backends: &[Ipv4Addr]) -> Node {
    let mut node = redirecting_node();
    node.set(settings::flag::SERVICES);
    node.services.config = Config {
        host_netns_cookie: HOST_NETNS,
        node_port_min: 30000,
        node_port_max: 32767,
        is_enabled: 1,
    };
    let route = Route {
        ifindex: ETH1,
        next_hop: REMOTE_NODE.into(),
    };
    node.routes.insert(REMOTE_POD.into(), route);
    let node_port = Service {
        flags: flag::NODE_PORT | flag::ROUTABLE,
        ..Service::default()
    };
    let maps = &mut node.services;
    add(maps, 1, key(CLUSTER_IP, 80), Service::default(), backends);
    add(maps, 2, key(NODE, NODE_PORT), node_port, backends);
    add(
        maps,
        3,
        key(Ipv4Addr::UNSPECIFIED, NODE_PORT),
        node_port,
        backends,
    );
    node
}

/// A system call of a socket.
struct Call<'a> {
    node: &'a Node,
    netns: u64,
    protocol: u8,
    named: (Address, Port),
    memory: &'a RefCell<HashMap<ReverseSkKey, ReverseSk>>,
    is_full: bool,
}

macro_rules! through_the_node {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {$(
        fn $name(&self, $($argument: $kind),*) -> $result {
            let mut skb = Skb::new(Vec::new(), 0);
            let host = Host { node: self.node, skb: &mut skb };
            Services::$name(&host, $($argument),*)
        }
    )+};
}

impl Services for Call<'_> {
    through_the_node! {
        config() -> Config;
        service(key: &ServiceKey) -> Option<Service>;
        backend(id: u32) -> Option<Backend>;
        reverse_nat(id: u16) -> Option<ReverseNat>;
        affinity(key: &AffinityKey) -> Option<Affinity>;
        set_affinity(key: &AffinityKey, value: &Affinity) -> ();
        forget_affinity(key: &AffinityKey) -> ();
        is_affinity_match(key: &AffinityMatch) -> bool;
        is_skipped(key: &SkipKey) -> bool;
        identity_of(address: Address) -> Option<u32>;
        seconds() -> u32;
    }
}

impl Socket for Call<'_> {
    fn cookie(&self) -> u64 {
        77
    }

    fn netns_cookie(&self) -> u64 {
        self.netns
    }

    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn named(&self) -> Option<(Address, Port)> {
        Some(self.named)
    }

    fn rename(&mut self, address: Address, port: Port) {
        self.named = (address, port);
    }

    fn draw(&self) -> u32 {
        self.node.draws.borrow_mut().pop_front().unwrap_or_default()
    }

    fn remember(&self, key: &ReverseSkKey, value: &ReverseSk) -> Result<(), Refused> {
        if self.is_full {
            return Err(Refused);
        }
        self.memory.borrow_mut().insert(*key, *value);
        Ok(())
    }

    fn remembered(&self, key: &ReverseSkKey) -> Option<ReverseSk> {
        self.memory.borrow().get(key).copied()
    }

    fn forget(&self, key: &ReverseSkKey) {
        self.memory.borrow_mut().remove(key);
    }

    fn event(&self, _: XlatePoint, _: Peer) {}
}

type Memory = RefCell<HashMap<ReverseSkKey, ReverseSk>>;

fn call<'a>(node: &'a Node, memory: &'a Memory, to: (Ipv4Addr, u16)) -> Call<'a> {
    Call {
        node,
        netns: POD_NETNS,
        protocol: protocol::TCP,
        named: (to.0.into(), Port::new(to.1)),
        memory,
        is_full: false,
    }
}

fn named(call: &Call<'_>) -> (Ipv4Addr, u16) {
    (call.named.0.into(), call.named.1.number())
}

#[test]
fn a_socket_goes_to_a_backend_and_sees_the_service() {
    let (node, memory) = (node(&[REMOTE_POD]), Memory::default());
    let mut call = call(&node, &memory, (CLUSTER_IP, 80));
    assert!(matches!(forward(&mut call), Forward::Translated { .. }));
    assert_eq!(named(&call), (REMOTE_POD, 8080));
    assert!(matches!(reverse(&mut call), Reverse::Translated { .. }));
    assert_eq!(named(&call), (CLUSTER_IP, 80));
}

#[test]
fn case_31_bug_40450_a_skipped_pod_is_not_translated_to_itself() {
    let mut node = node(&[POD]);
    let redirect = Service {
        flags2: flag2::LOCAL_REDIRECT,
        ..Service::default()
    };
    add(&mut node.services, 1, key(CLUSTER_IP, 80), redirect, &[POD]);
    let skip = SkipKey {
        netns_cookie: POD_NETNS,
        address: CLUSTER_IP.into(),
        port: Port::new(80),
        padding: 0,
    };
    node.services.skips.push(skip);
    let memory = Memory::default();
    let mut exempt = call(&node, &memory, (CLUSTER_IP, 80));
    assert_eq!(forward(&mut exempt), Forward::Untouched);
    assert_eq!(named(&exempt), (CLUSTER_IP, 80));
    let mut other = call(&node, &memory, (CLUSTER_IP, 80));
    other.netns = POD_NETNS + 1;
    assert!(matches!(forward(&mut other), Forward::Translated { .. }));
    let before = key(CLUSTER_IP, 80).in_scope(scope::UNREDIRECTED);
    add(
        &mut node.services,
        1,
        before,
        Service::default(),
        &[REMOTE_POD],
    );
    let mut exempt = call(&node, &memory, (CLUSTER_IP, 80));
    assert!(matches!(forward(&mut exempt), Forward::Translated { .. }));
    assert_eq!(named(&exempt), (REMOTE_POD, 8080));
}

#[test]
fn case_32_a_service_without_backends_is_refused() {
    let (node, memory) = (node(&[]), Memory::default());
    let mut call = call(&node, &memory, (CLUSTER_IP, 80));
    assert!(matches!(forward(&mut call), Forward::NoBackend { .. }));
    assert_eq!(named(&call), (CLUSTER_IP, 80));
}

#[test]
fn what_is_remembered_goes_with_the_service() {
    let (mut node, memory) = (node(&[REMOTE_POD]), Memory::default());
    assert!(matches!(
        forward(&mut call(&node, &memory, (CLUSTER_IP, 80))),
        Forward::Translated { .. }
    ));
    node.services.services.remove(&key(CLUSTER_IP, 80));
    let mut answer = call(&node, &memory, (REMOTE_POD, 8080));
    assert_eq!(reverse(&mut answer), Reverse::Stale);
    assert_eq!(named(&answer), (REMOTE_POD, 8080));
    assert!(memory.borrow().is_empty());
}

#[test]
fn no_room_to_remember_is_an_error_and_changes_nothing() {
    let (node, memory) = (node(&[REMOTE_POD]), Memory::default());
    let mut call = call(&node, &memory, (CLUSTER_IP, 80));
    call.is_full = true;
    assert_eq!(forward(&mut call), Forward::NoMemory);
    assert_eq!(named(&call), (CLUSTER_IP, 80));
}

#[test]
fn an_external_ip_of_somebody_else_stays_his() {
    let (mut node, memory) = (node(&[REMOTE_POD]), Memory::default());
    let external = Service {
        flags: flag::EXTERNAL_IP | flag::ROUTABLE,
        ..Service::default()
    };
    add(
        &mut node.services,
        9,
        key(ROUTER, 80),
        external,
        &[REMOTE_POD],
    );
    let mut call = call(&node, &memory, (ROUTER, 80));
    assert_eq!(forward(&mut call), Forward::Untouched);
}

#[test]
fn affinity_lasts_as_long_as_it_is_used_and_the_backend_is_there() {
    let (mut node, memory) = (node(&[REMOTE_POD, POD]), Memory::default());
    let sticky = Service {
        flags: flag::AFFINITY,
        backend_or_timeout: 60,
        ..Service::default()
    };
    add(
        &mut node.services,
        1,
        key(CLUSTER_IP, 80),
        sticky,
        &[REMOTE_POD, POD],
    );
    let reached = |node: &Node, draw| {
        node.draws.borrow_mut().push_back(draw);
        let mut call = call(node, &memory, (CLUSTER_IP, 80));
        forward(&mut call);
        node.draws.borrow_mut().clear();
        named(&call).0
    };
    assert_eq!(reached(&node, 0), REMOTE_POD);
    for _ in 0..3 {
        node.wait(59);
        assert_eq!(reached(&node, 1), REMOTE_POD);
    }
    node.wait(60);
    assert_eq!(reached(&node, 1), POD, "too late");
    node.services.matches.retain(|it| it.backend != 12);
    assert_eq!(reached(&node, 0), REMOTE_POD, "no longer a backend");
}

#[test]
fn only_the_node_is_kept_off_its_node_ports() {
    let (node, memory) = (node(&[REMOTE_POD]), Memory::default());
    let mut bind = call(&node, &memory, (NODE, NODE_PORT));
    assert!(may_bind(&bind), "a pod");
    bind.netns = HOST_NETNS;
    assert!(!may_bind(&bind));
    bind.named.1 = Port::new(NODE_PORT + 1);
    assert!(may_bind(&bind));
}

/// From the router in through `eth1`.
pub(crate) fn arrives(node: &Node, datagram: &Datagram) -> (Result<Action, DropReason>, Skb) {
    let mut skb = Skb::new(datagram.frame(), ETH1);
    (node.cil_from_netdev(&mut skb), skb)
}

/// Out of `eth1`, with the mark it has.
fn leaves(node: &Node, skb: Skb) -> Vec<u8> {
    let mut skb = Skb {
        ifindex: ETH1,
        ..skb
    };
    assert_eq!(node.cil_to_netdev(&mut skb), Ok(Action::Continue));
    skb.frame
}

pub(crate) fn request(flags: u8) -> Datagram {
    tcp((ROUTER, 50_000), (NODE, NODE_PORT), flags)
}

/// The IP packet and what follows: MAC addresses are the stack's.
#[track_caller]
pub(crate) fn assert_same(frame: &[u8], expected: &Datagram) {
    assert_eq!(frame[14..], expected.frame()[14..]);
}

pub(crate) fn one_hop(mut datagram: Datagram) -> Datagram {
    datagram.ttl -= 1;
    datagram
}

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
    let out = leaves(&node, skb);
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
    let out = leaves(&node, skb);
    let expected = tcp((NODE, 50_000), (REMOTE_POD, 8080), SYN);
    assert_same(&out, &one_hop(expected.clone()));

    let answer = tcp((REMOTE_POD, 8080), (NODE, 50_000), SYN | ACK);
    let (action, skb) = arrives(&node, &answer);
    assert!(matches!(action, Ok(Action::ToNeighbour(_))), "{action:?}");
    let out = leaves(&node, skb);
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
    leaves(&node, skb);
    let quoted = tcp((NODE, 50_000), (REMOTE_POD, 8080), ACK);
    let error = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::Continue));
    let out = leaves(&node, skb);
    let quoted = request(ACK);
    let expected = icmp_error(REMOTE_NODE, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    assert_same(&out, &expected);
}

#[test]
fn an_error_from_the_clients_side_is_told_another_nodes_backend() {
    let node = node(&[REMOTE_POD]);
    let (_, skb) = arrives(&node, &request(SYN));
    leaves(&node, skb);
    let quoted = tcp((NODE, NODE_PORT), (ROUTER, 50_000), ACK);
    let error = icmp_error(ROUTER, DEST_UNREACH, FRAG_NEEDED, &quoted, 20);
    let (action, skb) = arrives(&node, &error);
    assert_eq!(action, Ok(Action::Continue));
    let out = leaves(&node, skb);
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
    let out = leaves(&node, skb);
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
