//! From one process to the next without losing a datagram.
//!
//! The new process connects to the old one's Unix socket, is given its listening
//! sockets (`SCM_RIGHTS`), serves, and says so; then the old one stops reading,
//! finishes what is under way, and ends. For a moment both read the same sockets. What
//! waits in a socket belongs to the socket, not to a process, so it is read by either.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::listeners::{Listeners, Protocol};

/// Sockets in one message; the kernel's bound is 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 64;
/// How long either side waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the new process says when it serves.
const SERVING: &[u8] = b"serving";

/// The sockets could not be taken over, or offered.
#[derive(Debug, thiserror::Error)]
#[error("handover at {path}: {error}", path = .path.display())]
pub struct HandoverError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// What comes with each batch of sockets.
#[derive(Serialize, Deserialize)]
struct Page {
    sockets: Vec<(Protocol, SocketAddr)>,
    /// No more follow.
    last: bool,
}

/// The process before this one, which serves until it is told.
pub(super) struct Predecessor(Socket);

/// Takes the sockets of the process that offers them at `path`; none if there is none.
pub(super) fn take(path: &Path) -> Result<Option<(Listeners, Predecessor)>, HandoverError> {
    let at = |error| HandoverError {
        path: path.to_owned(),
        error,
    };
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).map_err(at)?;
    let address = SockAddr::unix(path).map_err(at)?;
    match socket.connect(&address) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(at(error)),
    }
    socket.set_read_timeout(Some(PATIENCE)).map_err(at)?;
    let mut listeners = Listeners::default();
    loop {
        match page(&socket) {
            Ok((page, sockets)) if page.sockets.len() == sockets.len() => {
                for ((protocol, address), socket) in page.sockets.into_iter().zip(sockets) {
                    listeners.inherit(protocol, address, socket);
                }
                if page.last {
                    return Ok(Some((listeners, Predecessor(socket))));
                }
            }
            // It ended meanwhile: as if it had not been there.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Ok(_) => return Err(at(io::ErrorKind::InvalidData.into())),
            Err(error) => return Err(at(error)),
        }
    }
}

impl Predecessor {
    /// Tells it to leave.
    pub(super) fn relieve(self) {
        // One that is gone needs no telling.
        let _ = self.0.send(SERVING);
    }
}

fn page(socket: &Socket) -> io::Result<(Page, Vec<OwnedFd>)> {
    let mut text = vec![0; 16 * 1024];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut control = nix::cmsg_space!([RawFd; AT_ONCE]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut sockets = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel made these descriptors for this process just now, and
            // nobody else has them.
            let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
            sockets.extend(descriptors.into_iter().map(owned));
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let page = serde_json::from_slice(&text[..length])?;
    Ok((page, sockets))
}

/// Where the next process finds this one.
pub(super) struct Offer {
    socket: Socket,
}

impl Offer {
    /// Listens at `path`, in the place of whoever did before; for this user alone.
    pub(super) fn new(path: &Path) -> Result<Self, HandoverError> {
        let at = |error| HandoverError {
            path: path.to_owned(),
            error,
        };
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).map_err(at)?;
        let _ = fs::remove_file(&new);
        socket
            .bind(&SockAddr::unix(&new).map_err(at)?)
            .map_err(at)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(at)?;
        socket.listen(1).map_err(at)?;
        fs::rename(&new, path).map_err(at)?;
        Ok(Self { socket })
    }

    /// Waits for a successor, gives it what `listeners` returns, and returns once it
    /// serves. One that fails before that is forgotten.
    pub(super) fn wait(&self, listeners: impl Fn() -> Listeners) {
        loop {
            match self.socket.accept() {
                Ok((successor, _)) if give(&successor, &listeners()).is_ok() => return,
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

fn give(successor: &Socket, listeners: &Listeners) -> io::Result<()> {
    let peer = getsockopt(successor, sockopt::PeerCredentials)?;
    if peer.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    successor.set_read_timeout(Some(PATIENCE))?;
    successor.set_write_timeout(Some(PATIENCE))?;
    let all: Vec<_> = listeners
        .iter()
        .flat_map(|it| {
            it.sockets
                .iter()
                .map(move |fd| ((it.protocol, it.address), fd))
        })
        .collect();
    let pages = all.chunks(AT_ONCE).len();
    for (number, sockets) in all.chunks(AT_ONCE).enumerate() {
        let page = Page {
            sockets: sockets.iter().map(|(what, _)| *what).collect(),
            last: number + 1 == pages,
        };
        let text = serde_json::to_vec(&page)?;
        let descriptors: Vec<_> = sockets.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        sendmsg::<()>(
            successor.as_fd().as_raw_fd(),
            &[IoSlice::new(&text)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
    }
    let mut word = [MaybeUninit::uninit(); 16];
    let length = successor.recv(&mut word)?;
    if length == SERVING.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn sockets_change_hands_with_what_waits_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        assert!(take(&path).unwrap().is_none(), "nobody is there");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut listeners = Listeners::default();
        // More than go into one message.
        for _ in 0..AT_ONCE + 1 {
            let copy = socket.try_clone().unwrap();
            listeners.inherit(Protocol::Udp, address, copy.into());
        }
        drop(socket);
        let offer = Offer::new(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let old = std::thread::spawn(move || offer.wait(|| listeners.clone()));
        // One that takes them and fails to serve changes nothing.
        drop(take(&path).unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"waiting", address).unwrap();
        let (taken, predecessor) = take(&path).unwrap().unwrap();
        predecessor.relieve();
        old.join().unwrap();
        let taken = &taken.find(Protocol::Udp, address).unwrap().sockets;
        assert_eq!(taken.len(), AT_ONCE + 1);
        let socket = UdpSocket::from(taken[0].try_clone().unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut datagram = [0; 16];
        let (length, peer) = socket.recv_from(&mut datagram).unwrap();
        assert_eq!(
            (&datagram[..length], peer),
            (&b"waiting"[..], client.local_addr().unwrap())
        );
        // The old one is gone, its name is still there.
        assert!(take(&path).unwrap().is_none());
    }
}
