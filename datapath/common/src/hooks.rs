//! What each program does with a packet, from parsing to the final action.
//!
//! Unless `HOST_LEGACY_ROUTING` is set, packets take the short way: straight
//! into the pod's namespace, or straight to the neighbour behind a managed
//! device (whose egress program then masquerades). Whatever is not plain, or
//! what the stack may have to answer itself (TTL, MTU, options, own addresses),
//! goes to the stack.

mod action;

pub use action::{Action, Stage};

use crate::arp;
use crate::conntrack::{self, Tracked};
use crate::drop_reason::DropReason;
use crate::endpoint::{self, Endpoint};
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::{Kernel, Packet};
use crate::nat::egress::masquerade;
use crate::nat::reverse::{Outcome, unmasquerade};
use crate::service::packet::{self, Leaving};
use crate::settings::{self, Device, Settings};
use crate::trace::{self, Point};
use crate::transport::{Kind, Transport};
use crate::tunnel;
use crate::tuple::protocol;

/// A pod sent the packet.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_container<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    let transport = Transport::read(k, &ip, &settings)?;
    if settings.has(settings::flag::SERVICES) && packet::is_for_service(k, &ip, &transport) {
        return Ok(Action::Call(Stage::ServiceFromPod));
    }
    let tuple = transport.tuple(&ip);
    let mut tracked = untracked(&transport);
    if let Some(tuple) = &tuple {
        tracked = conntrack::from_endpoint(k, tuple, transport.tcp_flags)?;
    }
    let ends = (ip.source, ip.destination);
    trace::passes(
        k,
        &settings,
        Point::FromEndpoint,
        ends,
        Tracked::UNKNOWN,
        k.ifindex(),
    );
    trace::carry(k, &settings, tracked);
    if !takes_short_way(k, &settings, &ip) {
        trace::passes(k, &settings, Point::ToStack, ends, tracked, 0);
        return Ok(Action::Continue);
    }
    if let Some(endpoint) = k.endpoint(ip.destination) {
        if is_host(&endpoint) {
            trace::passes(k, &settings, Point::ToStack, ends, tracked, 0);
            return Ok(Action::Continue);
        }
        if packet::may_quote_service(&settings, &transport) {
            return Ok(Action::Call(Stage::ErrorToPod));
        }
        if let Some(tuple) = &tuple {
            tracked = conntrack::to_endpoint(k, tuple, transport.tcp_flags)?;
            packet::answer(k, &settings, &mut ip, &transport, tuple, tracked)?;
        }
        reaches_pod(k, &settings, &ip, tracked, endpoint.ifindex);
        return deliver(k, &mut ip, &endpoint);
    }
    if let Some(key) = tunnel::key(k, &settings, &ip) {
        return tunnel::enter_from_endpoint(k, &settings, &mut ip, &key);
    }
    let Some(route) = segment_length(k, &ip).and_then(|length| k.route(&ip, length)) else {
        trace::passes(k, &settings, Point::ToStack, ends, tracked, 0);
        return Ok(Action::Continue);
    };
    if k.device(route.ifindex).is_none() {
        trace::passes(k, &settings, Point::ToStack, ends, tracked, 0);
        return Ok(Action::Continue);
    }
    ip.decrement_ttl(k)?;
    Ok(Action::ToNeighbour(route))
}

/// The stack hands a packet to a pod.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn to_container<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    let transport = Transport::read(k, &ip, &settings)?;
    if packet::may_quote_service(&settings, &transport) {
        return Ok(Action::Call(Stage::ErrorToPod));
    }
    let mut tracked = untracked(&transport);
    if let Some(tuple) = &transport.tuple(&ip) {
        tracked = conntrack::to_endpoint(k, tuple, transport.tcp_flags)?;
        packet::answer(k, &settings, &mut ip, &transport, tuple, tracked)?;
    }
    reaches_pod(k, &settings, &ip, tracked, k.ifindex());
    Ok(Action::Continue)
}

/// A packet came in through a managed device.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_netdev<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return arp::respond(k);
    };
    if !k.is_for_this_host() {
        return Ok(Action::Continue);
    }
    let settings = k.settings();
    trace::forget(k, &settings);
    let ends = (ip.source, ip.destination);
    trace::passes(
        k,
        &settings,
        Point::FromNetwork,
        ends,
        Tracked::UNKNOWN,
        k.ifindex(),
    );
    if k.endpoint(ip.destination).is_some_and(|it| !is_host(&it)) {
        return straight_to_pod(k, &settings, &mut ip);
    }
    let has_services = settings.has(settings::flag::SERVICES);
    if !settings.has(settings::flag::MASQUERADE) && !has_services {
        return Ok(Action::Continue);
    }
    if has_services {
        let transport = Transport::read(k, &ip, &settings)?;
        if packet::is_for_service(k, &ip, &transport) {
            return Ok(Action::Call(Stage::ServiceFromOutside));
        }
    }
    Ok(Action::Call(Stage::Unmasquerade))
}

/// A packet came in for the node itself, or so its sender thinks: it may answer what was
/// masqueraded (`tail_nodeport_nat_ingress_ipv4`).
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_netdev_to_node<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    let ends = (ip.source, ip.destination);
    match undo_masquerade(k, &settings, &mut ip)? {
        Action::Continue if tunnel::came_out(k, &settings) => {
            // What has another destination by now is reported where it goes to.
            if ip.destination == ends.1 {
                tunnel::reaches_host(k, &settings, ends);
            }
            Ok(Action::ToHost {
                ifindex: settings.host_ifindex,
            })
        }
        action => Ok(action),
    }
}

#[inline(always)]
fn undo_masquerade<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
) -> Result<Action, DropReason> {
    let transport = Transport::read(k, ip, settings)?;
    match unmasquerade(k, ip, &transport)? {
        Outcome::NotOurs => Ok(Action::Continue),
        Outcome::Error => match short_way_to_pod(k, settings, ip) {
            Some(_) => Ok(Action::Call(Stage::ErrorToPod)),
            None => Ok(Action::Continue),
        },
        Outcome::Reply { tuple, tcp_flags } => match short_way_to_pod(k, settings, ip) {
            Some(endpoint) => {
                let tracked = conntrack::masqueraded_reply(k, &tuple, tcp_flags)?;
                reaches_pod(k, settings, ip, tracked, endpoint.ifindex);
                deliver(k, ip, &endpoint)
            }
            None => {
                // A pod behind the stack: `cil_to_container` tracks the packet. No
                // such program follows for what is the host's own.
                if k.endpoint(ip.destination).is_some_and(|it| !is_host(&it)) {
                    conntrack::ensure_masqueraded(k, &tuple, tcp_flags)?;
                } else {
                    conntrack::masqueraded_reply(k, &tuple, tcp_flags)?;
                }
                packet::back_outside(k, settings, ip)
            }
        },
    }
}

#[inline(always)]
fn short_way_to_pod<K: Kernel>(k: &K, settings: &Settings, ip: &Ipv4) -> Option<Endpoint> {
    if !takes_short_way(k, settings, ip) {
        return None;
    }
    let endpoint = k.endpoint(ip.destination)?;
    if is_host(&endpoint) {
        return None;
    }
    Some(endpoint)
}

/// A packet leaves through a managed device.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn to_netdev<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    if k.mark() & tunnel::MARK_MASK == tunnel::MARK_OVERLAY {
        return Ok(Action::Continue);
    }
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let Some(device) = k.device(k.ifindex()) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    let mut is_service = false;
    // Of the node's own, an ICMP error may be about a flow to a service.
    let may_be_service = ip.source != device.address || ip.protocol == protocol::ICMP;
    if settings.has(settings::flag::SERVICES) && may_be_service {
        match k.leaving()? {
            Leaving::Undone => {
                let ends = (ip.source, ip.destination);
                let tracked = trace::carried(k).unwrap_or(Tracked::UNKNOWN);
                trace::passes(k, &settings, Point::ToNetwork, ends, tracked, k.ifindex());
                return Ok(Action::Continue);
            }
            Leaving::Error => return Ok(Action::Call(Stage::ErrorLeaving)),
            Leaving::ForOtherNode => is_service = true,
            Leaving::NoService => {}
        }
    }
    leave(k, &settings, &device, &mut ip, is_service)
}

/// [`to_netdev`], for an ICMP error that is about no service.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn to_netdev_past_services<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let Some(device) = k.device(k.ifindex()) else {
        return Ok(Action::Continue);
    };
    // From nobody here: it may be a client's, and about a flow that went to a backend of another
    // node under this one's address.
    let is_service = ip.fragment == Fragment::Whole && k.endpoint(ip.source).is_none();
    leave(k, &k.settings(), &device, &mut ip, is_service)
}

#[inline(always)]
fn leave<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    device: &Device,
    ip: &mut Ipv4,
    is_service: bool,
) -> Result<Action, DropReason> {
    let ends = (ip.source, ip.destination);
    let host = masquerade(k, settings, device, ip, is_service)?;
    let tracked = trace::carried(k).unwrap_or(host);
    trace::passes(k, settings, Point::ToNetwork, ends, tracked, k.ifindex());
    Ok(Action::Continue)
}

/// What the events say of a packet that conntrack does not know.
#[inline(always)]
pub(crate) fn untracked(transport: &Transport) -> Tracked {
    match transport.kind {
        Kind::IcmpError => Tracked::RELATED,
        _ => Tracked::UNKNOWN,
    }
}

#[inline(always)]
pub(crate) fn reaches_pod<K: Kernel>(
    k: &K,
    settings: &Settings,
    ip: &Ipv4,
    tracked: Tracked,
    ifindex: u32,
) {
    let ends = (ip.source, ip.destination);
    trace::passes(k, settings, Point::ToEndpoint, ends, tracked, ifindex);
}

/// A packet from outside that is addressed to a pod, over a route to its
/// podCIDR: nothing to translate. Through the stack, `cil_to_container` tracks it.
#[inline(always)]
fn straight_to_pod<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
) -> Result<Action, DropReason> {
    if !takes_short_way(k, settings, ip) {
        return Ok(Action::Continue);
    }
    // Looked up here and not passed along: of an `Option` that is carried over a branch,
    // LLVM would move the unset part, which the verifier refuses.
    let Some(endpoint) = k.endpoint(ip.destination) else {
        return Ok(Action::Continue);
    };
    let transport = Transport::read(k, ip, settings)?;
    if packet::may_quote_service(settings, &transport) {
        return Ok(Action::Call(Stage::ErrorToPod));
    }
    let mut tracked = untracked(&transport);
    if let Some(tuple) = &transport.tuple(ip) {
        tracked = conntrack::to_endpoint(k, tuple, transport.tcp_flags)?;
        packet::answer(k, settings, ip, &transport, tuple, tracked)?;
    }
    reaches_pod(k, settings, ip, tracked, endpoint.ifindex);
    deliver(k, ip, &endpoint)
}

#[inline(always)]
pub(crate) const fn is_host(endpoint: &Endpoint) -> bool {
    endpoint.flags & endpoint::flag::HOST != 0 || endpoint.ifindex == 0
}

#[inline(always)]
pub(crate) fn takes_short_way<P: Packet>(packet: &P, settings: &Settings, ip: &Ipv4) -> bool {
    !settings.has(settings::flag::HOST_LEGACY_ROUTING)
        && !ip.has_options()
        && ip.ttl > 1
        && packet.is_for_this_host()
}

/// Length of the largest IP packet that this becomes on the wire: for GSO, of
/// one segment. `None` when the stack had better work it out.
#[inline(always)]
pub(crate) fn segment_length<P: Packet>(packet: &P, ip: &Ipv4) -> Option<u16> {
    let gso_size = packet.gso_size();
    if gso_size == 0 {
        return Some(ip.total_length);
    }
    let transport = match ip.protocol {
        protocol::TCP => u32::from(packet.load::<1>(ip.l4_offset() + 12)?[0] >> 4) * 4,
        protocol::UDP => 8,
        _ => return None,
    };
    u16::try_from(crate::ipv4::MIN_HEADER + transport + gso_size).ok()
}

/// Forwards into a pod's namespace: one hop, the veth's MAC addresses.
#[inline(always)]
pub(crate) fn deliver<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    endpoint: &Endpoint,
) -> Result<Action, DropReason> {
    ip.decrement_ttl(k)?;
    let [d0, d1, d2, d3, d4, d5] = endpoint.mac;
    let [s0, s1, s2, s3, s4, s5] = endpoint.node_mac;
    k.store(0, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5])
        .map_err(|_| DropReason::WriteError)?;
    Ok(Action::ToPod {
        ifindex: endpoint.ifindex,
    })
}
