//! The sockets that the Corefile asks for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::config::Config;

/// Octets of queries that may wait in a socket; the kernel gives what it allows.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Connections that wait to be accepted; the kernel gives what it allows.
const BACKLOG: i32 = 1024;

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// DNS in datagrams.
    Udp,
    /// DNS on connections.
    Tcp,
    /// `/health`, `/ready`, `/metrics`.
    Http,
}

/// A socket can't be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol:?} {address}: {error}")]
pub struct ListenError {
    /// What would be spoken there.
    pub protocol: Protocol,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// Sockets by protocol and address; of UDP ones, one for each worker, among which the
/// kernel spreads clients (`SO_REUSEPORT`).
#[derive(Clone, Debug, Default)]
pub struct Listeners(Vec<Listener>);

/// One address.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<Arc<OwnedFd>>,
}

impl Listeners {
    /// Has the sockets that `config` wants: those of `before` where they are the same,
    /// all others new. `workers` is the number of UDP sockets of new addresses.
    ///
    /// # Errors
    /// The first socket that can't be had.
    pub fn for_config(config: &Config, workers: usize, before: &Self) -> Result<Self, ListenError> {
        let mut listeners = Self::default();
        for wanted in wanted(config) {
            if listeners.find(wanted.protocol, wanted.address).is_some() {
                continue;
            }
            if let Some(there) = before.find(wanted.protocol, wanted.address) {
                listeners.0.push(there.clone());
                continue;
            }
            match open(&wanted, workers) {
                Ok(sockets) => listeners.0.push(Listener {
                    protocol: wanted.protocol,
                    address: wanted.address,
                    sockets,
                }),
                // Without IPv6 "all addresses" are those of IPv4.
                Err(error) if wanted.optional && has_no_ipv6(&error) => {}
                Err(error) => {
                    return Err(ListenError {
                        protocol: wanted.protocol,
                        address: wanted.address,
                        error,
                    });
                }
            }
        }
        Ok(listeners)
    }

    pub(super) fn find(&self, protocol: Protocol, address: SocketAddr) -> Option<&Listener> {
        self.iter()
            .find(|listener| listener.protocol == protocol && listener.address == address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter()
    }

    /// Adds a socket that another process had.
    pub(super) fn inherit(&mut self, protocol: Protocol, address: SocketAddr, socket: OwnedFd) {
        let socket = Arc::new(socket);
        let same = |it: &&mut Listener| it.protocol == protocol && it.address == address;
        match self.0.iter_mut().find(same) {
            Some(listener) => listener.sockets.push(socket),
            None => self.0.push(Listener {
                protocol,
                address,
                sockets: vec![socket],
            }),
        }
    }
}

struct Wanted {
    protocol: Protocol,
    address: SocketAddr,
    optional: bool,
}

/// TCP first: two servers at one address exclude each other by it, while UDP sockets
/// would share the queries.
fn wanted(config: &Config) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for block in &config.blocks {
            let all = [
                (IpAddr::V4(Ipv4Addr::UNSPECIFIED), false),
                (IpAddr::V6(Ipv6Addr::UNSPECIFIED), true),
            ];
            let addresses: Vec<_> = match &*block.bind {
                [] => all.to_vec(),
                bind => bind.iter().map(|&address| (address, false)).collect(),
            };
            for key in &block.keys {
                wanted.extend(addresses.iter().map(|&(address, optional)| Wanted {
                    protocol,
                    address: SocketAddr::new(address, key.port),
                    optional,
                }));
            }
        }
    }
    for block in &config.blocks {
        let health = block.health.map(|health| health.address);
        let http = [health, block.ready, block.prometheus];
        wanted.extend(http.into_iter().flatten().map(|address| Wanted {
            protocol: Protocol::Http,
            address,
            optional: false,
        }));
    }
    wanted
}

fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn open(wanted: &Wanted, workers: usize) -> io::Result<Vec<Arc<OwnedFd>>> {
    let count = match wanted.protocol {
        Protocol::Udp => workers,
        Protocol::Tcp | Protocol::Http => 1,
    };
    (0..count)
        .map(|_| {
            let socket = match wanted.protocol {
                Protocol::Udp => datagrams(wanted.address),
                Protocol::Tcp => connections(wanted.address, true),
                Protocol::Http => pages(wanted.address),
            };
            Ok(Arc::new(OwnedFd::from(socket?)))
        })
        .collect()
}

fn datagrams(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    if address.ip().is_unspecified() {
        // Answers leave from the address that was asked.
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// `:9153` is both families on one socket, as in Go, or IPv4 where the kernel has no IPv6.
fn pages(address: SocketAddr) -> io::Result<Socket> {
    match connections(address, false) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_ipv6(&error) => {
            connections((Ipv4Addr::UNSPECIFIED, address.port()).into(), false)
        }
        opened => opened,
    }
}

fn connections(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
