//! Connected UDP sockets of one network namespace: listed and ended through
//! `NETLINK_SOCK_DIAG` (`linux/inet_diag.h`), as `ss` and `ss -K` do.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv};

use crate::namespace::{self, NamespaceError};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// `TCP_ESTABLISHED`: what a UDP socket is once it is connected.
const ESTABLISHED: u32 = 1;
/// `struct nlmsghdr`
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`
const REQUEST: usize = 56;
/// `struct inet_diag_sockid`: ports and addresses (big-endian), interface, cookie.
const ID: usize = 48;
/// Where it lies in a request, and in `struct inet_diag_msg`.
const ID_IN_REQUEST: usize = 8;
const ID_IN_ANSWER: usize = 4;

/// Why sockets could not be listed or ended.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket, or nothing could be sent on it.
    #[error("ask the kernel about its sockets (NETLINK_SOCK_DIAG): {0}")]
    Send(#[source] io::Error),
    /// The answer did not arrive, or was a refusal.
    #[error("{what} (NETLINK_SOCK_DIAG): {}", errno.desc())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// A connected UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectedUdp {
    /// As `bpf_get_socket_cookie` returns it.
    pub(crate) cookie: u64,
    /// What it is connected to; of an IPv6 socket the mapped address.
    pub(crate) peer: SocketAddrV4,
    family: u8,
    id: [u8; ID],
}

/// Speaks to the namespace that it was opened in.
pub(crate) struct SockDiag {
    socket: Socket,
    buffer: Vec<u8>,
}

impl SockDiag {
    /// Opens a socket in `netns`, on a thread of its own.
    pub(crate) fn open_in(netns: impl AsFd) -> Result<Self, SockDiagError> {
        namespace::in_netns(netns, || {
            let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(SockDiagError::Send)?;
            socket
                .connect(&SocketAddr::new(0, 0))
                .map_err(SockDiagError::Send)?;
            Ok(Self {
                socket,
                buffer: vec![0; 64 * 1024],
            })
        })?
    }

    /// All connected UDP sockets that speak IPv4.
    pub(crate) fn connected_udp(&mut self) -> Result<Vec<ConnectedUdp>, SockDiagError> {
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
            let family = u8::try_from(family).unwrap_or_default();
            let message = message(SOCK_DIAG_BY_FAMILY, flags, family, &[0; ID]);
            self.send(&message)?;
            while self.receive_some(family, &mut sockets)? {}
        }
        Ok(sockets)
    }

    /// Ends a socket: whatever its owner does next fails with `ECONNABORTED`. One that
    /// is gone already is no error.
    pub(crate) fn destroy(&mut self, socket: &ConnectedUdp) -> Result<(), SockDiagError> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let message = message(SOCK_DESTROY, flags, socket.family, &socket.id);
        self.send(&message)?;
        let length = self.receive("end a socket")?;
        match answers(&self.buffer[..length]).next() {
            Some(Answer::Error(Errno::ENOENT)) | None => Ok(()),
            Some(Answer::Error(errno)) => Err(SockDiagError::Refused {
                what: "end a socket",
                errno,
            }),
            Some(_) => Ok(()),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), SockDiagError> {
        let sent = self.socket.send(message, 0);
        sent.map(drop).map_err(SockDiagError::Send)
    }

    fn receive(&mut self, what: &'static str) -> Result<usize, SockDiagError> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                received => {
                    return received.map_err(|errno| SockDiagError::Refused { what, errno });
                }
            }
        }
    }

    /// One datagram of a dump; whether more follow.
    fn receive_some(
        &mut self,
        family: u8,
        sockets: &mut Vec<ConnectedUdp>,
    ) -> Result<bool, SockDiagError> {
        let what = "list the UDP sockets";
        let length = self.receive(what)?;
        for answer in answers(&self.buffer[..length]) {
            match answer {
                Answer::Done => return Ok(false),
                Answer::Error(errno) => return Err(SockDiagError::Refused { what, errno }),
                Answer::Socket(payload) => sockets.extend(connected(family, payload)),
            }
        }
        Ok(true)
    }
}

/// One message of the kernel's.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Done,
    /// `NLMSG_ERROR`; 0 is an acknowledgement.
    Error(Errno),
    /// `struct inet_diag_msg`
    Socket(&'a [u8]),
}

fn answers(mut rest: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(rest, 0)?).ok()?;
        let payload = rest.get(HEADER..length)?;
        let kind = i32::from(u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(match kind {
            libc::NLMSG_DONE => Answer::Done,
            libc::NLMSG_ERROR => match number(payload, 0)? {
                0 => Answer::Done,
                code => Answer::Error(Errno::from_raw(code.cast_signed().wrapping_neg())),
            },
            _ => Answer::Socket(payload),
        })
    })
}

/// A native-endian `u32`.
fn number(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..at + 4)?;
    octets.try_into().ok().map(u32::from_ne_bytes)
}

/// The socket of a `struct inet_diag_msg`, if its peer is an IPv4 address.
fn connected(family: u8, answer: &[u8]) -> Option<ConnectedUdp> {
    let id: [u8; ID] = answer
        .get(ID_IN_ANSWER..ID_IN_ANSWER + ID)?
        .try_into()
        .ok()?;
    let peer: [u8; 16] = id[20..36].try_into().ok()?;
    let address = if i32::from(family) == libc::AF_INET {
        Ipv4Addr::new(peer[0], peer[1], peer[2], peer[3])
    } else {
        Ipv6Addr::from(peer).to_ipv4_mapped()?
    };
    let port = u16::from_be_bytes([id[2], id[3]]);
    let (low, high) = (number(&id, 40)?, number(&id, 44)?);
    Some(ConnectedUdp {
        cookie: u64::from(high) << 32 | u64::from(low),
        peer: SocketAddrV4::new(address, port),
        family,
        id,
    })
}

/// A request with its header. In a dump the id is not looked at.
fn message(kind: u16, flags: i32, family: u8, id: &[u8; ID]) -> [u8; HEADER + REQUEST] {
    let mut message = [0; HEADER + REQUEST];
    let length = (HEADER + REQUEST) as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    let request = &mut message[HEADER..];
    request[0] = family;
    request[1] = libc::IPPROTO_UDP as u8;
    request[4..8].copy_from_slice(&(1_u32 << ESTABLISHED).to_ne_bytes());
    request[ID_IN_REQUEST..].copy_from_slice(id);
    message
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_is_no_answer_is_read_as_none() {
        assert_eq!(answers(&[]).count(), 0);
        assert_eq!(answers(&[0; 15]).count(), 0);
        assert_eq!(answers(&[255; 64]).count(), 0);
        assert_eq!(connected(2, &[0; 20]), None);
    }

    mod as_root {
        use super::*;
        use crate::netlink::{LinkChange, Netlink, Request};

        #[test]
        fn connected_sockets_are_listed_and_ended_and_others_left() {
            let netns = namespace::create_unnamed().expect("create as root");
            let up = Request::SetLink {
                name: "lo".to_owned(),
                change: LinkChange::up(),
            };
            let mut netlink = Netlink::open_in(&netns).expect("open");
            netlink.execute(&up).expect("lo up");
            let (connected, free, mapped) = namespace::in_netns(&netns, || {
                let any = (Ipv4Addr::UNSPECIFIED, 0);
                let connected = UdpSocket::bind(any).expect("bind");
                connected.connect("127.0.0.1:53").expect("connect");
                let mapped = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bind");
                mapped.connect("[::ffff:127.0.0.1]:54").expect("connect");
                (connected, UdpSocket::bind(any).expect("bind"), mapped)
            })
            .expect("enter");
            let mut diag = SockDiag::open_in(&netns).expect("open");
            let mut sockets = diag.connected_udp().expect("list");
            sockets.sort_by_key(|socket| socket.peer.port());
            let peers: Vec<_> = sockets.iter().map(|it| it.peer.to_string()).collect();
            assert_eq!(peers, ["127.0.0.1:53", "127.0.0.1:54"]);
            for socket in &sockets {
                diag.destroy(socket).expect("end");
                diag.destroy(socket).expect("it is gone already");
            }
            assert_eq!(diag.connected_udp().expect("list"), []);
            for ended in [connected, mapped] {
                assert!(ended.peer_addr().is_err());
            }
            assert!(free.local_addr().expect("open").port() > 0);
        }
    }
}
