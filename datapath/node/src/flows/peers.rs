//! The other nodes' way to this node's flows: Hubble's peer port on the node's address in
//! the lab, where `hubble` on another node asks. One JSON request a connection, as on the
//! agent's socket, and only questions about flows.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::KeepAlive;

use super::serve::stream;
use super::store::Store;
use crate::api::{Request, Response};

/// Hubble's port between nodes (`hubble.peerService.targetPort`).
pub(crate) const PORT: u16 = 4244;
/// How long a peer may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request, in bytes.
const LONGEST: u64 = 64 * 1024;
/// How many may ask at once.
pub(crate) const MOST: usize = 64;

/// How many threads answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<AtomicUsize>);

/// One of them.
pub(crate) struct Turn(Busy);

impl Busy {
    /// Another thread, unless there are too many.
    pub(crate) fn take(&self) -> Option<Turn> {
        let taken = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |busy| {
                (busy < MOST).then_some(busy + 1)
            });
        taken.ok().map(|_| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The listening thread; ends when dropped.
pub(crate) struct Listener {
    address: Ipv4Addr,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on the node's address, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the address is not there, or the port is taken.
    pub(crate) fn start(
        address: Ipv4Addr,
        node: String,
        store: Arc<Store>,
        busy: Busy,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(SocketAddrV4::new(address, PORT))?;
        socket.set_nonblocking(true)?;
        let stop = Arc::new(EventFd::new()?);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("flows-peers".to_owned())
            .spawn(move || accept(&socket, &stopped, &node, &store, &busy))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It cannot be full: this is the only write.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; there is nothing more to say.
            let _ = thread.join();
        }
    }
}

fn accept(socket: &TcpListener, stop: &EventFd, node: &str, store: &Arc<Store>, busy: &Busy) {
    loop {
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[1].any().unwrap_or(true) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        // Somebody who went away before being accepted is nobody's fault.
        let Ok((peer, _)) = socket.accept() else {
            continue;
        };
        let Some(turn) = busy.take() else {
            continue;
        };
        let (node, store) = (node.to_owned(), Arc::clone(store));
        let spawned = thread::Builder::new()
            .name("flows-peer".to_owned())
            .spawn(move || {
                let _turn = turn;
                // A peer that goes away, or never asks, loses its answer and no more.
                let _ = answer(&peer, &node, &store);
            });
        drop(spawned);
    }
}

fn answer(peer: &TcpStream, node: &str, store: &Store) -> io::Result<()> {
    peer.set_nonblocking(false)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new(peer.take(LONGEST)).read_until(b'\n', &mut line)?;
    let response = match serde_json::from_slice(&line) {
        Ok(Request::Flows(request)) => {
            // A reader that pauses misses flows rather than its connection; one whose
            // machine is gone is noticed by keepalive, or by what it does not acknowledge.
            peer.set_write_timeout(None)?;
            setsockopt(peer, KeepAlive, &true)?;
            return stream(store, node, &request, peer, || is_there(peer));
        }
        Ok(Request::FlowStatus) => Response::FlowStatus(store.status(node.to_owned())),
        Ok(_) => Response::Failed {
            message: "answer: other nodes may ask for flows only".to_owned(),
        },
        Err(error) => Response::Failed {
            message: format!("read the request: {error}"),
        },
    };
    let mut line = serde_json::to_vec(&response)?;
    line.push(b'\n');
    (&*peer).write_all(&line)
}

/// Whether the other side has not closed: it sends nothing after its request.
pub(crate) fn is_there(socket: impl std::os::fd::AsFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(0)
}
