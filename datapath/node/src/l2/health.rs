//! Whether agents are alive: each answers on TCP port 4240 of its node's address in the
//! lab, the port and path of cilium-health (`/hello`).

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// cilium-health's.
const PORT: u16 = 4240;
/// How long an agent may take to accept a connection, and again to answer.
const PATIENCE: Duration = Duration::from_millis(300);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What is read of it: enough to tell.
const STATUS: &[u8] = b"HTTP/1.1 200";
/// Answered connections that wait for the other side to close. What it asks is never
/// waited for, so that nobody who asks slowly makes the agent look dead.
const LINGERING: usize = 16;

/// Answers, on a thread of its own, until it is dropped.
pub(super) struct Server {
    _stop: UnixStream,
}

impl Server {
    pub(super) fn start(address: Ipv4Addr) -> Result<Self, String> {
        let fault = |error| format!("listen on {address}:{PORT}: {error}");
        let listener = TcpListener::bind((address, PORT)).map_err(fault)?;
        listener.set_nonblocking(true).map_err(fault)?;
        let (stop, on_stop) = UnixStream::pair().map_err(fault)?;
        thread::spawn(move || serve(&listener, &on_stop));
        Ok(Self { _stop: stop })
    }
}

fn serve(listener: &TcpListener, stop: &UnixStream) {
    let mut lingering = VecDeque::new();
    loop {
        let mut polled =
            [listener.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        if polled[1].any().unwrap_or(true) {
            return;
        }
        while let Ok((stream, _)) = listener.accept() {
            answer(&stream);
            lingering.push_back(stream);
            if lingering.len() > LINGERING {
                lingering.pop_front();
            }
        }
    }
}

/// The answer fits the socket's buffer; a client that is gone needs none.
fn answer(mut stream: &TcpStream) {
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(ANSWER))
        .and_then(|()| stream.shutdown(Shutdown::Write));
}

/// Those of `agents` that answer now, asked all at once.
pub(super) fn alive(agents: &BTreeMap<&str, Ipv4Addr>) -> Vec<String> {
    thread::scope(|scope| {
        let asked: Vec<_> = agents
            .iter()
            .map(|(name, address)| (name, scope.spawn(|| answers(*address))))
            .collect();
        let alive = asked
            .into_iter()
            .filter_map(|(name, answer)| answer.join().unwrap_or(false).then_some(*name));
        alive.map(str::to_owned).collect()
    })
}

fn answers(address: Ipv4Addr) -> bool {
    let ask = || {
        let address = SocketAddr::from((address, PORT));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; STATUS.len()];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status == STATUS)
    };
    ask().unwrap_or(false)
}
