//! One packet at several captures: whether it was rewritten on its way.
//!
//! A packet is recognised by what translation leaves alone: the IP identification, and
//! ICMP type and sequence number, TCP sequence numbers and flags, or the UDP length.

use super::Captured;
use crate::check_file::{Check, Expectation};
use crate::filter::{Field, NearMiss};
use crate::packet::{Layers, Packet, Protocol, be16, be32};

/// What translation leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    ip_id: u16,
    protocol: Protocol,
    transport: [u32; 3],
}

impl Identity {
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let mut layers = Layers::of(packet).iter();
        let ip = layers.find(|layer| layer.protocol == Protocol::Ipv4)?;
        let inner = layers.next()?;
        let transport = match inner.protocol {
            Protocol::Icmp => [
                u32::from(*inner.bytes.first()?),
                u32::from(be16(inner.bytes, 6)?),
                0,
            ],
            Protocol::Tcp => [
                be32(inner.bytes, 4)?,
                be32(inner.bytes, 8)?,
                u32::from(*inner.bytes.get(13)?),
            ],
            Protocol::Udp => [u32::from(be16(inner.bytes, 4)?), 0, 0],
            _ => return None,
        };
        Some(Self {
            ip_id: be16(ip.bytes, 4)?,
            protocol: inner.protocol,
            transport,
        })
    }
}

/// Fields that translation rewrites.
const REWRITTEN: [&str; 8] = [
    "ip.src",
    "ip.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "icmp.ident",
    "ip.ttl",
];

/// A place in the packet's path.
pub(super) struct Path<'a> {
    pub(super) check: &'a Check,
    pub(super) captures: &'a [Captured],
    /// Index of the capture.
    pub(super) at: usize,
}

impl Path<'_> {
    /// What to say about packets that are missing: what was there instead, and whether that was
    /// changed on its way.
    pub(super) fn missing(
        &self,
        expectation: &Expectation,
        near: &[(Packet<'_>, NearMiss)],
    ) -> Option<String> {
        let Some((packet, miss)) = near.first() else {
            return self.nothing_like_it();
        };
        let alike = near
            .iter()
            .filter(|(_, other)| other.comparison == miss.comparison)
            .count();
        let comparison = &expectation.filter.text()[miss.comparison.clone()];
        let mut hint = format!(
            "{alike} {} but for `{comparison}`: {} is {}",
            if alike == 1 {
                "packet matches"
            } else {
                "packets match"
            },
            miss.field,
            miss.values.join(", ")
        );
        if let Some(more) = self.rewritten(packet, miss.field, &miss.values) {
            hint.push_str("; ");
            hint.push_str(&more);
        }
        Some(hint)
    }

    /// What to say about a packet that should not be there.
    pub(super) fn unwanted(&self, packet: &Packet<'_>) -> Option<String> {
        let (before, earlier) = self.earlier(packet)?;
        let changed: Vec<String> = REWRITTEN
            .iter()
            .filter_map(|name| Field::named(name))
            .filter(|field| field.name != "ip.ttl")
            .filter_map(|field| {
                let (was, is) = (field.values(&earlier), field.values(packet));
                (was != is)
                    .then(|| format!("{} {} → {}", field.name, was.join(", "), is.join(", ")))
            })
            .collect();
        Some(if changed.is_empty() {
            format!("the packet is as it was at `{before}`: not rewritten on the way")
        } else {
            format!(
                "the packet was rewritten since `{before}`: {}",
                changed.join(", ")
            )
        })
    }

    fn rewritten(&self, packet: &Packet<'_>, field: &str, values: &[String]) -> Option<String> {
        if !REWRITTEN.contains(&field) {
            return None;
        }
        let (before, earlier) = self.earlier(packet)?;
        let was = Field::named(field)?.values(&earlier);
        Some(if was == values {
            format!("the same as at `{before}`: not rewritten on the way")
        } else {
            format!(
                "at `{before}` it is {}: rewritten on the way",
                was.join(", ")
            )
        })
    }

    fn nothing_like_it(&self) -> Option<String> {
        let here = &self.captures[self.at].capture;
        here.is_empty().then(|| {
            let filter = &self.check.captures[self.at].filter;
            let matching = if filter.is_empty() {
                String::new()
            } else {
                format!(" that matches `{filter}`")
            };
            let before = (0..self.at)
                .rev()
                .find(|index| !self.captures[*index].capture.is_empty());
            match before {
                Some(index) => {
                    format!(
                        "no packet{matching} came here; the last place that saw any is `{}`",
                        self.check.captures[index].name
                    )
                }
                None => format!("no packet{matching} came here"),
            }
        })
    }

    /// The same packet at the nearest capture before this one that saw it.
    fn earlier(&self, packet: &Packet<'_>) -> Option<(&str, Packet<'_>)> {
        let identity = Identity::of(packet)?;
        (0..self.at).rev().find_map(|index| {
            let mut packets = self.captures[index].capture.packets();
            let same = packets.find(|other| Identity::of(other) == Some(identity))?;
            Some((self.check.captures[index].name.as_str(), same))
        })
    }
}
