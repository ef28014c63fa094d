//! Pods of other nodes behind a tunnel (`routingMode: tunnel`): what goes in, what comes
//! out, and how the identity of the source travels with it. After Cilium's `lib/encap.h`,
//! `bpf_overlay.c` and, for the host's own packets, `bpf_host.c`.
//!
//! A packet that is longer than the tunnel takes whole never enters it: the stack, by the
//! MTU of its routes to other nodes' pods, answers it or cuts it up first.

use crate::address::Address;
use crate::conntrack::{self, Tracked};
use crate::drop_reason::DropReason;
use crate::endpoint::identity;
use crate::hooks::{
    Action, Stage, deliver, is_host, reaches_pod, segment_length, takes_short_way, untracked,
};
use crate::ipv4::Ipv4;
use crate::kernel::{Kernel, Maps, Packet};
use crate::service::packet;
use crate::settings::{self, Settings};
use crate::trace::{self, Point};
use crate::transport::Transport;

/// The bits of a packet's mark that tell whose it is (`MARK_MAGIC_HOST_MASK`).
pub const MARK_MASK: u32 = 0x0f00;
/// A packet that is in a tunnel, or its outer one (`MARK_MAGIC_OVERLAY`).
pub const MARK_OVERLAY: u32 = 0x0400;

/// What an outer header says, beside what the device and its route settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelKey {
    /// Network identifier (VNI, 24 bits): the identity of the source.
    pub identity: u32,
    /// The other node: outer destination on the way out, outer source on the way in.
    pub remote: Address,
}

/// How a packet to a pod of another node is to be encapsulated; `None` for any other
/// packet, and while there is no tunnel.
#[inline(always)]
pub fn key<M: Maps>(maps: &M, settings: &Settings, ip: &Ipv4) -> Option<TunnelKey> {
    if !settings.has(settings::flag::TUNNEL) {
        return None;
    }
    let remote = maps.ipcache(ip.destination)?.tunnel_endpoint;
    if remote.is_unspecified() {
        return None;
    }
    Some(TunnelKey {
        identity: identity_of_source(maps, ip),
        remote,
    })
}

/// The host presents itself to other nodes as what it is to them.
#[inline(always)]
fn identity_of_source<M: Maps>(maps: &M, ip: &Ipv4) -> u32 {
    let known = match maps.endpoint(ip.source) {
        Some(endpoint) => Some(endpoint.identity),
        None => maps.identity(ip.source),
    };
    match known {
        Some(identity::HOST) => identity::REMOTE_NODE,
        Some(identity) => identity,
        None => identity::WORLD,
    }
}

/// A pod's packet, which could take the short way, into the tunnel.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub(crate) fn enter_from_endpoint<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
    key: &TunnelKey,
) -> Result<Action, DropReason> {
    if !fits(k, settings, ip) {
        if let Some(tracked) = trace::carried(k) {
            let ends = (ip.source, ip.destination);
            trace::passes(k, settings, Point::ToStack, ends, tracked, 0);
        }
        return Ok(Action::Continue);
    }
    ip.decrement_ttl(k)?;
    enter(k, settings, key)
}

/// As [`enter_from_endpoint`], a packet from outside to a backend of another node, of that
/// [`segment_length`]: what is too long goes to the stack without an event, as natively.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub(crate) fn enter_from_outside<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
    key: &TunnelKey,
    length: u16,
) -> Result<Action, DropReason> {
    if length > settings.tunnel_mtu {
        return Ok(Action::Continue);
    }
    ip.decrement_ttl(k)?;
    enter(k, settings, key)
}

/// Whether a packet came in through the tunnel, rather than a managed device.
#[inline(always)]
pub(crate) fn came_out<P: Packet>(packet: &P, settings: &Settings) -> bool {
    settings.has(settings::flag::TUNNEL) && packet.ifindex() == settings.tunnel_ifindex
}

#[inline(always)]
fn fits<K: Kernel>(k: &K, settings: &Settings, ip: &Ipv4) -> bool {
    segment_length(k, ip).is_some_and(|length| length <= settings.tunnel_mtu)
}

#[inline(always)]
fn enter<K: Kernel>(k: &mut K, settings: &Settings, key: &TunnelKey) -> Result<Action, DropReason> {
    k.set_tunnel_key(key).map_err(|_| DropReason::WriteError)?;
    Ok(Action::ToTunnel {
        ifindex: settings.tunnel_ifindex,
    })
}

/// The stack sends a packet out of `cilium_host`: to a pod of another node.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_host<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    let Some(key) = key(k, &settings, &ip) else {
        return Ok(Action::Continue);
    };
    if !fits(k, &settings, &ip) {
        return Err(DropReason::FragmentationNeeded);
    }
    enter(k, &settings, &key)
}

/// A packet came in through `cilium_host` or `cilium_net`: the host's, whichever MAC
/// address its sender wrote.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn to_host<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    if !k.is_for_this_host() && Ipv4::of_frame(k).is_some() {
        k.set_for_this_host().map_err(|_| DropReason::WriteError)?;
    }
    Ok(Action::Continue)
}

/// A packet came out of the tunnel.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn from_overlay<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let key = k.tunnel_key().ok_or(DropReason::NoTunnelKey)?;
    // No node presents its host as this one.
    if key.identity == identity::HOST {
        return Err(DropReason::InvalidIdentity);
    }
    let settings = k.settings();
    let ends = (ip.source, ip.destination);
    let from = Point::FromOverlay;
    trace::passes(k, &settings, from, ends, Tracked::UNKNOWN, k.ifindex());
    k.set_for_this_host().map_err(|_| DropReason::WriteError)?;
    let endpoint = k.endpoint(ip.destination).filter(|it| !is_host(it));
    match endpoint {
        Some(endpoint) if takes_short_way(k, &settings, &ip) => {
            let transport = Transport::read(k, &ip, &settings)?;
            if packet::may_quote_service(&settings, &transport) {
                return Ok(Action::Call(Stage::ErrorToPod));
            }
            let mut tracked = untracked(&transport);
            if let Some(tuple) = &transport.tuple(&ip) {
                tracked = conntrack::to_endpoint(k, tuple, transport.tcp_flags)?;
                packet::answer(k, &settings, &mut ip, &transport, tuple, tracked)?;
            }
            reaches_pod(k, &settings, &ip, tracked, endpoint.ifindex);
            deliver(k, &mut ip, &endpoint)
        }
        _ => {
            if endpoint.is_none() {
                // It may answer a client whose request left with this node's address.
                if settings.has(settings::flag::SERVICES) {
                    return Ok(Action::Call(Stage::Unmasquerade));
                }
                reaches_host(k, &settings, ends);
            }
            Ok(Action::ToHost {
                ifindex: settings.host_ifindex,
            })
        }
    }
}

/// Reports a packet out of the tunnel as the node's own.
#[inline(always)]
pub(crate) fn reaches_host<K: Kernel>(k: &K, settings: &Settings, ends: (Address, Address)) {
    let (to, from) = (Point::ToHost, k.ifindex());
    trace::passes(k, settings, to, ends, Tracked::UNKNOWN, from);
}

/// A packet goes into the tunnel. Its outer packet keeps the mark, by which
/// `cil_to_netdev` leaves it alone: it takes no port of those for masquerading
/// (cilium/cilium#26908). What no pod of this node sent may have to do with services, and goes
/// on in [`into_tunnel`](crate::service::overlay::into_tunnel).
///
/// # Errors
/// None so far.
#[inline(always)]
pub fn to_overlay<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let mark = k.mark() & !MARK_MASK | MARK_OVERLAY;
    k.set_mark(mark);
    let Some(ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let settings = k.settings();
    if settings.has(settings::flag::SERVICES) {
        let is_pods = k.endpoint(ip.source).is_some_and(|it| !is_host(&it));
        if !is_pods {
            return Ok(Action::Call(Stage::IntoTunnel));
        }
    }
    let ends = (ip.source, ip.destination);
    let tracked = trace::carried(k).unwrap_or(Tracked::UNKNOWN);
    trace::passes(k, &settings, Point::ToOverlay, ends, tracked, k.ifindex());
    Ok(Action::Continue)
}
