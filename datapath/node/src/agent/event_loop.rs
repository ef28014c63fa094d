//! One thread that waits for everything: requests, the end of workloads, changes
//! of files, signals of the datapath, and the time.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Agent, AgentError, files, log};
use crate::api::{FlowsRequest, Request, Response, SOCKET};

/// How long a client may take to read its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request, in bytes: a document of a thousand pods has about 400 000.
const LONGEST_REQUEST: usize = 16 << 20;

/// A client, and the part of its request that has arrived.
struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

/// The listening socket; its file goes with it.
struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Takes the place of a socket that an agent left when it was killed.
    fn new(folder: &Path) -> Result<Self, AgentError> {
        let path = folder.join(SOCKET);
        files::remove(&path)?;
        let bind = || {
            let socket = UnixListener::bind(&path)?;
            // The folder is root's alone already; so is the socket.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = bind().map_err(AgentError::file("listen on", &path))?;
        Ok(Self { socket, path })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody answers any more; what cannot be removed the next one replaces.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves until `stop` is readable.
pub(super) fn run(
    agent: &mut Agent,
    stop: BorrowedFd<'_>,
    ready: Option<OwnedFd>,
) -> Result<(), AgentError> {
    let listener = Listener::new(&agent.options.dir)?;
    if let Some(ready) = ready {
        // Whoever waited may have given up; that is no reason to.
        let _ = nix::unistd::write(&ready, b"\n");
    }
    log::info(format_args!("listening on {}", listener.path.display()));
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let pods_due = agent.pods.tend(Instant::now());
        agent.follow_readiness();
        let readable = wait(agent, stop, &listener, &connections, pods_due)?;
        if readable.contains(&stop.as_raw_fd()) {
            log::info(format_args!("stopping; the datapath and the pods stay"));
            return Ok(());
        }
        if readable.contains(&agent.masquerade.watched().as_raw_fd()) {
            agent.reload_masquerade();
        }
        drain_signals(agent);
        if agent.collector.due() <= Instant::now() {
            agent.collect();
        }
        connections.retain_mut(|connection| {
            !readable.contains(&connection.stream.as_raw_fd()) || attend(agent, connection)
        });
        accept(&listener, &mut connections);
    }
}

/// Waits for the first of all events, and returns the descriptors that have some.
fn wait(
    agent: &Agent,
    stop: BorrowedFd<'_>,
    listener: &Listener,
    connections: &[Connection],
    pods_due: Option<Instant>,
) -> Result<Vec<i32>, AgentError> {
    let mut fds = vec![stop, listener.socket.as_fd(), agent.masquerade.watched()];
    fds.extend(
        connections
            .iter()
            .map(|connection| connection.stream.as_fd()),
    );
    fds.extend(agent.pods.watched());
    if let Some(datapath) = &agent.datapath {
        fds.push(datapath.tables.signals.as_fd());
    }
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let due = pods_due.map_or(agent.collector.due(), |pods| {
        pods.min(agent.collector.due())
    });
    // Rounded up: waking a little early would be waking twice.
    let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(AgentError::Wait(errno)),
    }
    let has_events = |fd: &&PollFd<'_>| fd.any().unwrap_or(false);
    Ok(polled
        .iter()
        .filter(has_events)
        .map(|fd| fd.as_fd().as_raw_fd())
        .collect())
}

fn drain_signals(agent: &mut Agent) {
    let Some(datapath) = &mut agent.datapath else {
        return;
    };
    let mut called = false;
    while datapath.tables.signals.next().is_some() {
        called = true;
    }
    if called {
        agent.collector.hurry(Instant::now());
    }
}

fn accept(listener: &Listener, connections: &mut Vec<Connection>) {
    loop {
        match listener.socket.accept() {
            Ok((stream, _)) => {
                let prepared = stream
                    .set_nonblocking(true)
                    .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                match prepared {
                    Ok(()) => connections.push(Connection {
                        stream,
                        received: Vec::new(),
                    }),
                    Err(error) => log::warn(format_args!("failed to accept a client: {error}")),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                log::warn(format_args!("failed to accept a client: {error}"));
                return;
            }
        }
    }
}

/// Reads what there is and answers complete requests; false when the client is
/// gone.
fn attend(agent: &mut Agent, connection: &mut Connection) -> bool {
    let mut chunk = [0; 64 * 1024];
    let open = loop {
        match connection.stream.read(&mut chunk) {
            Ok(0) => break false,
            Ok(length) => connection.received.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
        if connection.received.len() > LONGEST_REQUEST {
            log::warn(format_args!(
                "a request of more than {LONGEST_REQUEST} bytes was refused"
            ));
            return false;
        }
    };
    while let Some(end) = connection.received.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = connection.received.drain(..=end).collect();
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Flows(request)) => match hand_over(agent, connection, *request) {
                Ok(()) => return false,
                Err(error) => Response::Failed {
                    message: format!("send flows: {error}"),
                },
            },
            Ok(request) => agent.answer(request),
            Err(error) => Response::Failed {
                message: format!("read the request: {error}"),
            },
        };
        if let Err(error) = send(&mut connection.stream, &response) {
            log::warn(format_args!("failed to answer: {error}"));
            return false;
        }
    }
    open
}

/// Leaves the connection to a thread that sends flows: readers may be slow.
fn hand_over(agent: &Agent, connection: &Connection, request: FlowsRequest) -> io::Result<()> {
    let stream = connection.stream.try_clone()?;
    stream.set_nonblocking(false)?;
    // A reader that pauses misses flows rather than its connection.
    stream.set_write_timeout(None)?;
    agent.flows.answer(stream, request)
}

fn send(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    // Blocking, so that the write timeout applies to a client that stops reading.
    stream.set_nonblocking(false)?;
    stream.write_all(&line)?;
    stream.set_nonblocking(true)
}
