//! A capture with one of everything, built byte by byte.

use std::path::{Path, PathBuf};

pub(crate) const POD: [u8; 4] = [10, 244, 0, 5];
pub(crate) const NODE: [u8; 4] = [192, 168, 10, 100];
pub(crate) const ROUTER: [u8; 4] = [192, 168, 10, 200];
pub(crate) const LOOP1: [u8; 4] = [10, 10, 1, 200];

const MAC_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const MAC_B: [u8; 6] = [0x08, 0x00, 0x27, 0xdc, 0x00, 0x69];

/// An Ethernet frame from A to B.
pub(crate) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&MAC_B[..], &MAC_A, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 header with what is varied in tests.
#[derive(Clone)]
pub(crate) struct Ip {
    pub(crate) src: [u8; 4],
    pub(crate) dst: [u8; 4],
    pub(crate) protocol: u8,
    pub(crate) id: u16,
    /// Flags and fragment offset as on the wire.
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) options: Vec<u8>,
    /// Total length to claim instead of the true one.
    pub(crate) total: Option<u16>,
}

impl Ip {
    pub(crate) fn new(src: [u8; 4], dst: [u8; 4], protocol: u8) -> Self {
        Self {
            src,
            dst,
            protocol,
            id: 0x1234,
            fragment: 0x4000,
            ttl: 64,
            tos: 0,
            options: vec![],
            total: None,
        }
    }

    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let total = self.total.unwrap_or((words * 4 + payload.len()) as u16);
        let mut header = vec![0x40 | words as u8, self.tos];
        header.extend(total.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.src);
        header.extend(self.dst);
        header.extend(&self.options);
        let checksum = checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(payload);
        header
    }

    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(0x0800, &self.packet(payload))
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

pub(crate) fn echo(kind: u8, ident: u16, seq: u16) -> Vec<u8> {
    let [a, b] = ident.to_be_bytes();
    let [c, d] = seq.to_be_bytes();
    icmp(kind, 0, [a, b, c, d], &[0x61; 56])
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const URG: u8 = 32;
pub(crate) const ECE: u8 = 64;
pub(crate) const CWR: u8 = 128;

pub(crate) fn tcp(
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let words = 5 + options.len() / 4;
    let mut segment = Vec::new();
    segment.extend(ports.0.to_be_bytes());
    segment.extend(ports.1.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([(words as u8) << 4, flags]);
    segment.extend(64240u16.to_be_bytes());
    segment.extend([0xbe, 0xef, 0, if flags & URG != 0 { 7 } else { 0 }]);
    segment.extend(options);
    segment.extend(payload);
    segment
}

pub(crate) fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(ports.0.to_be_bytes());
    datagram.extend(ports.1.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0xab, 0xcd]);
    datagram.extend(payload);
    datagram
}

pub(crate) fn arp(opcode: u16, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(opcode.to_be_bytes());
    packet.extend(MAC_A);
    packet.extend(sender);
    packet.extend(if opcode == 1 { [0; 6] } else { MAC_B });
    packet.extend(target);
    let mut frame = ethernet(0x0806, &packet);
    frame.resize(60, 0);
    frame
}

/// SYN options as Linux sends them.
pub(crate) const SYN_OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0x30, 0x39, 0, 0, 0, 0, 1, 3, 3, 7,
];
const STAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0x30, 0x3a, 0, 0, 0x30, 0x3b];

fn pings() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for seq in 1..=3 {
        frames.push(Ip::new(POD, ROUTER, 1).frame(&echo(8, 9174, seq)));
        frames.push(
            Ip {
                ttl: 63,
                ..Ip::new(NODE, ROUTER, 1)
            }
            .frame(&echo(8, 33000, seq)),
        );
        frames.push(
            Ip {
                fragment: 0,
                id: seq,
                ..Ip::new(ROUTER, NODE, 1)
            }
            .frame(&echo(0, 33000, seq)),
        );
    }
    frames.push(Ip::new(POD, ROUTER, 1).frame(&icmp(13, 0, [0, 1, 0, 2], &[0; 12])));
    frames
}

fn connection() -> Vec<Vec<u8>> {
    let client = Ip::new(POD, LOOP1, 6);
    let server = Ip {
        ttl: 62,
        ..Ip::new(LOOP1, POD, 6)
    };
    let (out, back) = ((42424, 80), (80, 42424));
    let request =
        b"GET / HTTP/1.1\r\nHost: 10.10.1.200\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (a, b) = (1_000_000u32, 4_294_967_290u32);
    let a1 = a + 1 + request.len() as u32;
    let b1 = (b + 1).wrapping_add(answer.len() as u32);
    vec![
        client.frame(&tcp(out, a, 0, SYN, &SYN_OPTIONS, &[])),
        server.frame(&tcp(back, b, a + 1, SYN | ACK, &SYN_OPTIONS, &[])),
        client.frame(&tcp(out, a + 1, b + 1, ACK, &STAMPS, &[])),
        client.frame(&tcp(out, a + 1, b + 1, PSH | ACK, &STAMPS, request)),
        server.frame(&tcp(back, b + 1, a1, PSH | ACK, &STAMPS, answer)),
        client.frame(&tcp(out, a1, b1, FIN | ACK, &STAMPS, &[])),
        server.frame(&tcp(back, b1, a1 + 1, RST, &[], &[])),
        server.frame(&tcp((81, 42425), 0, 77, RST | ACK, &[], &[])),
        client.frame(&tcp((42426, 8443), 5, 6, SYN | ECE | CWR, &[], &[])),
        client.frame(&tcp((42426, 8443), 6, 6, URG | PSH | ACK, &[], b"urgent!")),
        // A segment whose options do not fit its header, and one that was padded to 60 bytes.
        client.frame(&tcp((42427, 8443), 6, 6, ACK, &[1, 1, 1, 1], &[])),
        {
            let mut padded = client.frame(&tcp((42428, 8443), 9, 9, ACK, &[], &[]));
            padded.resize(60, 0);
            padded
        },
    ]
}

fn datagrams() -> Vec<Vec<u8>> {
    let ip = Ip {
        tos: 0xb9,
        id: 7,
        fragment: 0,
        ttl: 1,
        ..Ip::new(POD, ROUTER, 17)
    };
    let big = udp((40000, 9999), &[0x5a; 3000]);
    vec![
        ip.frame(&udp((40000, 9999), b"hello")),
        Ip::new(ROUTER, POD, 17).frame(&udp((9999, 40000), b"")),
        Ip {
            options: vec![1, 1, 1, 0],
            ..ip.clone()
        }
        .frame(&udp((40001, 9999), b"options")),
        // Three fragments of one datagram, the middle one twice.
        Ip {
            fragment: 0x2000,
            id: 99,
            ..ip.clone()
        }
        .frame(&big[..1480]),
        Ip {
            fragment: 0x2000 | 185,
            id: 99,
            ..ip.clone()
        }
        .frame(&big[1480..2960]),
        Ip {
            fragment: 0x2000 | 185,
            id: 99,
            ..ip.clone()
        }
        .frame(&big[1480..2960]),
        Ip {
            fragment: 370,
            id: 99,
            ..ip.clone()
        }
        .frame(&big[2960..]),
        // The first fragment of a ping over 1472 bytes, and its rest.
        Ip {
            fragment: 0x2000,
            id: 100,
            ..Ip::new(POD, ROUTER, 1)
        }
        .frame(&echo(8, 5, 6)),
        Ip {
            fragment: 8,
            id: 100,
            ..Ip::new(POD, ROUTER, 1)
        }
        .frame(&[0x61; 100]),
    ]
}

fn errors() -> Vec<Vec<u8>> {
    let quoted_udp = Ip {
        ttl: 1,
        ..Ip::new(POD, ROUTER, 17)
    }
    .packet(&udp((40000, 33434), b"trace"));
    let quoted_tcp =
        Ip::new(NODE, ROUTER, 6).packet(&tcp((32800, 80), 77, 0, SYN, &SYN_OPTIONS, &[]));
    let quoted_ping = Ip::new(NODE, ROUTER, 1).packet(&echo(8, 33000, 9));
    let back = |kind, code, rest, quoted: &[u8]| {
        Ip {
            tos: 0xc0,
            fragment: 0,
            ..Ip::new(ROUTER, NODE, 1)
        }
        .frame(&icmp(kind, code, rest, quoted))
    };
    vec![
        back(3, 3, [0; 4], &quoted_udp),
        back(3, 1, [0; 4], &quoted_ping),
        back(3, 0, [0; 4], &quoted_ping),
        back(3, 4, [0, 0, 0x05, 0x78], &quoted_tcp),
        // RFC 792's minimum: the header and eight bytes.
        back(3, 13, [0; 4], &quoted_tcp[..28]),
        back(11, 0, [0; 4], &quoted_udp),
        back(11, 0, [0; 4], &quoted_tcp[..28]),
        back(11, 1, [0; 4], &quoted_udp),
        back(5, 1, [192, 168, 10, 101], &quoted_ping),
        back(3, 10, [0; 4], &quoted_tcp),
        back(3, 2, [0; 4], &quoted_udp),
    ]
}

fn neighbours() -> Vec<Vec<u8>> {
    let neighbour_discovery = {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend([133, 0, 0x7d, 0x37, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1]);
        ethernet(0x86dd, &packet)
    };
    let over_ipv6 = {
        let segment = tcp((1024, 8443), 1, 0, SYN, &[], &[]);
        let mut packet = vec![0x60, 0, 0, 0, 0, segment.len() as u8, 6, 64];
        packet.extend([0xfd; 16]);
        packet.extend([0xfc; 16]);
        packet.extend(segment);
        ethernet(0x86dd, &packet)
    };
    vec![
        arp(1, NODE, ROUTER),
        arp(2, ROUTER, NODE),
        arp(1, NODE, NODE),
        neighbour_discovery,
        over_ipv6,
        ethernet(0x88b5, &[0; 50]),
    ]
}

/// Packets in VXLAN, on both ports and both ways, whole and cut short; one that an ICMP
/// error quotes; and frames in it that are not IPv4.
pub(crate) fn tunnels() -> Vec<Vec<u8>> {
    let inner = Ip::new(POD, LOOP1, 1).frame(&echo(8, 9174, 1));
    let connection =
        Ip::new(LOOP1, POD, 6).frame(&tcp((80, 42424), 1, 2, SYN | ACK, &SYN_OPTIONS, &[]));
    let vxlan = |ports, vni: u32, frame: &[u8]| {
        let mut payload = vec![8, 0, 0, 0];
        payload.extend((vni << 8).to_be_bytes());
        payload.extend(frame);
        Ip::new(NODE, ROUTER, 17).packet(&udp(ports, &payload))
    };
    let frames = [
        vxlan((45000, 8472), 9214, &inner),
        vxlan((45000, 4789), 16_777_215, &inner),
        vxlan((8472, 45000), 6, &connection),
        vxlan((45001, 8472), 266, &arp(1, POD, LOOP1)),
        vxlan((45001, 8472), 266, &[]),
        Ip::new(NODE, ROUTER, 17).packet(&udp((45001, 8473), &[8; 60])),
        Ip::new(ROUTER, NODE, 1).packet(&icmp(
            3,
            3,
            [0; 4],
            &vxlan((45000, 8472), 9214, &inner)[..28],
        )),
    ];
    frames.map(|packet| ethernet(0x0800, &packet)).to_vec()
}

/// One of everything.
pub(crate) fn everything() -> Vec<Vec<u8>> {
    [pings(), connection(), datagrams(), errors(), neighbours()].concat()
}

/// The capture of `frames`, one second apart, as little-endian pcap with microseconds.
pub(crate) fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap_of_link_type(1, frames)
}

/// The same with any link type.
pub(crate) fn pcap_of_link_type(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        for word in [START + index as u32, index as u32 * 17, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// Second of the first frame: 2025-07-30 09:15:15 UTC.
pub(crate) const START: u32 = 1_753_866_915;

/// A file that goes when it is dropped.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("labctl-{}-{number}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
