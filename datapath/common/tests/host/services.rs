//! Services at the socket: system calls over hash maps.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::Ipv4Addr;

use lab_datapath_common::endpoint::identity;
use lab_datapath_common::kernel::Refused;
use lab_datapath_common::service::socket::{
    Forward, Peer, Reverse, Socket, forward, may_bind, reverse,
};
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseSk, ReverseSkKey, Service,
    ServiceKey, Services, SkipKey, flag, flag2, scope,
};
use lab_datapath_common::trace::XlatePoint;
use lab_datapath_common::{Address, Port, protocol};

use crate::scene::{NODE, POD, REMOTE_POD, ROUTER, START};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
const NODE_PORT: u16 = 30080;
const HOST_NETNS: u64 = 1;
const POD_NETNS: u64 = 2;

/// The maps, the clock, and what is drawn next.
#[derive(Default)]
struct Node {
    config: Config,
    services: HashMap<ServiceKey, Service>,
    backends: HashMap<u32, Backend>,
    affinity: RefCell<HashMap<AffinityKey, Affinity>>,
    matches: Vec<AffinityMatch>,
    skips: Vec<SkipKey>,
    now: Cell<u32>,
    draw: Cell<u32>,
}

fn add(maps: &mut Node, id: u16, key: ServiceKey, service: Service, to: &[Ipv4Addr]) {
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
}

fn key(address: Ipv4Addr, port: u16) -> ServiceKey {
    ServiceKey::new(address.into(), Port::new(port), protocol::TCP)
}

/// A ClusterIP and a NodePort, both TCP and in front of `backends`.
fn node(backends: &[Ipv4Addr]) -> Node {
    let mut node = Node {
        config: Config {
            host_netns_cookie: HOST_NETNS,
            node_port_min: 30000,
            node_port_max: 32767,
            is_enabled: 1,
        },
        now: Cell::new(START),
        ..Node::default()
    };
    let node_port = Service {
        flags: flag::NODE_PORT | flag::ROUTABLE,
        ..Service::default()
    };
    add(
        &mut node,
        1,
        key(CLUSTER_IP, 80),
        Service::default(),
        backends,
    );
    add(&mut node, 2, key(NODE, NODE_PORT), node_port, backends);
    add(
        &mut node,
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

impl Services for Call<'_> {
    fn config(&self) -> Config {
        self.node.config
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.node.services.get(key).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        self.node.backends.get(&id).copied()
    }

    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.node.affinity.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, value: &Affinity) {
        self.node.affinity.borrow_mut().insert(*key, *value);
    }

    fn forget_affinity(&self, key: &AffinityKey) {
        self.node.affinity.borrow_mut().remove(key);
    }

    fn is_affinity_match(&self, key: &AffinityMatch) -> bool {
        self.node.matches.contains(key)
    }

    fn is_skipped(&self, key: &SkipKey) -> bool {
        self.node.skips.contains(key)
    }

    fn identity_of(&self, address: Address) -> Option<u32> {
        (address == NODE.into()).then_some(identity::HOST)
    }

    fn seconds(&self) -> u32 {
        self.node.now.get()
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
        self.node.draw.get()
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
    add(&mut node, 1, key(CLUSTER_IP, 80), redirect, &[POD]);
    let skip = SkipKey {
        netns_cookie: POD_NETNS,
        address: CLUSTER_IP.into(),
        port: Port::new(80),
        padding: 0,
    };
    node.skips.push(skip);
    let memory = Memory::default();
    let mut exempt = call(&node, &memory, (CLUSTER_IP, 80));
    assert_eq!(forward(&mut exempt), Forward::Untouched);
    assert_eq!(named(&exempt), (CLUSTER_IP, 80));
    let mut other = call(&node, &memory, (CLUSTER_IP, 80));
    other.netns = POD_NETNS + 1;
    assert!(matches!(forward(&mut other), Forward::Translated { .. }));
    let before = key(CLUSTER_IP, 80).in_scope(scope::UNREDIRECTED);
    add(&mut node, 1, before, Service::default(), &[REMOTE_POD]);
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
    node.services.remove(&key(CLUSTER_IP, 80));
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
    add(&mut node, 9, key(ROUTER, 80), external, &[REMOTE_POD]);
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
        &mut node,
        1,
        key(CLUSTER_IP, 80),
        sticky,
        &[REMOTE_POD, POD],
    );
    let reached = |node: &Node, draw| {
        node.draw.set(draw);
        let mut call = call(node, &memory, (CLUSTER_IP, 80));
        forward(&mut call);
        named(&call).0
    };
    assert_eq!(reached(&node, 0), REMOTE_POD);
    for _ in 0..3 {
        node.now.set(node.now.get() + 59);
        assert_eq!(reached(&node, 1), REMOTE_POD);
    }
    node.now.set(node.now.get() + 60);
    assert_eq!(reached(&node, 1), POD, "too late");
    node.matches.retain(|it| it.backend != 12);
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
