//! The switch of a lab's network segment: Ethernet frames over Unix datagrams.
//!
//! Each machine's `eth1` is a datagram socket `<name>.sock` in the segment's folder (0700), and
//! sends to `switch.sock` there. The switch learns which machine has which MAC address from what
//! they send. Datagrams are connectionless, so machines and switch come and go as they like.

mod capture;
mod port;
mod table;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::store::{self, StoreError};
use capture::Capture;
use port::Port;
use table::{Table, Target};

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The segment's folder: absolute; made (0700) if it is not there.
    pub folder: PathBuf,
    /// Where to write every frame, as pcap.
    pub capture: Option<PathBuf>,
}

/// Why a switch cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Another switch serves this folder.
    #[error("serve segment {}: another switch does already", .0.display())]
    AlreadyServed(PathBuf),
    /// The folder could not be made or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or socket operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn in_file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SegmentError {
    move |source| SegmentError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The switch's socket, in the segment's folder.
const SWITCH: &str = "switch.sock";

/// The largest frame there can be: no interface here has a greater MTU than 65535.
const LARGEST: usize = 65536 + 18;

/// Frames taken in before those that wait are looked after.
const BATCH: usize = 64;

/// Serves until SIGTERM or SIGINT; calls `ready` once frames are taken. The process must be started with the arguments `segment` and,
/// right after it, the folder's path (`labctl app segment FOLDER`): [`crate::machine::find`]
/// knows it by these.
///
/// # Errors
/// [`SegmentError::AlreadyServed`], or when a socket or the capture fails.
pub fn run(options: &Options, ready: impl FnOnce()) -> Result<(), SegmentError> {
    let folder = &options.folder;
    store::create_folder(folder)?;
    let lock = store::try_acquire(&folder.join("switch.lock"))?;
    let _lock = lock.ok_or_else(|| SegmentError::AlreadyServed(folder.clone()))?;
    let stop = stop_signal().map_err(in_file("watch signals for", folder))?;
    let capture = options
        .capture
        .as_deref()
        .map(Capture::create)
        .transpose()?;
    let switch = Switch::bind(folder, capture)?;
    ready();
    switch.serve(&stop)
}

/// A socket that becomes readable at SIGTERM or SIGINT.
fn stop_signal() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, write.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, write)?;
    Ok(read)
}

struct Switch {
    path: PathBuf,
    /// The folder, open: names in it are short by this.
    directory: File,
    socket: UnixDatagram,
    ports: Vec<Port>,
    by_name: HashMap<OsString, usize>,
    table: Table,
    capture: Option<Capture>,
}

impl Switch {
    fn bind(folder: &Path, capture: Option<Capture>) -> Result<Self, SegmentError> {
        let path = folder.join(SWITCH);
        let directory = File::open(folder).map_err(in_file("open", folder))?;
        // That of a switch that was killed; the lock says that none serves.
        let _gone = fs::remove_file(&path);
        let socket = UnixDatagram::bind(short(&directory, OsStr::new(SWITCH)));
        let socket = socket.map_err(in_file("bind", &path))?;
        socket
            .set_nonblocking(true)
            .map_err(in_file("set up", &path))?;
        let (ports, by_name, table) = (Vec::new(), HashMap::new(), Table::default());
        let mut switch = Self {
            path,
            directory,
            socket,
            ports,
            by_name,
            table,
            capture,
        };
        // Machines that ran before: what is broadcast reaches them before they speak.
        for entry in fs::read_dir(folder).map_err(in_file("read", folder))? {
            let name = entry.map_err(in_file("read", folder))?.file_name();
            if name != SWITCH && Path::new(&name).extension() == Some(OsStr::new("sock")) {
                switch.port(&name);
            }
        }
        Ok(switch)
    }

    fn serve(mut self, stop: &UnixStream) -> Result<(), SegmentError> {
        let mut buffer = vec![0; LARGEST];
        loop {
            if self.wait(stop).map_err(in_file("wait on", &self.path))? {
                return Ok(());
            }
            for _ in 0..BATCH {
                match self.socket.recv_from(&mut buffer) {
                    Ok((length, sender)) => {
                        let name = sender.as_pathname().and_then(Path::file_name);
                        // Who sends without an address cannot be answered.
                        if let (Some(name), Some(frame)) = (name, buffer.get(..length)) {
                            let from = self.port(name);
                            self.forward(frame, from)?;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(in_file("receive at", &self.path)(error)),
                }
            }
            if let Some(capture) = &mut self.capture {
                capture.flush()?;
            }
        }
    }

    /// Waits for a frame, or for room at a port where some wait, which it then sends. True when
    /// it is to stop.
    fn wait(&mut self, stop: &UnixStream) -> io::Result<bool> {
        let mut watched = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::IN),
        ];
        let mut waiting = Vec::new();
        for (index, port) in self
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| port.has_waiting())
        {
            if let Some(socket) = port.socket() {
                waiting.push(index);
                watched.push(PollFd::from_borrowed_fd(socket, PollFlags::OUT));
            }
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stopped = !watched[0].revents().is_empty();
        let ready: Vec<bool> = watched
            .iter()
            .skip(2)
            .map(|poll| !poll.revents().is_empty())
            .collect();
        drop(watched);
        for (index, _) in waiting.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            self.ports[index].send_waiting();
        }
        Ok(stopped)
    }

    fn forward(&mut self, frame: &[u8], from: usize) -> Result<(), SegmentError> {
        if let Some(capture) = &mut self.capture {
            capture.write(frame)?;
        }
        match self.table.learn_and_look_up(frame, from) {
            Some(Target::One(port)) if port == from => {}
            Some(Target::One(port)) => self.ports[port].send(frame),
            Some(Target::All) => {
                let others = self
                    .ports
                    .iter_mut()
                    .enumerate()
                    .filter(|(index, _)| *index != from);
                others.for_each(|(_, port)| port.send(frame));
            }
            // Shorter than an Ethernet header.
            None => {}
        }
        Ok(())
    }

    /// The port of the machine whose socket has that name in the segment's folder.
    fn port(&mut self, name: &OsStr) -> usize {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = self.ports.len();
        self.ports.push(Port::new(short(&self.directory, name)));
        self.by_name.insert(name.to_owned(), index);
        index
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

fn short(folder: &File, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(folder.as_fd().as_raw_fd().to_string())
        .join(name)
}
