//! Captures and the packets in them.
//!
//! [`capture`] splits pcap and pcapng bytes into packets, whole or as they arrive
//! from `tcpdump -w -`; [`layers`] finds the headers in a packet without copying;
//! [`describe`] prints a packet as `tcpdump -nn` does.

pub mod capture;
pub mod describe;
pub mod layers;
mod pcapng;

pub use capture::{Capture, CaptureError, Decoder};
pub use describe::Describer;
pub use layers::{Layer, Layers, Protocol};

/// How the first header of a packet is to be read.
///
/// Numbers are those of <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// `LINKTYPE_ETHERNET` (1).
    Ethernet,
    /// `LINKTYPE_RAW` (101) and `LINKTYPE_IPV4` (228): the packet begins with its IP header.
    RawIp,
    /// `LINKTYPE_LINUX_SLL` (113): `tcpdump -i any` until libpcap 1.10.
    LinuxSll,
    /// `LINKTYPE_LINUX_SLL2` (276): `tcpdump -i any` since.
    LinuxSll2,
}

impl LinkType {
    /// The link type with that number, where labctl reads it.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        // 12 and 14 are what DLT_RAW is on BSD and OpenBSD, and files carry them.
        match number {
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 => Some(Self::RawIp),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }
}

/// One packet of a capture, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Place in the capture, counted from 1, as Wireshark's `frame.number`.
    pub number: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// The bytes that were captured: fewer than `original_len` under a snaplen.
    pub data: &'a [u8],
    /// Length of the packet on the wire, in bytes.
    pub original_len: u32,
    /// How `data` begins.
    pub link: LinkType,
}

/// Big-endian 16 bits at `offset`, or `None` past the end.
#[inline]
pub(crate) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u16::from_be_bytes(*chunk))
}

/// Big-endian 32 bits at `offset`, or `None` past the end.
#[inline]
pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u32::from_be_bytes(*chunk))
}
