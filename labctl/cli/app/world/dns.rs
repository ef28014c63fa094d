//! DNS from a zone file, on the address that the nodes know as their name server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use lab_dns::clock::{Clock as _, Monotonic};
use lab_dns::message::{Limits, Query, Rcode, fit, rcode_reply, refusal};
use lab_dns::plugin::{LocalAnswers as _, Step};
use lab_dns::upstream::Transport;
use lab_dns::zone::Plugin;
use lab_model::plan::OUTSIDE_DNS;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);

/// What the world knows.
struct Zone {
    plugin: Plugin,
    clock: Monotonic,
}

/// Answers as a resolver would, from the text of a zone file. Returns once queries are
/// received; threads answer them until the process ends.
pub(super) fn serve(zone: &str) -> anyhow::Result<()> {
    let plugin = Plugin::parse("world.zone", zone, true).context("failed to read the zone")?;
    let clock = Monotonic::default();
    let zone = Arc::new(Zone { plugin, clock });
    let address = SocketAddr::from((OUTSIDE_DNS, 53));
    let listen = || format!("failed to listen on {address}");
    let datagrams = UdpSocket::bind(address).with_context(listen)?;
    let connections = TcpListener::bind(address).with_context(listen)?;
    let over_udp = Arc::clone(&zone);
    thread::spawn(move || over_udp.datagrams(&datagrams));
    thread::spawn(move || {
        for connection in connections.incoming().flatten() {
            let zone = Arc::clone(&zone);
            // What the other end does is no concern of the others.
            thread::spawn(move || drop(zone.connection(connection)));
        }
    });
    Ok(())
}

impl Zone {
    fn datagrams(&self, socket: &UdpSocket) {
        let (mut query, mut answer) = ([0; 4096], Vec::new());
        loop {
            match socket.recv_from(&mut query) {
                Ok((length, client)) => {
                    if self.answer(&query[..length], Transport::Udp, &mut answer) {
                        // A client that is gone asks no more.
                        let _ = socket.send_to(&answer, client);
                    }
                }
                // ICMP errors of answers before.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    eprintln!("failed to receive a query: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(IDLE))?;
        let mut answer = Vec::new();
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            if !self.answer(&query, Transport::Tcp, &mut answer) {
                return Ok(());
            }
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }

    /// Whether there is anything to say, and what.
    fn answer(&self, message: &[u8], transport: Transport, out: &mut Vec<u8>) -> bool {
        out.clear();
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(error) => return refusal(message, error, out),
        };
        let limits = Limits::new(query.edns(), transport, None);
        match self.plugin.answer(&query, self.clock.now()) {
            Step::Answer(answer) => {
                *out = answer;
                fit(&query, limits, out);
            }
            Step::Next => rcode_reply(&query, Rcode::REFUSED, limits, out),
            // A zone follows its aliases itself.
            Step::Failed(_) | Step::Alias(_) => {
                rcode_reply(&query, Rcode::SERVFAIL, limits, out);
            }
        }
        true
    }
}
