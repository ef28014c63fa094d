//! Ports of fragmented datagrams: only the first fragment carries them.

use crate::address::{Address, Port};

/// Key of `cilium_ipv4_frag_datagrams`: what the fragments of one datagram
/// have in common (RFC 791, section 3.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Destination address.
    pub destination: Address,
    /// Source address.
    pub source: Address,
    /// IP identification, in network byte order.
    pub id: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub padding: u8,
}

/// Ports of a packet, placed as in [`crate::Tuple`]: an ICMP echo request has its
/// identifier as source port, a reply as destination port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub source: Port,
    /// Destination port.
    pub destination: Port,
}
