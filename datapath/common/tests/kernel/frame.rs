//! Frames built from scratch. Nothing here comes from the code under test: every
//! checksum is summed up over the bytes it covers (RFC 1071), so a frame that was
//! corrected incrementally must come out the same.

use std::net::{Ipv4Addr, SocketAddrV4};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// ACK of a TCP segment.
pub(crate) const ACK: u8 = 0x10;
/// SYN of a TCP segment.
pub(crate) const SYN: u8 = 0x02;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Destination unreachable, fragmentation needed (RFC 792), and the MTU after it
/// (RFC 1191).
const FRAGMENTATION_NEEDED: [u8; 8] = [3, 4, 0, 0, 0, 0, 0x05, 0x14];

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    fn new(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Self {
        let length = u16::try_from(20 + payload.len()).expect("packets in tests are short");
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        // Identification 0x1234, don't fragment, TTL 64.
        bytes.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
        bytes.extend(from.octets());
        bytes.extend(to.octets());
        bytes.extend(payload);
        Self { bytes }.with_header_checksum()
    }

    fn with_header_checksum(mut self) -> Self {
        self.bytes[10..12].fill(0);
        let sum = checksum(&[&self.bytes[..20]]);
        self.bytes[10..12].copy_from_slice(&sum);
        self
    }

    /// The packet one hop on.
    pub(crate) fn forwarded(mut self) -> Self {
        self.bytes[8] -= 1;
        self.with_header_checksum()
    }

    /// What a router quotes that quotes that many bytes of payload.
    pub(crate) fn first_bytes(&self, of_payload: usize) -> &[u8] {
        &self.bytes[..20 + of_payload]
    }

    /// The packet cut in two after that many bytes of payload, a multiple of 8.
    pub(crate) fn fragments(&self, at: usize) -> [Self; 2] {
        let (first, second) = self.bytes[20..].split_at(at);
        let words = u16::try_from(at / 8).expect("packets in tests are short");
        let piece = |flags_and_offset: u16, payload: &[u8]| {
            let mut bytes = [&self.bytes[..20], payload].concat();
            let length = u16::try_from(bytes.len()).expect("packets in tests are short");
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
            Self { bytes }.with_header_checksum()
        };
        const MORE_FRAGMENTS: u16 = 0x2000;
        [piece(MORE_FRAGMENTS, first), piece(words, second)]
    }

    /// The frame, with the addresses that a packet in a test run comes with:
    /// loopback has all zeroes, which makes it this host's.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.framed([0; 6], [0; 6])
    }

    /// The frame between two MAC addresses.
    pub(crate) fn framed(&self, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
        [&to[..], &from, &[0x08, 0x00], &self.bytes].concat()
    }
}

/// A UDP datagram.
pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Packet {
    let length = u16::try_from(8 + payload.len()).expect("packets in tests are short");
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut datagram = [&ports[..], &length.to_be_bytes(), &[0, 0], payload].concat();
    let sum = match transport_checksum(UDP, from, to, &datagram) {
        // RFC 768: all zeroes would mean that there is none.
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum);
    Packet::new(UDP, *from.ip(), *to.ip(), &datagram)
}

/// A UDP datagram whose sender left the checksum out.
pub(crate) fn udp_without_checksum(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Packet {
    let mut packet = udp(from, to, payload);
    packet.bytes[26..28].fill(0);
    packet
}

/// A TCP segment.
pub(crate) fn tcp(from: SocketAddrV4, to: SocketAddrV4, flags: u8, payload: &[u8]) -> Packet {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    // Sequence number, acknowledgement, data offset 5, window.
    let rest = [1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0];
    let mut segment = [&ports[..], &rest, payload].concat();
    let sum = transport_checksum(TCP, from, to, &segment);
    segment[16..18].copy_from_slice(&sum);
    Packet::new(TCP, *from.ip(), *to.ip(), &segment)
}

/// An ICMP echo request.
pub(crate) fn echo_request(from: Ipv4Addr, to: Ipv4Addr, id: u16, payload: &[u8]) -> Packet {
    let [high, low] = id.to_be_bytes();
    let header = [ECHO_REQUEST, 0, 0, 0, high, low, 0, 1];
    icmp(from, to, &[&header[..], payload].concat())
}

/// An ICMP echo reply.
pub(crate) fn echo_reply(from: Ipv4Addr, to: Ipv4Addr, id: u16, payload: &[u8]) -> Packet {
    let [high, low] = id.to_be_bytes();
    let header = [ECHO_REPLY, 0, 0, 0, high, low, 0, 1];
    icmp(from, to, &[&header[..], payload].concat())
}

/// An ICMP "fragmentation needed" about the packet that begins with `quoted`.
pub(crate) fn fragmentation_needed(from: Ipv4Addr, to: Ipv4Addr, quoted: &[u8]) -> Packet {
    icmp(from, to, &[&FRAGMENTATION_NEEDED, quoted].concat())
}

/// Any ICMP message; its checksum field is filled in.
pub(crate) fn icmp(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Packet {
    let mut message = message.to_vec();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    Packet::new(ICMP, from, to, &message)
}

fn transport_checksum(
    protocol: u8,
    from: SocketAddrV4,
    to: SocketAddrV4,
    segment: &[u8],
) -> [u8; 2] {
    let length = u16::try_from(segment.len()).expect("packets in tests are short");
    let [high, low] = length.to_be_bytes();
    checksum(&[
        &from.ip().octets(),
        &to.ip().octets(),
        &[0, protocol, high, low],
        segment,
    ])
}

/// RFC 1071 over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words
        .map(|word| u64::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])))
        .sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).expect("the carries are folded in");
    (!sum).to_be_bytes()
}
