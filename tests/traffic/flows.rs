//! Many flows of one datagram each: what fills tables of connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

/// Destination ports used with one source port.
const PORTS: u32 = 60_000;

pub(crate) fn flows(to: Ipv4Addr, count: u32) -> io::Result<()> {
    for first in (0..count).step_by(PORTS as usize) {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        for port in 0..(count - first).min(PORTS) {
            let port = 1024 + u16::try_from(port).expect("fewer than 64512");
            // An unconnected socket hears of no port that is closed.
            socket.send_to(b"x", SocketAddrV4::new(to, port))?;
        }
    }
    Ok(())
}
