//! The key of conntrack and NAT maps.

use crate::address::{Address, Port};

/// IP protocol numbers that the datapath knows.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// Which way a flow was opened, seen from the local endpoint. As in Cilium's
/// `TUPLE_F_OUT` and `TUPLE_F_IN`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Conntrack: the endpoint opened it. NAT: from original to translated.
    Out = 0,
    /// Conntrack: it was opened towards the endpoint. NAT: from translated
    /// back to original.
    In = 1,
    /// Conntrack: from a client to a service, before the backend stands for it
    /// (`TUPLE_F_SERVICE`).
    Service = 4,
}

/// One flow. In conntrack maps `source` is whoever opened the flow. In the NAT
/// map an OUT tuple is the packet before translation, and an IN tuple is the
/// reply as it comes back, addressed to the translated address and port.
///
/// An ICMP echo request has its identifier as `source_port` and no
/// `destination_port`; the reply has them the other way round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, or ICMP echo identifier of a request.
    pub source_port: Port,
    /// Destination port, or ICMP echo identifier of a reply.
    pub destination_port: Port,
    /// IP protocol number, see [`protocol`].
    pub protocol: u8,
    /// A [`Direction`], as its number.
    pub direction: u8,
    /// Zero: the map compares every byte of a key.
    pub padding: [u8; 2],
}

impl Tuple {
    /// The same flow as the other side sees it, same direction flag.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }

    /// The same addresses and ports under another direction.
    #[inline(always)]
    #[must_use]
    pub const fn with_direction(self, direction: Direction) -> Self {
        Self {
            direction: direction as u8,
            ..self
        }
    }
}
