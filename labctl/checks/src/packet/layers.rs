//! The headers of a packet, found once and read in place.
//!
//! Layers follow Wireshark's dissection tree as far as labctl's filter knows it: an
//! ICMP error carries the header of the packet that caused it, so its layers are
//! frame, eth, ip, icmp, ip, tcp, and `ip.src` has two values. Nothing is
//! reassembled: the transport header stands in the first fragment, as with
//! `tshark -o ip.defragment:FALSE`.

use super::{LinkType, Packet, be16};

/// Deepest stack of headers that is followed. Wireshark goes further, but no lab nests six IP headers.
const MAX_LAYERS: usize = 16;

/// A protocol whose header is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The packet as captured.
    Frame,
    /// Ethernet II or IEEE 802.3.
    Ethernet,
    /// Linux cooked capture, version 1 or 2.
    Sll,
    /// IEEE 802.1Q or 802.1ad tag.
    Vlan,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6, without fields of its own here.
    Ipv6,
    /// ICMP for IPv4.
    Icmp,
    /// ICMP for IPv6, without fields of its own here.
    Icmpv6,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// VXLAN (RFC 7348), on its own port or Linux's.
    Vxlan,
}

/// One header and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Whose header it is.
    pub protocol: Protocol,
    /// Header and payload, as far as captured.
    pub bytes: &'a [u8],
    /// Length of header and payload on the wire, in bytes, as the layer below tells it.
    pub wire_len: u32,
    /// Whether an ICMP error quotes it.
    pub quoted: bool,
}

impl<'a> Layer<'a> {
    /// What follows the first `header` bytes.
    #[inline(always)]
    fn behind(&self, protocol: Protocol, header: usize) -> Option<Self> {
        let bytes = self.bytes.get(header..)?;
        let wire_len = self.wire_len.saturating_sub(header as u32);
        let quoted = self.quoted || self.protocol == Protocol::Icmp;
        Some(Self {
            protocol,
            bytes,
            wire_len,
            quoted,
        })
    }

    /// The same, ending where `wire_len` says.
    #[inline(always)]
    fn cut(mut self, wire_len: u32) -> Self {
        self.wire_len = self.wire_len.min(wire_len);
        self.bytes = &self.bytes[..self.bytes.len().min(self.wire_len as usize)];
        self
    }
}

/// The headers of one packet, found anew on each walk: a filter looks at few of them, and a walk
/// is cheaper than a table.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    frame: Layer<'a>,
    link: LinkType,
}

impl<'a> Layers<'a> {
    /// The headers of `packet`.
    #[must_use]
    #[inline]
    pub fn of(packet: &Packet<'a>) -> Self {
        let frame = Layer {
            protocol: Protocol::Frame,
            bytes: packet.data,
            wire_len: packet.original_len.max(packet.data.len() as u32),
            quoted: false,
        };
        Self {
            frame,
            link: packet.link,
        }
    }

    /// All headers, outermost first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        let link = self.link;
        std::iter::successors(Some(self.frame), move |layer| behind(layer, link)).take(MAX_LAYERS)
    }

    /// Calls `test` with the headers of that protocol, outermost first, until it returns true.
    #[inline]
    pub fn any(&self, protocol: Protocol, mut test: impl FnMut(&Layer<'a>) -> bool) -> bool {
        let mut layer = self.frame;
        for _ in 0..MAX_LAYERS {
            if layer.protocol == protocol && test(&layer) {
                return true;
            }
            match behind(&layer, self.link) {
                Some(next) => layer = next,
                None => return false,
            }
        }
        false
    }

    /// The headers of that protocol, outermost first.
    #[inline]
    pub fn of_protocol(&self, protocol: Protocol) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        self.iter().filter(move |layer| layer.protocol == protocol)
    }
}

/// The header behind that of `layer`.
#[inline(always)]
fn behind<'a>(layer: &Layer<'a>, link: LinkType) -> Option<Layer<'a>> {
    match layer.protocol {
        Protocol::Frame => behind_frame(layer, link),
        Protocol::Ethernet => behind_ethernet(layer),
        Protocol::Sll => behind_sll(layer, link),
        Protocol::Vlan => behind_ethertype(layer, be16(layer.bytes, 2), 4),
        Protocol::Ipv4 => behind_ipv4(layer),
        Protocol::Ipv6 => behind_ipv6(layer),
        Protocol::Icmp => behind_icmp(layer),
        Protocol::Udp => behind_udp(layer),
        // Behind its header is the frame that it carries.
        Protocol::Vxlan => layer.behind(Protocol::Ethernet, 8),
        Protocol::Icmpv6 | Protocol::Arp | Protocol::Tcp => None,
    }
}

#[inline(always)]
fn behind_frame<'a>(frame: &Layer<'a>, link: LinkType) -> Option<Layer<'a>> {
    match link {
        LinkType::Ethernet => frame.behind(Protocol::Ethernet, 0),
        LinkType::LinuxSll | LinkType::LinuxSll2 => frame.behind(Protocol::Sll, 0),
        LinkType::RawIp => match frame.bytes.first()? >> 4 {
            4 => frame.behind(Protocol::Ipv4, 0),
            6 => frame.behind(Protocol::Ipv6, 0),
            _ => None,
        },
    }
}

#[inline(always)]
fn behind_ethernet<'a>(ethernet: &Layer<'a>) -> Option<Layer<'a>> {
    behind_ethertype(ethernet, be16(ethernet.bytes, 12), 14)
}

#[inline(always)]
fn behind_sll<'a>(sll: &Layer<'a>, link: LinkType) -> Option<Layer<'a>> {
    match link {
        LinkType::LinuxSll2 => behind_ethertype(sll, be16(sll.bytes, 0), 20),
        _ => behind_ethertype(sll, be16(sll.bytes, 14), 16),
    }
}

#[inline(always)]
fn behind_ethertype<'a>(
    layer: &Layer<'a>,
    ethertype: Option<u16>,
    header: usize,
) -> Option<Layer<'a>> {
    let protocol = match ethertype? {
        0x0800 => Protocol::Ipv4,
        0x0806 => Protocol::Arp,
        0x86dd => Protocol::Ipv6,
        0x8100 | 0x88a8 => Protocol::Vlan,
        _ => return None,
    };
    layer
        .behind(protocol, header)
        .filter(|inner| !inner.bytes.is_empty())
}

#[inline(always)]
fn behind_ipv4<'a>(ip: &Layer<'a>) -> Option<Layer<'a>> {
    let header = header_len(ip)?;
    let total = match be16(ip.bytes, 2)? {
        // A segmentation offload leaves the length to the device; the frame tells it.
        0 => ip.wire_len,
        total => u32::from(total),
    };
    let fragment_offset = be16(ip.bytes, 6)? & 0x1fff;
    if total < header as u32 || fragment_offset != 0 {
        return None;
    }
    let protocol = transport(*ip.bytes.get(9)?, true)?;
    ip.cut(total)
        .behind(protocol, header)
        .filter(|inner| inner.wire_len > 0)
}

/// Length of an IPv4 header with its options; `None` where it cannot be one.
#[inline(always)]
fn header_len(ip: &Layer<'_>) -> Option<usize> {
    let first = *ip.bytes.first()?;
    let header = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && header >= 20 && ip.bytes.len() >= 20).then_some(header)
}

#[inline(always)]
fn transport(number: u8, over_ipv4: bool) -> Option<Protocol> {
    match number {
        1 if over_ipv4 => Some(Protocol::Icmp),
        4 => Some(Protocol::Ipv4),
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        41 => Some(Protocol::Ipv6),
        58 if !over_ipv4 => Some(Protocol::Icmpv6),
        _ => None,
    }
}

#[inline(always)]
fn behind_ipv6<'a>(ip: &Layer<'a>) -> Option<Layer<'a>> {
    if ip.bytes.len() < 40 || ip.bytes[0] >> 4 != 6 {
        return None;
    }
    let ip = match be16(ip.bytes, 4)? {
        0 => *ip,
        payload => ip.cut(40 + u32::from(payload)),
    };
    let mut next = ip.bytes[6];
    let mut offset = 40;
    // Hop-by-hop, routing, fragment and destination options (RFC 8200 §4.1).
    while let 0 | 43 | 44 | 60 = next {
        let header = ip.bytes.get(offset..offset + 8)?;
        if next == 44 && be16(header, 2)? & 0xfff8 != 0 {
            return None;
        }
        offset += if next == 44 {
            8
        } else {
            8 + usize::from(header[1]) * 8
        };
        next = header[0];
    }
    ip.behind(transport(next, false)?, offset)
        .filter(|inner| inner.wire_len > 0)
}

/// VXLAN goes to port 4789, or to 8472, Linux's before there was a number; tshark reads the
/// latter with `-d udp.port==8472,vxlan`. What an ICMP error quotes of one is left alone.
#[inline(always)]
fn behind_udp<'a>(udp: &Layer<'a>) -> Option<Layer<'a>> {
    let is_vxlan = |offset| matches!(be16(udp.bytes, offset), Some(4789 | 8472));
    (!udp.quoted && udp.wire_len > 8 && (is_vxlan(0) || is_vxlan(2)))
        .then(|| udp.behind(Protocol::Vxlan, 8))
        .flatten()
        .filter(|vxlan| !vxlan.bytes.is_empty())
}

/// The packet that an ICMP error quotes (RFC 792): types 3, 4, 5, 11 and 12.
#[inline(always)]
fn behind_icmp<'a>(icmp: &Layer<'a>) -> Option<Layer<'a>> {
    matches!(icmp.bytes.first()?, 3 | 4 | 5 | 11 | 12)
        .then(|| icmp.behind(Protocol::Ipv4, 8))
        .flatten()
        .filter(|inner| !inner.bytes.is_empty())
}
