//! Packets to send and to expect. Checksums are summed up over the finished
//! bytes (RFC 1071); nothing here is shared with the code under test.

use std::net::Ipv4Addr;

/// An address and a port, or an ICMP echo identifier in its place.
pub(crate) type Socket = (Ipv4Addr, u16);

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) const ECHO_REPLY: u8 = 0;
pub(crate) const DEST_UNREACH: u8 = 3;
pub(crate) const FRAG_NEEDED: u8 = 4;
pub(crate) const REDIRECT: u8 = 5;
pub(crate) const ECHO_REQUEST: u8 = 8;
pub(crate) const TIME_EXCEEDED: u8 = 11;
pub(crate) const TIMESTAMP: u8 = 13;

/// Destination and source MAC address of a frame as sent.
pub(crate) const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// The transport header and what follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Tcp { ports: [u16; 2], flags: u8 },
    Udp { ports: [u16; 2] },
    Sctp { ports: [u16; 2] },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Other { protocol: u8 },
}

/// What the transport checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Checksum {
    /// The checksum.
    Finished,
    /// Zero: a UDP packet without one.
    Absent,
    /// The pseudo-header's sum; the device adds the rest (`CHECKSUM_PARTIAL`).
    LeftToDevice,
}

/// One IPv4 datagram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Datagram {
    pub(crate) macs: [u8; 12],
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// IP options, a multiple of 4 bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Payload,
    pub(crate) checksum: Checksum,
    /// After the transport header.
    pub(crate) data: Vec<u8>,
}

pub(crate) fn tcp(source: Socket, destination: Socket, flags: u8) -> Datagram {
    let ports = [source.1, destination.1];
    datagram(source.0, destination.0, Payload::Tcp { ports, flags })
}

pub(crate) fn udp(source: Socket, destination: Socket) -> Datagram {
    let ports = [source.1, destination.1];
    datagram(source.0, destination.0, Payload::Udp { ports })
}

pub(crate) fn sctp(source: Socket, destination: Socket) -> Datagram {
    let ports = [source.1, destination.1];
    datagram(source.0, destination.0, Payload::Sctp { ports })
}

pub(crate) fn icmp(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, code: u8) -> Datagram {
    let rest = [0; 4];
    datagram(source, destination, Payload::Icmp { kind, code, rest })
}

pub(crate) fn echo_request(source: Socket, destination: Ipv4Addr) -> Datagram {
    icmp(source.0, destination, ECHO_REQUEST, 0).with_echo_id(source.1)
}

pub(crate) fn echo_reply(source: Ipv4Addr, destination: Socket) -> Datagram {
    icmp(source, destination.0, ECHO_REPLY, 0).with_echo_id(destination.1)
}

/// An ICMP error from `source` that quotes the header and `payload` bytes of
/// `cause`, and goes to whoever sent that.
pub(crate) fn icmp_error(
    source: Ipv4Addr,
    kind: u8,
    code: u8,
    cause: &Datagram,
    payload: usize,
) -> Datagram {
    let quoted = cause.packet();
    let header = 20 + cause.options.len();
    let mut error = icmp(source, cause.source, kind, code);
    error.data = quoted[..header.saturating_add(payload).min(quoted.len())].to_vec();
    error
}

pub(crate) fn datagram(source: Ipv4Addr, destination: Ipv4Addr, payload: Payload) -> Datagram {
    Datagram {
        macs: MACS,
        source,
        destination,
        ttl: 64,
        id: 0x1234,
        options: Vec::new(),
        payload,
        checksum: Checksum::Finished,
        data: b"what goes through the lab".to_vec(),
    }
}

impl Datagram {
    /// The same from another source: address, and port or echo identifier.
    pub(crate) fn from(mut self, source: Socket) -> Self {
        self.source = source.0;
        match &mut self.payload {
            Payload::Tcp { ports, .. } | Payload::Udp { ports } | Payload::Sctp { ports } => {
                ports[0] = source.1;
            }
            Payload::Icmp { .. } => return self.with_echo_id(source.1),
            Payload::Other { .. } => {}
        }
        self
    }

    /// The same to another destination: address, and port or echo identifier.
    pub(crate) fn to(mut self, destination: Socket) -> Self {
        self.destination = destination.0;
        match &mut self.payload {
            Payload::Tcp { ports, .. } | Payload::Udp { ports } | Payload::Sctp { ports } => {
                ports[1] = destination.1;
            }
            Payload::Icmp { .. } => return self.with_echo_id(destination.1),
            Payload::Other { .. } => {}
        }
        self
    }

    /// The answer: both sides swapped, and an echo reply for a request.
    pub(crate) fn reply(&self) -> Self {
        let mut reply = self.clone();
        (reply.source, reply.destination) = (self.destination, self.source);
        match &mut reply.payload {
            Payload::Tcp { ports, .. } | Payload::Udp { ports } | Payload::Sctp { ports } => {
                ports.swap(0, 1);
            }
            Payload::Icmp { kind, .. } => *kind = ECHO_REPLY,
            Payload::Other { .. } => {}
        }
        reply
    }

    pub(crate) fn with_echo_id(mut self, id: u16) -> Self {
        if let Payload::Icmp { rest, .. } = &mut self.payload {
            rest[..2].copy_from_slice(&id.to_be_bytes());
            rest[3] = 1;
        }
        self
    }

    /// Source port, or echo identifier.
    pub(crate) fn source_port(&self) -> u16 {
        match self.payload {
            Payload::Tcp { ports, .. } | Payload::Udp { ports } | Payload::Sctp { ports } => {
                ports[0]
            }
            Payload::Icmp { rest, .. } => u16::from_be_bytes([rest[0], rest[1]]),
            Payload::Other { .. } => 0,
        }
    }

    pub(crate) fn protocol(&self) -> u8 {
        match self.payload {
            Payload::Icmp { .. } => 1,
            Payload::Tcp { .. } => 6,
            Payload::Udp { .. } => 17,
            Payload::Sctp { .. } => 132,
            Payload::Other { protocol } => protocol,
        }
    }

    /// The Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.framed(&self.packet())
    }

    /// The IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut packet = self.header(transport.len(), 0);
        packet.extend(transport);
        packet
    }

    /// The frames of the datagram's fragments, `size` bytes of payload in each
    /// (a multiple of 8) but the last.
    pub(crate) fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let transport = self.transport();
        let count = transport.len().div_ceil(size);
        let parts = transport.chunks(size).enumerate().map(|(index, part)| {
            let offset = u16::try_from(index * size / 8).expect("a datagram has at most 64 KiB");
            let more = if index + 1 < count { 0x2000 } else { 0 };
            let mut packet = self.header(part.len(), offset | more);
            packet.extend(part);
            self.framed(&packet)
        });
        parts.collect()
    }

    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        [&self.macs, &[0x08, 0x00][..], packet].concat()
    }

    fn header(&self, payload: usize, fragment: u16) -> Vec<u8> {
        let length = 20 + self.options.len();
        let total = u16::try_from(length + payload).expect("at most 64 KiB");
        let mut header = vec![0x40 | (length / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn transport(&self) -> Vec<u8> {
        let (mut bytes, checksum_at) = match self.payload {
            Payload::Tcp { ports, flags } => {
                let rest = [0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
                ([&port_bytes(ports), &rest[..]].concat(), Some(16))
            }
            Payload::Udp { ports } => {
                let length = (8 + self.data.len()) as u16;
                let [l0, l1] = length.to_be_bytes();
                ([&port_bytes(ports), &[l0, l1, 0, 0][..]].concat(), Some(6))
            }
            Payload::Sctp { ports } => ([&port_bytes(ports), &[7; 8][..]].concat(), None),
            Payload::Icmp { kind, code, rest } => {
                ([&[kind, code, 0, 0], &rest[..]].concat(), Some(2))
            }
            Payload::Other { .. } => (Vec::new(), None),
        };
        bytes.extend(&self.data);
        if let Some(at) = checksum_at {
            let checksum = self.transport_checksum(&bytes);
            bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }

    fn transport_checksum(&self, bytes: &[u8]) -> u16 {
        if matches!(self.payload, Payload::Icmp { .. }) {
            return !sum(bytes);
        }
        let [l0, l1] = (bytes.len() as u16).to_be_bytes();
        let mut pseudo = [self.source.octets(), self.destination.octets()].concat();
        pseudo.extend([0, self.protocol(), l0, l1]);
        match self.checksum {
            Checksum::Absent => 0,
            Checksum::LeftToDevice => sum(&pseudo),
            Checksum::Finished => match !sum(&[&pseudo, bytes].concat()) {
                // RFC 768: zero is for none.
                0 if matches!(self.payload, Payload::Udp { .. }) => 0xffff,
                checksum => checksum,
            },
        }
    }
}

fn port_bytes([source, destination]: [u16; 2]) -> [u8; 4] {
    let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), destination.to_be_bytes());
    [s0, s1, d0, d1]
}

/// The ones' complement sum of big-endian words, odd bytes padded with zero.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or(0);
        u64::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
