//! Events about packets, for the agent: where they passed, and why they were dropped.
//!
//! Numbers are those of Cilium's `pkg/monitor/api` and `bpf/lib/trace.h`. Which packets
//! are worth an event is decided before one is built: conntrack says whether one is due
//! (see [`Tracked`]), and with flows off all of it is a test of one bit.

use crate::address::{Address, Port};
use crate::conntrack::Tracked;
use crate::ipv4::Ipv4;
use crate::kernel::Kernel;
use crate::settings::{Settings, flag};

/// Bytes of a packet that an event carries (`TRACE_PAYLOAD_LEN`).
pub const HEAD: usize = 128;

/// [`Event::kind`], numbered as Cilium's message types.
pub mod kind {
    /// A packet was dropped (`MessageTypeDrop`).
    pub const DROP: u8 = 1;
    /// A packet passed a [`super::Point`] (`MessageTypeTrace`).
    pub const TRACE: u8 = 4;
    /// A socket's address was looked up or translated (`MessageTypeTraceSock`).
    pub const SOCKET: u8 = 7;
}

/// Where a packet was seen (`enum trace_point`).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// On its way to a pod of this node.
    ToEndpoint = 0,
    /// On its way to the node itself.
    ToHost = 2,
    /// Left to the kernel's stack.
    ToStack = 3,
    /// On its way into a tunnel.
    ToOverlay = 4,
    /// A pod sent it.
    FromEndpoint = 5,
    /// It came out of a tunnel.
    FromOverlay = 9,
    /// It came in through a managed device.
    FromNetwork = 10,
    /// Leaving through a managed device.
    ToNetwork = 11,
}

impl Point {
    /// Whether it is one of those that only `monitorAggregation: none` reports: the
    /// same packet is reported where it goes to.
    const fn is_origin(self) -> bool {
        matches!(
            self,
            Self::FromEndpoint | Self::FromOverlay | Self::FromNetwork
        )
    }
}

/// What a socket program did (`enum xlate_point`).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XlatePoint {
    /// Before the lookup of a service.
    PreForward = 1,
    /// The address became a backend's.
    PostForward = 2,
    /// Before the lookup of the service behind a backend.
    PreReverse = 3,
    /// The address became the service's again.
    PostReverse = 4,
}

/// [`Event::reason`]: what conntrack says (`enum trace_reason`).
pub mod reason {
    /// The first packet of a flow.
    pub const NEW: u8 = 0;
    /// From the side that opened the flow.
    pub const ESTABLISHED: u8 = 1;
    /// From the other side.
    pub const REPLY: u8 = 2;
    /// An ICMP error about a flow.
    pub const RELATED: u8 = 3;
    /// Nobody knows: not tracked here.
    pub const UNKNOWN: u8 = 5;
}

/// What the ring buffer `cilium_events` carries. Identities are 0 where the programs do
/// not know them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// [`kind::SOCKET`]: the socket's cookie.
    pub cookie: u64,
    /// [`kind::SOCKET`]: id of the process's cgroup.
    pub cgroup: u64,
    /// Security identity of the sender.
    pub source_identity: u32,
    /// Security identity of the receiver.
    pub destination_identity: u32,
    /// Source address before masquerading; unspecified for drops and sockets.
    pub original: Address,
    /// [`kind::SOCKET`]: the other side's address.
    pub address: Address,
    /// The interface it passes: outgoing, or incoming; 0 when that is not known.
    pub ifindex: u32,
    /// Bytes of the packet, Ethernet header included.
    pub length: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// A [`Point`], a [`DropReason`](crate::DropReason) or a [`XlatePoint`], by `kind`.
    pub detail: u8,
    /// One of [`reason`].
    pub reason: u8,
    /// [`kind::SOCKET`]: IP protocol.
    pub protocol: u8,
    /// Endpoint id of the pod whose program saw it; 0 for the node's.
    pub endpoint: u16,
    /// How many bytes of [`Event::head`] are the packet's.
    pub captured: u16,
    /// [`kind::SOCKET`]: the other side's port.
    pub port: Port,
    /// Zero.
    pub padding: [u8; 6],
    /// How the packet begins, Ethernet header first.
    pub head: [u8; HEAD],
}

impl Default for Event {
    fn default() -> Self {
        Self {
            time: 0,
            cookie: 0,
            cgroup: 0,
            source_identity: 0,
            destination_identity: 0,
            original: Address::default(),
            address: Address::default(),
            ifindex: 0,
            length: 0,
            kind: 0,
            detail: 0,
            reason: 0,
            protocol: 0,
            endpoint: 0,
            captured: 0,
            port: Port::NONE,
            padding: [0; 6],
            head: [0; HEAD],
        }
    }
}

/// Notes that one program leaves for the next on the packet's way (`skb->tc_index`, which
/// survives redirects and the stack): what conntrack said at the pod's interface is said
/// again where the packet leaves the node, and decided once.
mod carried {
    pub(super) const VALID: u16 = 1 << 15;
    pub(super) const MASK: u16 = 0xff;
}

/// Reports a packet at `point`, if one is due. `source` is where the flow comes from, also
/// when the packet says otherwise by now.
#[inline(always)]
pub fn passes<K: Kernel>(
    k: &K,
    settings: &Settings,
    point: Point,
    (source, destination): (Address, Address),
    tracked: Tracked,
    ifindex: u32,
) {
    if !settings.has(flag::FLOWS) {
        return;
    }
    if point.is_origin() && settings.has(flag::AGGREGATE_ORIGINS) {
        return;
    }
    if !tracked.is_due() && settings.has(flag::AGGREGATE_FLOWS) {
        return;
    }
    let what = u32::from(kind::TRACE) | (point as u32) << 8 | u32::from(tracked.reason()) << 16;
    k.report(source, destination, what, ifindex);
}

/// Reports a dropped packet, in the one function of the kernel's that drops packets; `code` is a [`DropReason`](crate::DropReason)'s.
#[inline(always)]
pub fn dropped<K: Kernel>(k: &K, code: u8, is_egress: bool) {
    if !k.settings().has(flag::FLOWS) {
        return;
    }
    let (source, destination) = match Ipv4::of_frame(k) {
        Some(ip) => (ip.source, ip.destination),
        None => (Address::default(), Address::default()),
    };
    let what = u32::from(kind::DROP)
        | u32::from(code) << 8
        | u32::from(reason::UNKNOWN) << 16
        | u32::from(is_egress) << 24;
    k.report(source, destination, what, k.ifindex());
}

/// Notes for `cil_to_netdev` what conntrack said of a pod's packet.
#[inline(always)]
pub fn carry<K: Kernel>(k: &mut K, settings: &Settings, tracked: Tracked) {
    if settings.has(flag::FLOWS) {
        k.set_tc_index(carried::VALID | u16::from(tracked.bits()));
    }
}

/// Drops what another node noted: the field goes along where nodes are namespaces of one
/// kernel, whose links hand the same packet over.
#[inline(always)]
pub fn forget<K: Kernel>(k: &mut K, settings: &Settings) {
    if settings.has(flag::FLOWS) {
        k.set_tc_index(0);
    }
}

/// What [`carry`] noted, if anything.
#[inline(always)]
pub fn carried<K: Kernel>(k: &K) -> Option<Tracked> {
    let note = k.tc_index();
    (note & carried::VALID != 0).then(|| Tracked::from_bits((note & carried::MASK) as u8))
}

/// What [`Maps::report`](crate::kernel::Maps::report) does. `what` is the kind, the detail, the
/// reason, and whether the packet leaves a pod, in that order from the lowest byte: a function
/// of the kernel's takes five arguments.
#[inline(always)]
pub fn report<K: Kernel>(k: &K, source: Address, destination: Address, what: u32, ifindex: u32) {
    let [kind, detail, reason, is_egress] = what.to_le_bytes();
    let (source_identity, source_id) = party(k, source);
    let (destination_identity, destination_id) = party(k, destination);
    // The program that saw it is the receiver's, or the sender's.
    let at_receiver = if kind == kind::DROP {
        is_egress == 0
    } else {
        detail == Point::ToEndpoint as u8
    };
    let endpoint = if at_receiver {
        destination_id
    } else {
        source_id
    };
    k.event(|event| {
        event.source_identity = source_identity;
        event.destination_identity = destination_identity;
        event.original = if kind == kind::DROP {
            Address::default()
        } else {
            source
        };
        event.ifindex = ifindex;
        event.kind = kind;
        event.detail = detail;
        event.reason = reason;
        event.endpoint = endpoint;
    });
}

/// Identity behind an address, and the id of the endpoint that has it; zeros for what nobody
/// knows.
#[inline(always)]
fn party<K: Kernel>(k: &K, address: Address) -> (u32, u16) {
    match k.endpoint(address) {
        Some(endpoint) => (endpoint.identity, endpoint.id),
        None => (k.identity(address).unwrap_or(0), 0),
    }
}
