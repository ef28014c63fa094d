//! Services per packet (`lib/nodeport.h`, `lib/lb.h`): what comes from outside for a
//! NodePort, LoadBalancer or external address, and what a pod sends to a service past
//! its sockets.
//!
//! Forwards, the destination becomes a backend. Conntrack remembers which (`SERVICE`
//! entries), and notes the service's number in the flow to the backend, by which
//! replies get the service's address back: into a pod with its tracking, out of the node
//! in [`leaving`].
//!
//! What comes from outside for a backend of another node leaves with this node's
//! address, so that the answer comes back this way.

mod choice;
mod icmp_error;

pub use choice::{Asked, Chosen, choose};
pub(crate) use icmp_error::may_quote_service;
pub use icmp_error::{error_leaving, error_to_pod};

use super::lookup::Origin;
use super::{Backend, ServiceKey};
use crate::address::{Address, Port};
use crate::conntrack::{self, Tracked};
use crate::drop_reason::DropReason;
use crate::endpoint;
use crate::hooks::{Action, Stage, is_host, segment_length, takes_short_way};
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Kernel;
use crate::nat::rewrite::{Side, rewrite};
use crate::settings::{self, Settings};
use crate::trace::reason;
use crate::transport::{Kind, Transport};
use crate::tunnel;
use crate::tuple::{Direction, Tuple};

/// The source that a pod sees when it reaches itself through a service
/// (`IPV4_LOOPBACK`).
pub const LOOPBACK: Address = Address::from_bytes([169, 254, 42, 1]);

const REFUSED_NO_SERVICE: u8 = DropReason::NoService.code();
const REFUSED_CLUSTER_IP: u8 = DropReason::IsClusterIp.code();
const REFUSED_SOURCE: u8 = DropReason::NotInSourceRange.code();

#[inline(always)]
fn to_backend<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    transport: &mut Transport,
    backend: &Backend,
) -> Result<(), DropReason> {
    let old = transport.ports.destination;
    let (address, port) = (backend.address, backend.port);
    rewrite(k, ip, transport, Side::Destination, old, address, port)?;
    transport.ports.destination = port;
    Ok(())
}

/// Whether an address is nobody's here, and which way a flow to a backend there was opened:
/// towards a pod of this node, or through this node to another one's.
#[inline(always)]
fn opened<K: Kernel>(k: &K, address: Address) -> (bool, Direction) {
    match k.endpoint(address) {
        Some(endpoint) if !is_host(&endpoint) => (false, Direction::In),
        Some(_) => (false, Direction::Out),
        None => (true, Direction::Out),
    }
}

/// Whether a packet is addressed to a service, or to the address under which a pod meets
/// itself: then [`from_outside`] or [`from_pod`] has to see it.
#[inline(always)]
pub fn is_for_service<K: Kernel>(k: &K, ip: &Ipv4, transport: &Transport) -> bool {
    if !matches!(transport.kind, Kind::Ports) {
        return false;
    }
    if ip.destination == LOOPBACK {
        return true;
    }
    let (address, port) = (ip.destination, transport.ports.destination);
    let key = ServiceKey::new(address, port, ip.protocol);
    k.service(&key).is_some()
}

/// A packet from outside to a service gets a backend's address. To one of this node it goes on
/// as any packet to a pod.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_outside<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let mut transport = Transport::read(k, &ip, &k.settings())?;
    let Some(tuple) = transport.tuple(&ip) else {
        return Ok(Action::Continue);
    };
    let tcp_flags = transport.tcp_flags;
    let asked = Asked {
        tcp_flags,
        origin: Origin::Outside,
        is_exempt: false,
    };
    let mut chosen = Chosen::default();
    let refused = k.choose(&tuple, asked, &mut chosen);
    if chosen.rev_nat_index == 0 {
        return Ok(Action::Continue);
    }
    match refused {
        0 => {}
        REFUSED_NO_SERVICE => return Err(DropReason::NoService),
        REFUSED_CLUSTER_IP => return Err(DropReason::IsClusterIp),
        REFUSED_SOURCE => return Err(DropReason::NotInSourceRange),
        _ => return Err(DropReason::CtCreateFailed),
    }
    to_backend(k, &mut ip, &mut transport, &chosen.backend)?;
    let tuple = Tuple {
        destination: ip.destination,
        destination_port: transport.ports.destination,
        ..tuple
    };
    let is_here = k.endpoint(ip.destination).is_some_and(|it| !is_host(&it));
    if is_here {
        conntrack::mark_service(k, &tuple, Direction::In, tcp_flags, chosen.rev_nat_index)?;
        return Ok(Action::Call(Stage::FromNetdev));
    }
    conntrack::mark_service(k, &tuple, Direction::Out, tcp_flags, chosen.rev_nat_index)?;
    conntrack::from_host(k, &tuple, tcp_flags)?;
    Ok(Action::Call(Stage::ToOtherNode))
}

/// On to a backend of another node, natively or through the tunnel. On the way out it gets this
/// node's address ([`Leaving::ForOtherNode`]).
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn to_other_node<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    if !takes_short_way(k, &settings, &ip) {
        return Ok(Action::Continue);
    }
    // Once for both ways: of two, LLVM makes one that carries the tunnel's key along, set or not.
    let Some(length) = segment_length(k, &ip) else {
        return Ok(Action::Continue);
    };
    if let Some(key) = tunnel::key(k, &settings, &ip) {
        return tunnel::enter_from_outside(k, &settings, &mut ip, &key, length);
    }
    let Some(route) = k.route(&ip, length) else {
        return Ok(Action::Continue);
    };
    if k.device(route.ifindex).is_none() {
        return Ok(Action::Continue);
    }
    ip.decrement_ttl(k)?;
    Ok(Action::ToNeighbour(route))
}

/// What a packet that leaves the node has to do with services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Nothing.
    NoService,
    /// It answers what came from outside, and has the service's address again.
    Undone,
    /// It came from outside and goes to a backend of another node.
    ForOtherNode,
    /// It is an ICMP error, which [`error_leaving`] has to see first.
    Error,
}

/// What [`Maps::leaving`](crate::kernel::Maps::leaving) does: services, for a packet that leaves
/// the node.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn leaving<K: Kernel>(k: &mut K) -> Result<Leaving, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Leaving::NoService);
    };
    let transport = Transport::read(k, &ip, &k.settings())?;
    let (is_nobodys, opened) = opened(k, ip.source);
    if matches!(transport.kind, Kind::IcmpError) {
        return Ok(Leaving::Error);
    }
    if !matches!(transport.kind, Kind::Ports) {
        return Ok(Leaving::NoService);
    }
    let Some(tuple) = transport.tuple(&ip) else {
        return Ok(Leaving::NoService);
    };
    if let Some(service) = conntrack::service_of(k, &tuple.reversed().with_direction(opened)) {
        as_service(k, &mut ip, &transport, service)?;
        return Ok(Leaving::Undone);
    }
    // It takes this node's address, or the answer would not come back this way.
    let forward = tuple.with_direction(Direction::Out);
    if is_nobodys && conntrack::service_of(k, &forward).is_some() {
        return Ok(Leaving::ForOtherNode);
    }
    Ok(Leaving::NoService)
}

/// A packet that a pod sends to a service, past what its sockets would have translated, gets a
/// backend's address; or it answers one that the pod sent to itself through a service.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_pod<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let mut transport = Transport::read(k, &ip, &k.settings())?;
    let Some(tuple) = transport.tuple(&ip) else {
        return Ok(Action::Continue);
    };
    if ip.destination == LOOPBACK {
        return answer_to_itself(k, &mut ip, &mut transport, &tuple);
    }
    let is_exempt = k
        .endpoint(ip.source)
        .is_some_and(|it| it.flags & endpoint::flag::REDIRECT_BACKEND != 0);
    let tcp_flags = transport.tcp_flags;
    let asked = Asked {
        tcp_flags,
        origin: Origin::Cluster,
        is_exempt,
    };
    let mut chosen = Chosen::default();
    let refused = k.choose(&tuple, asked, &mut chosen);
    if chosen.rev_nat_index == 0 {
        return Ok(Action::Continue);
    }
    match refused {
        0 => {}
        REFUSED_NO_SERVICE => return Err(DropReason::NoService),
        _ => return Err(DropReason::CtCreateFailed),
    }
    to_backend(k, &mut ip, &mut transport, &chosen.backend)?;
    if ip.destination == ip.source {
        let port = transport.ports.source;
        rewrite(k, &mut ip, &transport, Side::Source, port, LOOPBACK, port)?;
    }
    let flow = Tuple {
        source: ip.source,
        destination: ip.destination,
        destination_port: transport.ports.destination,
        ..tuple
    };
    conntrack::mark_service(k, &flow, Direction::Out, tcp_flags, chosen.rev_nat_index)?;
    Ok(Action::Call(Stage::FromContainer))
}

/// A pod answers itself: as the service, to its own address.
#[inline(always)]
fn answer_to_itself<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    transport: &mut Transport,
    tuple: &Tuple,
) -> Result<Action, DropReason> {
    let opened = tuple.reversed().with_direction(Direction::Out);
    let Some(service) = conntrack::service_of(k, &opened).and_then(|id| k.reverse_nat(id)) else {
        return Ok(Action::Continue);
    };
    let (own, port) = (ip.source, transport.ports.destination);
    rewrite(k, ip, transport, Side::Destination, port, own, port)?;
    let old = transport.ports.source;
    let (address, port) = (service.address, service.port);
    rewrite(k, ip, transport, Side::Source, old, address, port)?;
    Ok(Action::Call(Stage::FromContainer))
}

/// A packet on its way into a pod, as conntrack sees it: what answers a flow to a service
/// gets the service's address.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn answer<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
    transport: &Transport,
    tuple: &Tuple,
    tracked: Tracked,
) -> Result<(), DropReason> {
    if !settings.has(settings::flag::SERVICES) || tracked.reason() != reason::REPLY {
        return Ok(());
    }
    let flow = tuple.reversed().with_direction(Direction::Out);
    match conntrack::service_of(k, &flow) {
        Some(rev_nat_index) => as_service(k, ip, transport, rev_nat_index),
        None => Ok(()),
    }
}

#[inline(always)]
fn as_service<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    transport: &Transport,
    rev_nat_index: u16,
) -> Result<(), DropReason> {
    let Some(service) = k.reverse_nat(rev_nat_index) else {
        return Ok(());
    };
    let old = transport.ports.source;
    let (address, port) = (service.address, service.port);
    rewrite(k, ip, transport, Side::Source, old, address, port)
}

/// A reply of another node's backend, whose translation to this node's address was just
/// undone: on to whoever sent the request, past the stack, which would tell the backend
/// of a shorter way; unless the stack has to see it.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn back_outside<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
) -> Result<Action, DropReason> {
    if k.endpoint(ip.destination).is_some()
        || ip.fragment != Fragment::Whole
        || !settings.has(settings::flag::SERVICES)
        || !takes_short_way(k, settings, ip)
    {
        return Ok(Action::Continue);
    }
    let Some(route) = segment_length(k, ip).and_then(|length| k.route(ip, length)) else {
        return Ok(Action::Continue);
    };
    if k.device(route.ifindex).is_none() {
        return Ok(Action::Continue);
    }
    ip.decrement_ttl(k)?;
    Ok(Action::ToNeighbour(route))
}

/// The service's address and port that stand for a flow.
#[inline(always)]
pub(crate) fn frontend_of<K: Kernel>(k: &K, flow: &Tuple) -> Option<(Address, Port)> {
    let service = k.reverse_nat(conntrack::service_of(k, flow)?)?;
    Some((service.address, service.port))
}
