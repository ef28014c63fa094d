//! The maps of services, written as the agent does.

use std::net::{Ipv4Addr, SocketAddrV4};

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie};
use lab_datapath_common::maps;
use lab_datapath_common::service::{
    AffinityMatch, Backend, ReverseNat, Service, ServiceKey, SourceRangeKey, flag, scope,
};
use lab_datapath_common::{Address, Port};

use crate::datapath::Datapath;

/// A service of the cluster alone, without session affinity.
pub(crate) const CLUSTER_IP: Service = Service {
    backend_or_timeout: 0,
    count: 0,
    rev_nat_index: 0,
    flags: 0,
    flags2: 0,
    quarantined: 0,
};
/// A port on the node's addresses.
pub(crate) const NODE_PORT: Service = Service {
    flags: flag::NODE_PORT | flag::ROUTABLE,
    ..CLUSTER_IP
};
/// A LoadBalancer's address.
pub(crate) const LOAD_BALANCER: Service = Service {
    flags: flag::LOAD_BALANCER | flag::ROUTABLE,
    ..CLUSTER_IP
};

/// A frontend, under the key that the maps know it by.
pub(crate) struct Frontend {
    /// The service's number.
    pub(crate) id: u16,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// What clients ask for.
    pub(crate) at: SocketAddrV4,
    /// One of [`scope`].
    pub(crate) scope: u8,
}

impl Frontend {
    pub(crate) const fn new(id: u16, protocol: u8, at: SocketAddrV4) -> Self {
        Self {
            id,
            protocol,
            at,
            scope: scope::EXT,
        }
    }

    fn key(&self) -> ServiceKey {
        let port = Port::new(self.at.port());
        ServiceKey::new(Address::from(*self.at.ip()), port, self.protocol).in_scope(self.scope)
    }
}

impl Datapath {
    /// Writes a service and its backends, of which each address has one number whichever
    /// service it is of. What the frontend had before stays where it is not overwritten.
    pub(crate) fn service(&mut self, frontend: &Frontend, kind: Service, to: &[SocketAddrV4]) {
        let service = Service {
            rev_nat_index: frontend.id,
            ..kind
        };
        for (slot, backend) in (1..).zip(to) {
            let id = self.backend(frontend.protocol, *backend);
            let at_slot = Service {
                backend_or_timeout: id,
                ..service
            };
            self.slot(frontend.key().at_slot(slot), at_slot);
            let matched = AffinityMatch {
                backend: id,
                rev_nat_index: frontend.id,
                padding: 0,
            };
            let mut matches: HashMap<_, AffinityMatch, u8> = self.map(maps::LB_AFFINITY_MATCH);
            matches.insert(matched, 0, 0).expect("the map has room");
        }
        let count = u16::try_from(to.len()).expect("few");
        self.slot(frontend.key(), Service { count, ..service });
        let mut frontends: HashMap<_, u16, ReverseNat> = self.map(maps::LB4_REVERSE_NAT);
        let asked_for = ReverseNat {
            address: Address::from(*frontend.at.ip()),
            port: Port::new(frontend.at.port()),
            padding: 0,
        };
        frontends
            .insert(frontend.id, asked_for, 0)
            .expect("the map has room");
    }

    /// Gives the service of that number a source range.
    pub(crate) fn source_range(&mut self, id: u16, address: Ipv4Addr, prefix_length: u32) {
        let mut map: LpmTrie<_, SourceRangeKey, u8> = self.map(maps::LB4_SOURCE_RANGE);
        let range = SourceRangeKey::new(id, Address::from(address));
        let key = Key::new(SourceRangeKey::FIXED_BITS + prefix_length, range);
        map.insert(&key, 1, 0).expect("the map has room");
    }

    /// Takes one away.
    pub(crate) fn forget_source_range(&mut self, id: u16, address: Ipv4Addr, prefix_length: u32) {
        let mut map: LpmTrie<_, SourceRangeKey, u8> = self.map(maps::LB4_SOURCE_RANGE);
        let range = SourceRangeKey::new(id, Address::from(address));
        let key = Key::new(SourceRangeKey::FIXED_BITS + prefix_length, range);
        map.remove(&key).expect("the range is there");
    }

    /// Takes a backend of a service away.
    pub(crate) fn forget_backend(&mut self, at: SocketAddrV4) {
        let mut map: HashMap<_, u32, Backend> = self.map(maps::LB4_BACKENDS);
        map.remove(&backend_id(at)).expect("the backend is there");
    }

    fn backend(&mut self, protocol: u8, at: SocketAddrV4) -> u32 {
        let mut map: HashMap<_, u32, Backend> = self.map(maps::LB4_BACKENDS);
        let backend = Backend {
            address: Address::from(*at.ip()),
            port: Port::new(at.port()),
            protocol,
            ..Backend::default()
        };
        let id = backend_id(at);
        map.insert(id, backend, 0).expect("the map has room");
        id
    }

    fn slot(&mut self, key: ServiceKey, value: Service) {
        let mut map: HashMap<_, ServiceKey, Service> = self.map(maps::LB4_SERVICES);
        map.insert(key, value, 0).expect("the map has room");
    }
}

/// Pods of the tests differ in the last two bytes.
fn backend_id(at: SocketAddrV4) -> u32 {
    let [_, _, node, pod]: [u8; 4] = Ipv4Addr::octets(at.ip());
    u32::from(node) << 8 | u32::from(pod)
}
