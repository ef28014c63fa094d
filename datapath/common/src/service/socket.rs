//! Services at the socket (`bpf/bpf_sock.c`): the address is replaced in the system
//! call, so that no packet ever carries a service's.

use super::lookup::{self, Found, Services};
use super::{AffinityKey, Config, ReverseSk, ReverseSkKey, Service, ServiceKey, flag};
use crate::address::{Address, Port};
use crate::endpoint::identity;
use crate::kernel::Refused;
use crate::trace::XlatePoint;
use crate::tuple::protocol;

/// A system call on a socket that names an address: where to, or where from.
pub trait Socket: Services {
    /// The socket's cookie: unique, and never used again.
    fn cookie(&self) -> u64;
    /// Cookie of the socket's network namespace.
    fn netns_cookie(&self) -> u64;
    /// IP protocol number.
    fn protocol(&self) -> u8;
    /// The address and port that are named; `None` for one that is not IPv4.
    fn named(&self) -> Option<(Address, Port)>;
    /// Names another one.
    fn rename(&mut self, address: Address, port: Port);
    /// 32 random bits.
    fn draw(&self) -> u32;
    /// Notes what was asked for.
    ///
    /// # Errors
    /// [`Refused`] when the map is full beyond eviction.
    fn remember(&self, key: &ReverseSkKey, value: &ReverseSk) -> Result<(), Refused>;
    /// What was asked for.
    fn remembered(&self, key: &ReverseSkKey) -> Option<ReverseSk>;
    /// Forgets what was asked for.
    fn forget(&self, key: &ReverseSkKey);
    /// Sends the agent an event about this call, if it wants some.
    fn event(&self, point: XlatePoint, other: Peer);
}

/// An address and a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: Port,
}

/// What becomes of a call that names where to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It names no service.
    Untouched,
    /// It goes to a backend.
    Translated {
        /// What was named.
        service: Peer,
        /// What stands for it.
        backend: Peer,
    },
    /// The service has no backend: EHOSTUNREACH.
    NoBackend {
        /// What was named.
        service: Peer,
    },
    /// No room to note what was asked for: ENOMEM.
    NoMemory,
}

/// What becomes of a call that tells where something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// It came from no backend that the socket was sent to.
    Untouched,
    /// The caller sees the service.
    Translated {
        /// What the kernel named.
        backend: Peer,
        /// What the caller sees.
        service: Peer,
    },
    /// The service is gone, has changed or has no backend left: the backend is what
    /// the caller sees, from now on.
    Stale,
}

/// `connect` and `sendmsg` (`__sock4_xlate_fwd`).
#[inline(always)]
pub fn forward<S: Socket>(s: &mut S) -> Forward {
    let config = s.config();
    let Some((asked, found)) = named_service(s, &config) else {
        return Forward::Untouched;
    };
    if found.service.count == 0 {
        return Forward::NoBackend { service: asked };
    }
    if is_foreign_external(s, &found.service, asked.address) {
        return Forward::Untouched;
    }
    s.event(XlatePoint::PreForward, asked);
    let netns = s.netns_cookie();
    let Some(found) = lookup::unless_skipped(s, found, netns, asked.address, asked.port) else {
        return Forward::Untouched;
    };
    let client = AffinityKey {
        client: netns,
        rev_nat_index: found.service.rev_nat_index,
        is_netns: 1,
        padding: [0; 5],
    };
    // A TCP socket connects once; one of UDP stays with its backend as long as there
    // are as many.
    let draw = if s.protocol() == protocol::TCP {
        s.draw()
    } else {
        s.cookie() as u32
    };
    let Some((_, backend)) = lookup::select(s, &found, &client, draw) else {
        return Forward::NoBackend { service: asked };
    };
    let (key, value) = (
        ReverseSkKey {
            cookie: s.cookie(),
            address: backend.address,
            port: backend.port,
            padding: 0,
        },
        ReverseSk {
            address: asked.address,
            port: asked.port,
            rev_nat_index: found.service.rev_nat_index,
        },
    );
    // Written only if it says something new, as a busy UDP socket would write it for
    // each datagram.
    if s.remembered(&key) != Some(value) && s.remember(&key, &value).is_err() {
        return Forward::NoMemory;
    }
    s.rename(backend.address, backend.port);
    let backend = Peer {
        address: backend.address,
        port: backend.port,
    };
    s.event(XlatePoint::PostForward, backend);
    Forward::Translated {
        service: asked,
        backend,
    }
}

/// `recvmsg` and `getpeername` (`__sock4_xlate_rev`).
#[inline(always)]
pub fn reverse<S: Socket>(s: &mut S) -> Reverse {
    let Some((address, port)) = s.named() else {
        return Reverse::Untouched;
    };
    s.event(XlatePoint::PreReverse, Peer { address, port });
    let key = ReverseSkKey {
        cookie: s.cookie(),
        address,
        port,
        padding: 0,
    };
    let Some(asked) = s.remembered(&key) else {
        return Reverse::Untouched;
    };
    let config = s.config();
    let service = ServiceKey::new(asked.address, asked.port, s.protocol());
    let is_host = s.netns_cookie() == config.host_netns_cookie;
    let holds = match lookup::service_or_node_port(s, &config, service, is_host) {
        Some(found) => {
            found.service.rev_nat_index == asked.rev_nat_index && found.service.count > 0
        }
        None => false,
    };
    if !holds {
        s.forget(&key);
        return Reverse::Stale;
    }
    s.rename(asked.address, asked.port);
    let service = Peer {
        address: asked.address,
        port: asked.port,
    };
    s.event(XlatePoint::PostReverse, service);
    Reverse::Translated {
        backend: Peer { address, port },
        service,
    }
}

/// Whether the node itself may bind to an address and port: not where a service
/// answers instead, which would never let a packet through to it (`__sock4_post_bind`).
/// Pods bind to what they like.
#[inline(always)]
pub fn may_bind<S: Socket>(s: &S) -> bool {
    let config = s.config();
    if config.is_enabled == 0 || s.netns_cookie() != config.host_netns_cookie {
        return true;
    }
    let Some((address, port)) = s.named() else {
        return true;
    };
    let key = ServiceKey::new(address, port, s.protocol());
    match lookup::service_or_node_port(s, &config, key, true) {
        Some(found) => !found.service.has(flag::NODE_PORT | flag::EXTERNAL_IP),
        None => true,
    }
}

#[inline(always)]
fn named_service<S: Socket>(s: &S, config: &Config) -> Option<(Peer, Found)> {
    if config.is_enabled == 0 || !matches!(s.protocol(), protocol::TCP | protocol::UDP) {
        return None;
    }
    let (address, port) = s.named()?;
    let key = ServiceKey::new(address, port, s.protocol());
    let is_host = s.netns_cookie() == config.host_netns_cookie;
    let found = lookup::service_or_node_port(s, config, key, is_host)?;
    Some((Peer { address, port }, found))
}

/// Whether the address is an external one that this node does not have: a service
/// must not take over somebody else's address for the whole cluster
/// (`sock4_skip_xlate`, CVE-2020-8554).
#[inline(always)]
fn is_foreign_external<S: Services>(s: &S, service: &Service, address: Address) -> bool {
    service.has(flag::EXTERNAL_IP) && s.identity_of(address) != Some(identity::HOST)
}
