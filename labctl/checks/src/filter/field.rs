//! The fields that a filter can name, with Wireshark's names and widths.
//!
//! Every value fits into 64 bits: numbers as they are, IPv4 and MAC addresses as the
//! number that their bytes spell, which also orders them as Wireshark does.

use crate::packet::{Layer, Layers, Packet, Protocol, be16, be32};

/// How a field's values are written and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned number of that many bits.
    Number(u8),
    /// A flag: 1 or 0, `True` or `False`.
    Flag,
    /// An IPv4 address, also with a prefix length.
    Ipv4,
    /// A MAC address.
    Mac,
}

impl Kind {
    /// A value as a filter writes it.
    pub(super) fn show(self, value: u64) -> String {
        match self {
            Self::Number(_) | Self::Flag => value.to_string(),
            // Values of this kind come from 32 bits.
            Self::Ipv4 => std::net::Ipv4Addr::from(value as u32).to_string(),
            Self::Mac => {
                let bytes = value.to_be_bytes();
                bytes[2..]
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<Vec<_>>()
                    .join(":")
            }
        }
    }
}

type Get = fn(&Packet<'_>, &Layer<'_>) -> Option<u64>;

/// A field: where it is, and how to read it.
#[derive(Debug)]
pub struct Field {
    /// Wireshark's name.
    pub name: &'static str,
    /// The protocol it belongs to.
    pub protocol: Protocol,
    /// What its values are.
    pub kind: Kind,
    /// Most fields have one value a header, `ip.addr`, `tcp.port` and the like have two.
    get: &'static [Get],
}

impl Field {
    /// The field of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// The field's values in `packet`, outermost header first, as a filter would write them.
    #[must_use]
    pub fn values(&self, packet: &Packet<'_>) -> Vec<String> {
        let mut values = Vec::new();
        for layer in Layers::of(packet).of_protocol(self.protocol) {
            self.any(packet, &layer, |value| {
                values.push(self.kind.show(value));
                false
            });
        }
        values
    }

    /// Calls `test` with each value in `layer` until it returns true.
    #[inline]
    pub(super) fn any(
        &self,
        packet: &Packet<'_>,
        layer: &Layer<'_>,
        mut test: impl FnMut(u64) -> bool,
    ) -> bool {
        self.get
            .iter()
            .any(|get| get(packet, layer).is_some_and(&mut test))
    }
}

/// Protocol names, which are true where the protocol is present.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("frame", Protocol::Frame),
    ("eth", Protocol::Ethernet),
    ("sll", Protocol::Sll),
    ("vlan", Protocol::Vlan),
    ("arp", Protocol::Arp),
    ("ip", Protocol::Ipv4),
    ("ipv6", Protocol::Ipv6),
    ("icmp", Protocol::Icmp),
    ("icmpv6", Protocol::Icmpv6),
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("vxlan", Protocol::Vxlan),
];

/// Every field, in the order of the headers.
#[must_use]
pub fn fields() -> &'static [Field] {
    FIELDS
}

const fn field(name: &'static str, protocol: Protocol, kind: Kind, get: &'static [Get]) -> Field {
    Field {
        name,
        protocol,
        kind,
        get,
    }
}

#[inline]
fn u8_at(layer: &Layer<'_>, offset: usize) -> Option<u64> {
    layer.bytes.get(offset).map(|byte| u64::from(*byte))
}

#[inline]
fn u16_at(layer: &Layer<'_>, offset: usize) -> Option<u64> {
    be16(layer.bytes, offset).map(u64::from)
}

#[inline]
fn u32_at(layer: &Layer<'_>, offset: usize) -> Option<u64> {
    be32(layer.bytes, offset).map(u64::from)
}

#[inline]
fn mac_at(layer: &Layer<'_>, offset: usize) -> Option<u64> {
    Some(u16_at(layer, offset)? << 32 | u32_at(layer, offset + 2)?)
}

/// A flag in the byte at `offset`.
#[inline]
fn bit(layer: &Layer<'_>, offset: usize, mask: u64) -> Option<u64> {
    u8_at(layer, offset).map(|byte| u64::from(byte & mask != 0))
}

/// A field of an ARP packet that maps IPv4 (length 4) to Ethernet (type 1, length 6).
#[inline]
fn arp(layer: &Layer<'_>, get: fn(&Layer<'_>) -> Option<u64>) -> Option<u64> {
    layer
        .bytes
        .starts_with(&[0, 1, 8, 0, 6, 4])
        .then(|| get(layer))
        .flatten()
}

/// Identifier and sequence number exist in echo, timestamp, information and mask messages.
#[inline]
fn icmp_query(layer: &Layer<'_>, offset: usize) -> Option<u64> {
    matches!(layer.bytes.first()?, 0 | 8 | 13..=18)
        .then(|| u16_at(layer, offset))
        .flatten()
}

/// The raw sequence number; Wireshark does not read it from a segment that an ICMP error quotes.
#[inline]
fn tcp_seq_raw(layer: &Layer<'_>) -> Option<u64> {
    if layer.quoted { None } else { u32_at(layer, 4) }
}

/// Payload of a TCP segment, in bytes on the wire; not told of a quoted one either.
#[inline]
fn tcp_len(layer: &Layer<'_>) -> Option<u64> {
    if layer.quoted {
        return None;
    }
    let header = (u8_at(layer, 12)? >> 4) * 4;
    (header >= 20)
        .then(|| u64::from(layer.wire_len).checked_sub(header))
        .flatten()
}

/// IPv4's total length; 0 stands for a length left to a segmentation offload.
#[inline]
fn ip_len(layer: &Layer<'_>) -> Option<u64> {
    u16_at(layer, 2).map(|total| {
        if total == 0 {
            u64::from(layer.wire_len)
        } else {
            total
        }
    })
}

use Kind::{Flag, Ipv4, Mac, Number};
use Protocol as P;

static FIELDS: &[Field] = &[
    field(
        "frame.number",
        P::Frame,
        Number(32),
        &[|packet, _| Some(packet.number)],
    ),
    field(
        "frame.len",
        P::Frame,
        Number(32),
        &[|packet, _| Some(u64::from(packet.original_len))],
    ),
    field(
        "frame.cap_len",
        P::Frame,
        Number(32),
        &[|packet, _| Some(packet.data.len() as u64)],
    ),
    field("eth.dst", P::Ethernet, Mac, &[|_, l| mac_at(l, 0)]),
    field("eth.src", P::Ethernet, Mac, &[|_, l| mac_at(l, 6)]),
    field(
        "eth.addr",
        P::Ethernet,
        Mac,
        &[|_, l| mac_at(l, 0), |_, l| mac_at(l, 6)],
    ),
    // Below 1536 it is the length of an IEEE 802.3 frame.
    field(
        "eth.type",
        P::Ethernet,
        Number(16),
        &[|_, l| u16_at(l, 12).filter(|ethertype| *ethertype >= 1536)],
    ),
    field("arp.hw.type", P::Arp, Number(16), &[|_, l| u16_at(l, 0)]),
    field("arp.proto.type", P::Arp, Number(16), &[|_, l| u16_at(l, 2)]),
    field("arp.hw.size", P::Arp, Number(8), &[|_, l| u8_at(l, 4)]),
    field("arp.proto.size", P::Arp, Number(8), &[|_, l| u8_at(l, 5)]),
    field("arp.opcode", P::Arp, Number(16), &[|_, l| u16_at(l, 6)]),
    field(
        "arp.src.hw_mac",
        P::Arp,
        Mac,
        &[|_, l| arp(l, |l| mac_at(l, 8))],
    ),
    field(
        "arp.src.proto_ipv4",
        P::Arp,
        Ipv4,
        &[|_, l| arp(l, |l| u32_at(l, 14))],
    ),
    field(
        "arp.dst.hw_mac",
        P::Arp,
        Mac,
        &[|_, l| arp(l, |l| mac_at(l, 18))],
    ),
    field(
        "arp.dst.proto_ipv4",
        P::Arp,
        Ipv4,
        &[|_, l| arp(l, |l| u32_at(l, 24))],
    ),
    field(
        "ip.hdr_len",
        P::Ipv4,
        Number(8),
        &[|_, l| u8_at(l, 0).map(|byte| (byte & 0x0f) * 4)],
    ),
    field("ip.dsfield", P::Ipv4, Number(8), &[|_, l| u8_at(l, 1)]),
    field(
        "ip.dsfield.dscp",
        P::Ipv4,
        Number(8),
        &[|_, l| u8_at(l, 1).map(|byte| byte >> 2)],
    ),
    field(
        "ip.dsfield.ecn",
        P::Ipv4,
        Number(8),
        &[|_, l| u8_at(l, 1).map(|byte| byte & 3)],
    ),
    field("ip.len", P::Ipv4, Number(16), &[|_, l| ip_len(l)]),
    field("ip.id", P::Ipv4, Number(16), &[|_, l| u16_at(l, 4)]),
    field(
        "ip.flags",
        P::Ipv4,
        Number(8),
        &[|_, l| u8_at(l, 6).map(|byte| byte >> 5)],
    ),
    field("ip.flags.rb", P::Ipv4, Flag, &[|_, l| bit(l, 6, 0x80)]),
    field("ip.flags.df", P::Ipv4, Flag, &[|_, l| bit(l, 6, 0x40)]),
    field("ip.flags.mf", P::Ipv4, Flag, &[|_, l| bit(l, 6, 0x20)]),
    // In units of eight bytes, as tshark 4.0 has it.
    field(
        "ip.frag_offset",
        P::Ipv4,
        Number(16),
        &[|_, l| u16_at(l, 6).map(|word| word & 0x1fff)],
    ),
    field("ip.ttl", P::Ipv4, Number(8), &[|_, l| u8_at(l, 8)]),
    field("ip.proto", P::Ipv4, Number(8), &[|_, l| u8_at(l, 9)]),
    field("ip.checksum", P::Ipv4, Number(16), &[|_, l| u16_at(l, 10)]),
    field("ip.src", P::Ipv4, Ipv4, &[|_, l| u32_at(l, 12)]),
    field("ip.dst", P::Ipv4, Ipv4, &[|_, l| u32_at(l, 16)]),
    field(
        "ip.addr",
        P::Ipv4,
        Ipv4,
        &[|_, l| u32_at(l, 12), |_, l| u32_at(l, 16)],
    ),
    field("icmp.type", P::Icmp, Number(8), &[|_, l| u8_at(l, 0)]),
    field("icmp.code", P::Icmp, Number(8), &[|_, l| u8_at(l, 1)]),
    field("icmp.checksum", P::Icmp, Number(16), &[|_, l| u16_at(l, 2)]),
    field(
        "icmp.ident",
        P::Icmp,
        Number(16),
        &[|_, l| icmp_query(l, 4)],
    ),
    field("icmp.seq", P::Icmp, Number(16), &[|_, l| icmp_query(l, 6)]),
    // Type 3 code 4, fragmentation needed (RFC 1191).
    field(
        "icmp.mtu",
        P::Icmp,
        Number(16),
        &[|_, l| l.bytes.starts_with(&[3, 4]).then(|| u16_at(l, 6)).flatten()],
    ),
    field(
        "icmp.redir_gw",
        P::Icmp,
        Ipv4,
        &[|_, l| l.bytes.starts_with(&[5]).then(|| u32_at(l, 4)).flatten()],
    ),
    field("tcp.srcport", P::Tcp, Number(16), &[|_, l| u16_at(l, 0)]),
    field("tcp.dstport", P::Tcp, Number(16), &[|_, l| u16_at(l, 2)]),
    field(
        "tcp.port",
        P::Tcp,
        Number(16),
        &[|_, l| u16_at(l, 0), |_, l| u16_at(l, 2)],
    ),
    field("tcp.seq_raw", P::Tcp, Number(32), &[|_, l| tcp_seq_raw(l)]),
    field("tcp.ack_raw", P::Tcp, Number(32), &[|_, l| u32_at(l, 8)]),
    field(
        "tcp.hdr_len",
        P::Tcp,
        Number(8),
        &[|_, l| u8_at(l, 12).map(|byte| (byte >> 4) * 4)],
    ),
    field(
        "tcp.flags",
        P::Tcp,
        Number(16),
        &[|_, l| u16_at(l, 12).map(|word| word & 0x0fff)],
    ),
    field("tcp.flags.cwr", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x80)]),
    field("tcp.flags.ece", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x40)]),
    field("tcp.flags.urg", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x20)]),
    field("tcp.flags.ack", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x10)]),
    field("tcp.flags.push", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x08)]),
    field("tcp.flags.reset", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x04)]),
    field("tcp.flags.syn", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x02)]),
    field("tcp.flags.fin", P::Tcp, Flag, &[|_, l| bit(l, 13, 0x01)]),
    field(
        "tcp.window_size_value",
        P::Tcp,
        Number(16),
        &[|_, l| u16_at(l, 14)],
    ),
    field("tcp.checksum", P::Tcp, Number(16), &[|_, l| u16_at(l, 16)]),
    field(
        "tcp.urgent_pointer",
        P::Tcp,
        Number(16),
        &[|_, l| u16_at(l, 18)],
    ),
    field("tcp.len", P::Tcp, Number(32), &[|_, l| tcp_len(l)]),
    field("udp.srcport", P::Udp, Number(16), &[|_, l| u16_at(l, 0)]),
    field("udp.dstport", P::Udp, Number(16), &[|_, l| u16_at(l, 2)]),
    field(
        "udp.port",
        P::Udp,
        Number(16),
        &[|_, l| u16_at(l, 0), |_, l| u16_at(l, 2)],
    ),
    field("udp.length", P::Udp, Number(16), &[|_, l| u16_at(l, 4)]),
    field("udp.checksum", P::Udp, Number(16), &[|_, l| u16_at(l, 6)]),
    field("vxlan.flags", P::Vxlan, Number(16), &[|_, l| u16_at(l, 0)]),
    field("vxlan.gbp", P::Vxlan, Number(16), &[|_, l| u16_at(l, 2)]),
    field(
        "vxlan.vni",
        P::Vxlan,
        Number(24),
        &[|_, l| u32_at(l, 4).map(|word| word >> 8)],
    ),
];
