//! Datagrams, with a new address named in every call: what DNS clients and servers do.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends each datagram back to whom it came from, for ever.
pub(crate) fn answer(listen: SocketAddrV4) -> io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    println!("ready");
    io::stdout().flush()?;
    let mut datagram = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], from)?;
    }
}

/// Asks once, from a socket that is not connected, and prints who answered.
pub(crate) fn ask(to: SocketAddrV4) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"question", to)?;
    let mut datagram = [0; 2048];
    let (_, from) = socket.recv_from(&mut datagram)?;
    if from != SocketAddr::from(to) {
        return Err(io::Error::other(format!(
            "{from} answered what {to} was asked"
        )));
    }
    println!("{from}");
    Ok(())
}
