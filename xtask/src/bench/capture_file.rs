//! A capture to read: TCP and UDP between many addresses and ports, with payloads
//! of mixed length, about 200 bytes a packet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;
const UDP: usize = 8;
/// Payload lengths, which the packets take in turn.
const PAYLOADS: [usize; 4] = [0, 64, 180, 400];

/// Writes a pcap file of that many packets, the same ones every time.
pub(super) fn write(file: &Path, packets: u32) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    // Magic, version 2.4, UTC, snaplen 262144, Ethernet (draft-ietf-opsawg-pcap).
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.write_all(&word.to_ne_bytes())?;
    }
    for number in 0..packets {
        let frame = frame(number);
        let length = u32::try_from(frame.len()).expect("a frame is short");
        for word in [number / 100_000, number % 100_000 * 10, length, length] {
            out.write_all(&word.to_ne_bytes())?;
        }
        out.write_all(&frame)?;
    }
    out.flush()
}

/// Every fourth packet is UDP; one of 16 source networks is 10.10.1.0/24; one of
/// eight destination ports is 80. Checksums are left empty: nobody reads them here.
fn frame(number: u32) -> Vec<u8> {
    let is_udp = number.is_multiple_of(4);
    let transport = if is_udp { UDP } else { TCP };
    let [_, _, high, low] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    let payload = PAYLOADS[usize::from(low >> 6)];
    let mut frame = vec![0; ETHERNET + IPV4 + transport + payload];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = u16::try_from(IPV4 + transport + payload).expect("a packet is short");
    let ip = &mut frame[ETHERNET..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8] = 64;
    ip[9] = if is_udp { 17 } else { 6 };
    ip[12..16].copy_from_slice(&[10, 10, high & 15, low]);
    ip[16..20].copy_from_slice(&[192, 168, 10, 200]);
    let port = if high >> 5 == 0 {
        80
    } else {
        8000 + u16::from(high)
    };
    ip[IPV4..IPV4 + 2].copy_from_slice(&(32_768 + u16::from(low)).to_be_bytes());
    ip[IPV4 + 2..IPV4 + 4].copy_from_slice(&port.to_be_bytes());
    if is_udp {
        ip[IPV4 + 4..IPV4 + 6].copy_from_slice(&(total - 20).to_be_bytes());
    } else {
        ip[IPV4 + 12..IPV4 + 14].copy_from_slice(&[0x50, 0x10]);
    }
    frame
}
