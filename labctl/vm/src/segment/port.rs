//! One machine's side of the switch: a socket connected to the machine's, and what waits for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Frames that wait at most; more are dropped, as a switch does.
const QUEUE: usize = 1024;

/// A machine's socket takes few datagrams at a time (net.unix.max_dgram_qlen, 10 by default).
/// Only a connected socket becomes writable when there is room again (unix(7), unix_dgram_poll),
/// so each machine has one.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    waiting: VecDeque<Box<[u8]>>,
}

/// What became of a datagram.
enum Sent {
    Done,
    /// There is no room now.
    Full,
    /// Nobody is there.
    Gone,
}

impl Port {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            socket: None,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.socket.is_some() && !self.waiting.is_empty()
    }

    /// Its socket; none while nobody is there.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.as_fd())
    }

    /// Sends a frame now or when there is room; drops it when too many wait or nobody is there.
    pub(super) fn send(&mut self, frame: &[u8]) {
        if !self.waiting.is_empty() {
            return self.queue(frame);
        }
        match self.try_send(frame) {
            Sent::Done | Sent::Gone => {}
            Sent::Full => self.queue(frame),
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn send_waiting(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            match self.try_send(&frame) {
                Sent::Done => {}
                Sent::Full => return self.waiting.push_front(frame),
                Sent::Gone => self.waiting.clear(),
            }
        }
    }

    fn queue(&mut self, frame: &[u8]) {
        if self.waiting.len() < QUEUE {
            self.waiting.push_back(frame.into());
        }
    }

    fn try_send(&mut self, frame: &[u8]) -> Sent {
        // A machine that was started again has another socket of the same name.
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect(&self.path).ok();
            }
            let Some(socket) = &self.socket else {
                return Sent::Gone;
            };
            match socket.send(frame) {
                Ok(_) => return Sent::Done,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Full,
                Err(_) => self.socket = None,
            }
        }
        Sent::Gone
    }
}

fn connect(path: &std::path::Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_waits_and_what_has_no_machine_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mut port = Port::new(path.clone());
        port.send(b"nobody there");
        assert!(!port.has_waiting());

        let machine = UnixDatagram::bind(&path).unwrap();
        for number in 0..200_u8 {
            port.send(&[number]);
        }
        assert!(
            port.has_waiting(),
            "a socket takes fewer than 200 datagrams"
        );
        let mut buffer = [0; 16];
        for number in 0..200_u8 {
            assert_eq!(machine.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], number, "in order");
            port.send_waiting();
        }

        drop(machine);
        std::fs::remove_file(&path).unwrap();
        let again = UnixDatagram::bind(&path).unwrap();
        port.send(b"again");
        assert_eq!(again.recv(&mut buffer).unwrap(), 5);
    }
}
