//! Services: a virtual address and port, and the backends that stand for it.
//!
//! [`socket`] translates at `connect`, `sendmsg` and their reverses, before there is
//! any packet; [`packet`] what no socket program saw, and [`overlay`] what of it goes into a tunnel. Maps and layouts are Cilium's (`bpf/lib/common.h`, `lib/lb.h`).
//!
//! A service is one entry at slot 0 with the number of its backends, and one for
//! each of them at the slots 1 to that number.

pub mod lookup;
pub mod overlay;
pub mod packet;
pub mod socket;

use crate::address::{Address, Port};

pub use lookup::Services;

/// Bits of [`Service::flags`], values of Cilium's `SVC_FLAG_…`.
pub mod flag {
    /// One of `spec.externalIPs`.
    pub const EXTERNAL_IP: u8 = 1 << 0;
    /// A port on the addresses of every node.
    pub const NODE_PORT: u8 = 1 << 1;
    /// Backends of this node alone, for what comes from outside.
    pub const EXT_LOCAL_SCOPE: u8 = 1 << 2;
    /// A client stays with its backend.
    pub const AFFINITY: u8 = 1 << 4;
    /// A LoadBalancer address.
    pub const LOAD_BALANCER: u8 = 1 << 5;
    /// Reached from outside, too: every kind but ClusterIP.
    pub const ROUTABLE: u8 = 1 << 6;
    /// Not for every client from outside: [`super::SourceRangeKey`].
    pub const SOURCE_RANGE: u8 = 1 << 7;
}

/// Bits of [`Service::flags2`].
pub mod flag2 {
    /// A local redirect policy put its backends there.
    pub const LOCAL_REDIRECT: u8 = 1 << 0;
    /// Backends of this node alone, for what comes from the cluster.
    pub const INT_LOCAL_SCOPE: u8 = 1 << 4;
    /// There is another entry for what comes from the cluster ([`super::scope::INT`]).
    pub const TWO_SCOPES: u8 = 1 << 5;
    /// The source ranges are those that the service is not there for.
    pub const SOURCE_RANGE_DENY: u8 = 1 << 6;
}

/// Values of [`ServiceKey::scope`].
pub mod scope {
    /// From anywhere, or from outside if there are two.
    pub const EXT: u8 = 0;
    /// From the cluster.
    pub const INT: u8 = 1;
    /// What the frontend would be without its local redirect policy, for backends
    /// that are exempt from it. Cilium has no such entry, and leaves their traffic
    /// untranslated.
    pub const UNREDIRECTED: u8 = 2;
}

/// Key of `cilium_lb4_services_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The frontend's address; unspecified for a NodePort on any address of a node.
    pub address: Address,
    /// The frontend's port.
    pub port: Port,
    /// 0 for the service, from 1 on its backends.
    pub slot: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// One of [`scope`].
    pub scope: u8,
    /// Zero.
    pub padding: [u8; 2],
}

impl ServiceKey {
    /// The service behind a frontend.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: Port, protocol: u8) -> Self {
        Self {
            address,
            port,
            slot: 0,
            protocol,
            scope: scope::EXT,
            padding: [0; 2],
        }
    }

    /// One of its slots.
    #[inline(always)]
    #[must_use]
    pub const fn at_slot(self, slot: u16) -> Self {
        Self { slot, ..self }
    }

    /// The same frontend in another scope.
    #[inline(always)]
    #[must_use]
    pub const fn in_scope(self, scope: u8) -> Self {
        Self { scope, ..self }
    }
}

/// Value of `cilium_lb4_services_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// At slot 0 the seconds of session affinity, elsewhere the backend's id.
    pub backend_or_timeout: u32,
    /// At slot 0 the number of backends.
    pub count: u16,
    /// The service's id, index of `cilium_lb4_reverse_nat`.
    pub rev_nat_index: u16,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Bits of [`flag2`].
    pub flags2: u8,
    /// Zero: Cilium's quarantined backends.
    pub quarantined: u16,
}

impl Service {
    /// Whether a bit of [`flag`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a bit of [`flag2`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn has2(&self, flag: u8) -> bool {
        self.flags2 & flag != 0
    }
}

/// Value of `cilium_lb4_backends_v3`, keyed by backend id (`u32`, never 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero: active.
    pub flags: u8,
    /// Zero: this cluster.
    pub cluster_id: u16,
    /// Zero.
    pub zone: u8,
    /// Zero.
    pub padding: u8,
}

/// Value of `cilium_lb4_reverse_nat`, keyed by service id (`u16`): the frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReverseNat {
    /// Address; unspecified for a NodePort on any address of a node.
    pub address: Address,
    /// Port.
    pub port: Port,
    /// Zero.
    pub padding: u16,
}

/// Key of `cilium_lb4_source_range`, of which prefixes are there: a client of a service
/// (`struct lb4_src_range_key` without the length).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRangeKey {
    /// The service's id.
    pub rev_nat_index: u16,
    /// Zero.
    pub padding: u16,
    /// The client.
    pub address: Address,
}

impl SourceRangeKey {
    /// Bits before the address: prefixes of a service are this much longer than its ranges.
    pub const FIXED_BITS: u32 = 32;

    /// A client of the service with that id.
    #[inline(always)]
    #[must_use]
    pub const fn new(rev_nat_index: u16, address: Address) -> Self {
        Self {
            rev_nat_index,
            padding: 0,
            address,
        }
    }
}

/// Key of `cilium_lb4_reverse_sk`: a socket, and what it was sent to instead.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReverseSkKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The backend's address.
    pub address: Address,
    /// The backend's port.
    pub port: Port,
    /// Zero.
    pub padding: u16,
}

/// Value of `cilium_lb4_reverse_sk`: what the socket asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReverseSk {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: Port,
    /// The service's id at that time.
    pub rev_nat_index: u16,
}

/// Key of `cilium_lb4_affinity`: a client of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AffinityKey {
    /// A network namespace's cookie, or an IPv4 address as it lies in memory.
    pub client: u64,
    /// The service's id.
    pub rev_nat_index: u16,
    /// 1 when the client is a network namespace, 0 when it is an address.
    pub is_netns: u8,
    /// Zero.
    pub padding: [u8; 5],
}

/// Value of `cilium_lb4_affinity`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Last use, in seconds of `CLOCK_MONOTONIC`.
    pub last_used: u64,
    /// The client's backend.
    pub backend: u32,
    /// Zero.
    pub padding: u32,
}

/// Key of `cilium_lb_affinity_match`: a backend that a service still has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityMatch {
    /// The backend's id.
    pub backend: u32,
    /// The service's id.
    pub rev_nat_index: u16,
    /// Zero.
    pub padding: u16,
}

/// Key of `cilium_skip_lb4`: a pod that a local redirect policy does not apply to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SkipKey {
    /// Cookie of the pod's network namespace.
    pub netns_cookie: u64,
    /// The frontend's address.
    pub address: Address,
    /// The frontend's port.
    pub port: Port,
    /// Zero.
    pub padding: u16,
}

/// The one value of `cilium_lb_config` (array, index 0): what sockets must know of
/// their node. All zero, as in a new map: no service is looked up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Cookie of the node's own network namespace.
    pub host_netns_cookie: u64,
    /// First port of NodePort services, in host byte order.
    pub node_port_min: u16,
    /// Last port of NodePort services, in host byte order.
    pub node_port_max: u16,
    /// 1 when services are translated.
    pub is_enabled: u32,
}

impl Config {
    /// Whether a port may be a NodePort.
    #[inline(always)]
    #[must_use]
    pub const fn is_node_port(&self, port: Port) -> bool {
        let port = port.number();
        self.node_port_min <= port && port <= self.node_port_max
    }
}
