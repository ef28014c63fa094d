//! Packets as lines of text, as `tcpdump -nn` prints them (in UTC).
//!
//! tcpdump counts TCP sequence numbers from the first segment it sees of a connection,
//! so a [`Describer`] reads a capture from its beginning. Payloads are not decoded,
//! except that HTTP shows its first line; IPv6 shows its addresses only.

mod tcp;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::layers::{Layer, Layers, Protocol};
use super::{Packet, be16, be32};
use tcp::Segment;

/// Prints the packets of one capture in order.
#[derive(Debug, Default)]
pub struct Describer {
    connections: HashMap<Connection, Origin>,
}

/// Both ends of a connection, the one with the lower port first.
type Connection = ((u16, Ipv4Addr), (u16, Ipv4Addr));

/// Sequence numbers that are printed as 0 for the first and the second end.
#[derive(Clone, Copy, Debug)]
struct Origin {
    first: u32,
    second: u32,
}

impl Describer {
    /// A describer at the beginning of a capture.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next packet, as one line.
    #[must_use]
    pub fn describe(&mut self, packet: &Packet<'_>) -> String {
        let mut line = time(packet.timestamp);
        let text = self.network(&mut Layers::of(packet).iter());
        line.push_str(&text.unwrap_or_else(|| link(packet)));
        line
    }

    /// The next network header and what is behind it; the packet in a tunnel follows on
    /// the same line.
    fn network<'a>(&mut self, layers: &mut impl Iterator<Item = Layer<'a>>) -> Option<String> {
        let layer = layers.find(|layer| {
            matches!(
                layer.protocol,
                Protocol::Ipv4 | Protocol::Ipv6 | Protocol::Arp
            )
        })?;
        match layer.protocol {
            Protocol::Arp => arp(&layer),
            Protocol::Ipv6 => ipv6(&layer),
            _ => {
                let (transport, behind) = (layers.next(), layers.next());
                let text = self.ipv4(&layer, transport, behind)?;
                let tunnel = behind.filter(|behind| behind.protocol == Protocol::Vxlan);
                let inner = tunnel.and_then(|_| self.network(layers));
                Some(inner.map_or_else(|| text.clone(), |inner| format!("{text}: {inner}")))
            }
        }
    }

    /// `quoted` is what an ICMP error, or a tunnel, carries.
    fn ipv4(
        &mut self,
        ip: &Layer<'_>,
        transport: Option<Layer<'_>>,
        quoted: Option<Layer<'_>>,
    ) -> Option<String> {
        let (src, dst) = (ipv4_at(ip, 12)?, ipv4_at(ip, 16)?);
        let number = *ip.bytes.get(9)?;
        let text = transport.and_then(|layer| match layer.protocol {
            Protocol::Icmp => icmp_text(&layer, quoted.as_ref())
                .map(|text| format!("IP {src} > {dst}: ICMP {text}, length {}", layer.wire_len)),
            Protocol::Tcp => self.tcp(src, dst, &layer),
            Protocol::Udp => udp_text(src, dst, &layer, quoted.as_ref()),
            _ => None,
        });
        text.or_else(|| Some(format!("IP {src} > {dst}: ip-proto-{number}")))
    }

    fn tcp(&mut self, src: Ipv4Addr, dst: Ipv4Addr, tcp: &Layer<'_>) -> Option<String> {
        let (sport, dport) = (be16(tcp.bytes, 0)?, be16(tcp.bytes, 2)?);
        let flags = *tcp.bytes.get(13)?;
        let header = usize::from(tcp.bytes[12] >> 4) * 4;
        let length = tcp
            .wire_len
            .checked_sub(header as u32)
            .filter(|_| header >= 20)?;
        let (mut seq, mut ack) = (be32(tcp.bytes, 4)?, be32(tcp.bytes, 8)?);
        let origin = if flags & tcp::ACK != 0 {
            self.relative(
                (sport, src),
                (dport, dst),
                flags & tcp::SYN != 0,
                &mut seq,
                &mut ack,
            )
        } else {
            0
        };
        let segment = Segment {
            flags,
            seq,
            ack,
            length,
            origin,
        };
        let ends = format!("IP {src}.{sport} > {dst}.{dport}");
        let http = [sport, dport]
            .iter()
            .any(|port| matches!(port, 80 | 3128 | 8080));
        let payload = tcp.bytes.get(header..).filter(|_| http && length > 0);
        Some(ends + &segment.text(tcp, header)? + &payload.map(tcp::http).unwrap_or_default())
    }

    /// Makes `seq` and `ack` relative, as print-tcp.c does; returns what acknowledgements of the
    /// other end are counted from.
    fn relative(
        &mut self,
        from: (u16, Ipv4Addr),
        to: (u16, Ipv4Addr),
        syn: bool,
        seq: &mut u32,
        ack: &mut u32,
    ) -> u32 {
        let reversed = from > to;
        let key = if reversed { (to, from) } else { (from, to) };
        let (sent, received) = match self.connections.get(&key) {
            Some(origin) if !syn => {
                let ends = if reversed {
                    (origin.second, origin.first)
                } else {
                    (origin.first, origin.second)
                };
                *seq = seq.wrapping_sub(ends.0);
                *ack = ack.wrapping_sub(ends.1);
                ends
            }
            _ => (*seq, ack.wrapping_sub(1)),
        };
        let (first, second) = if reversed {
            (received, sent)
        } else {
            (sent, received)
        };
        self.connections.insert(key, Origin { first, second });
        received
    }
}

fn time(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let microseconds = nanoseconds % 1_000_000_000 / 1_000;
    format!(
        "{:02}:{:02}:{:02}.{microseconds:06} ",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn ipv4_at(layer: &Layer<'_>, offset: usize) -> Option<Ipv4Addr> {
    be32(layer.bytes, offset).map(Ipv4Addr::from)
}

fn mac(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn link(packet: &Packet<'_>) -> String {
    let length = packet.original_len;
    match (
        packet.data.get(..6),
        packet.data.get(6..12),
        be16(packet.data, 12),
    ) {
        (Some(dst), Some(src), Some(ethertype)) if packet.link == super::LinkType::Ethernet => {
            format!(
                "{} > {}, ethertype 0x{ethertype:04x}, length {length}",
                mac(src),
                mac(dst)
            )
        }
        _ => format!("unknown packet, length {length}"),
    }
}

fn arp(arp: &Layer<'_>) -> Option<String> {
    let (sender, target) = (ipv4_at(arp, 14)?, ipv4_at(arp, 24)?);
    let length = arp.wire_len;
    match be16(arp.bytes, 6)? {
        1 => {
            let wanted = arp.bytes.get(18..24).filter(|mac| **mac != [0; 6]);
            let wanted = wanted
                .map(|bytes| format!(" ({})", mac(bytes)))
                .unwrap_or_default();
            Some(format!(
                "ARP, Request who-has {target}{wanted} tell {sender}, length {length}"
            ))
        }
        2 => Some(format!(
            "ARP, Reply {sender} is-at {}, length {length}",
            mac(arp.bytes.get(8..14)?)
        )),
        opcode => Some(format!("ARP, opcode {opcode}, length {length}")),
    }
}

fn ipv6(ip: &Layer<'_>) -> Option<String> {
    let address = |offset: usize| {
        let bytes: &[u8; 16] = ip.bytes.get(offset..)?.first_chunk()?;
        Some(Ipv6Addr::from(*bytes))
    };
    Some(format!(
        "IP6 {} > {}: next-header {}, length {}",
        address(8)?,
        address(24)?,
        ip.bytes[6],
        be16(ip.bytes, 4)?
    ))
}

fn udp_text(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    udp: &Layer<'_>,
    inner: Option<&Layer<'_>>,
) -> Option<String> {
    let (sport, dport) = (be16(udp.bytes, 0)?, be16(udp.bytes, 2)?);
    let length = be16(udp.bytes, 4)?.checked_sub(8)?;
    if let Some(vxlan) = inner.filter(|it| it.protocol == Protocol::Vxlan) {
        let flags = *vxlan.bytes.first()?;
        let vni = be32(vxlan.bytes, 4)? >> 8;
        return Some(format!(
            "IP {src}.{sport} > {dst}.{dport}: VXLAN, flags [{}] (0x{flags:02x}), vni {vni}",
            if flags & 0x08 == 0 { "." } else { "I" }
        ));
    }
    Some(format!(
        "IP {src}.{sport} > {dst}.{dport}: UDP, length {length}"
    ))
}

fn icmp_text(icmp: &Layer<'_>, quoted: Option<&Layer<'_>>) -> Option<String> {
    let (kind, code) = (*icmp.bytes.first()?, *icmp.bytes.get(1)?);
    let pair = || Some((be16(icmp.bytes, 4)?, be16(icmp.bytes, 6)?));
    Some(match kind {
        0 | 8 => {
            let (id, seq) = pair()?;
            format!(
                "echo {}, id {id}, seq {seq}",
                if kind == 8 { "request" } else { "reply" }
            )
        }
        3 => unreachable_text(code, icmp, quoted?)?,
        4 => "source quench".to_owned(),
        5 => {
            let what = [
                "redirect {} to net",
                "redirect {} to host",
                "redirect-tos {} to net",
                "redirect-tos {} to host",
            ];
            let what = what
                .get(usize::from(code))?
                .replace("{}", &ipv4_at(quoted?, 16)?.to_string());
            format!("{what} {}", ipv4_at(icmp, 4)?)
        }
        11 => match code {
            0 => "time exceeded in-transit".to_owned(),
            1 => "ip reassembly time exceeded".to_owned(),
            _ => format!("time exceeded-#{code}"),
        },
        13 => {
            let (id, seq) = pair()?;
            format!("time stamp query id {id} seq {seq}")
        }
        _ => format!("type-#{kind}"),
    })
}

fn unreachable_text(code: u8, icmp: &Layer<'_>, quoted: &Layer<'_>) -> Option<String> {
    let dst = ipv4_at(quoted, 16)?;
    Some(match code {
        0 => format!("net {dst} unreachable"),
        1 => format!("host {dst} unreachable"),
        2 => format!("{dst} protocol {} unreachable", quoted.bytes.get(9)?),
        3 => {
            let header = usize::from(quoted.bytes.first()? & 0x0f) * 4;
            let port = be16(quoted.bytes, header + 2)?;
            match quoted.bytes.get(9)? {
                6 => format!("{dst} tcp port {port} unreachable"),
                17 => format!("{dst} udp port {port} unreachable"),
                protocol => format!("{dst} protocol {protocol} port {port} unreachable"),
            }
        }
        4 => match be16(icmp.bytes, 6)? {
            0 => format!("{dst} unreachable - need to frag"),
            mtu => format!("{dst} unreachable - need to frag (mtu {mtu})"),
        },
        5 => format!("{dst} unreachable - source route failed"),
        6 => format!("net {dst} unreachable - unknown"),
        7 => format!("host {dst} unreachable - unknown"),
        8 => format!("{dst} unreachable - source host isolated"),
        9 => format!("net {dst} unreachable - admin prohibited"),
        10 => format!("host {dst} unreachable - admin prohibited"),
        11 => format!("net {dst} unreachable - tos prohibited"),
        12 => format!("host {dst} unreachable - tos prohibited"),
        13 => format!("host {dst} unreachable - admin prohibited filter"),
        14 => format!("host {dst} unreachable - host precedence violation"),
        15 => format!("host {dst} unreachable - precedence cutoff"),
        _ => format!("{dst} unreachable - #{code}"),
    })
}
