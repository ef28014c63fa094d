//! `labctl probe`: what a TCP connect comes to, told apart exactly.
//!
//! nc and curl blur "refused", "timed out" and "no route" into one exit code and
//! a sentence that differs between versions. This is one connect(2), run by the
//! check runner inside the namespaces and cgroup of a node or pod.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use clap::Subcommand;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, setsockopt, socket,
    sockopt,
};

/// A probe.
#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    /// Connect once; print connected, refused, timeout, unreachable, or the error
    Tcp {
        /// Address and port
        to: SocketAddrV4,
        /// Source port; the kernel's choice by default
        #[arg(long)]
        local_port: Option<u16>,
        /// Milliseconds to wait
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..))]
        timeout_ms: u16,
    },
}

impl Probe {
    /// Runs the probe and returns the word it prints.
    pub(crate) fn run(&self) -> String {
        let Self::Tcp {
            to,
            local_port,
            timeout_ms,
        } = self;
        match attempt(*to, *local_port, *timeout_ms) {
            Ok(()) => "connected".to_owned(),
            Err(Errno::ECONNREFUSED) => "refused".to_owned(),
            Err(Errno::ETIMEDOUT) => "timeout".to_owned(),
            Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH) => "unreachable".to_owned(),
            Err(errno) => format!("error: {}", errno.desc()),
        }
    }
}

/// One connect(2), closed again.
fn attempt(to: SocketAddrV4, local_port: Option<u16>, timeout_ms: u16) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    if let Some(port) = local_port {
        // A port that an earlier probe has left in TIME_WAIT can be taken again.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        bind(socket.as_raw_fd(), &SockaddrIn::from(from))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) => return Ok(()),
        Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::from(timeout_ms))? == 0 {
        return Err(Errno::ETIMEDOUT);
    }
    match getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn probe(port: u16, local_port: Option<u16>) -> String {
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Probe::Tcp {
            to,
            local_port,
            timeout_ms: 1000,
        }
        .run()
    }

    #[test]
    fn a_listener_connects_and_its_absence_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(probe(port, None), "connected");
        drop(listener);
        assert_eq!(probe(port, None), "refused");
    }

    #[test]
    fn it_connects_from_the_port_it_is_given() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let from = free.local_addr().expect("bound").port();
        drop(free);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(probe(port, Some(from)), "connected");
        assert_eq!(listener.accept().expect("a connection").1.port(), from);
    }
}
