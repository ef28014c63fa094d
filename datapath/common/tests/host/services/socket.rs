//! Services at the socket.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use lab_datapath_common::kernel::Refused;
use lab_datapath_common::service::socket::{
    Forward, Peer, Reverse, Socket, forward, may_bind, reverse,
};
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, ReverseSk, ReverseSkKey,
    Service, ServiceKey, Services, SkipKey, flag, flag2, scope,
};
use lab_datapath_common::trace::XlatePoint;
use lab_datapath_common::{Address, Port, protocol};

use super::{CLUSTER_IP, HOST_NETNS, NODE_PORT, add, key, node};
use crate::host::{Host, Node, Skb};
use crate::scene::{NODE, POD, REMOTE_POD, ROUTER};

const POD_NETNS: u64 = 2;

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
