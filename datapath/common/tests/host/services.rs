//! A node with services, and what the tests of each way into it share.

mod packet;
mod socket;

use std::net::Ipv4Addr;

use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::Route;
use lab_datapath_common::service::{
    AffinityMatch, Backend, Config, ReverseNat, Service, ServiceKey, flag,
};
use lab_datapath_common::{DropReason, Port, protocol, settings};

use crate::frame::{Datagram, tcp};
use crate::host::{Node, ServiceMaps, Skb};
use crate::scene::{ETH1, NODE, REMOTE_NODE, REMOTE_POD, ROUTER, redirecting_node};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
pub(crate) const NODE_PORT: u16 = 30080;
const HOST_NETNS: u64 = 1;

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

/// From the router in through `eth1`.
pub(crate) fn arrives(node: &Node, datagram: &Datagram) -> (Result<Action, DropReason>, Skb) {
    let mut skb = Skb::new(datagram.frame(), ETH1);
    (node.cil_from_netdev(&mut skb), skb)
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
