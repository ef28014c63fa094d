//! The asking side.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use lab_model::node_state::NodeState;

use super::{
    CtRecord, IpcacheRecord, MetricRecord, NatRecord, Request, Response, ServiceRecord, Status,
};

/// How long an answer may take. Applying a document to a node waits for its
/// pods to be ready, for at most ten seconds; an emulated machine takes seconds to
/// verify the programs; and `iptables-restore` (nf_tables) takes a minute for kube-proxy's
/// rules of 10 000 services. An agent that dies is noticed at once: its end closes.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("reach the node agent at {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talk to the node agent: {0}")]
    Talk(io::Error),
    /// The answer took too long.
    #[error(
        "wait for the node agent: no answer within {} s; see its agent.log", TIMEOUT.as_secs()
    )]
    Silent,
    /// The agent ended in the middle.
    #[error(
        "talk to the node agent: it closed the connection without an answer; see its agent.log"
    )]
    Closed,
    /// The answer is none that this version knows.
    #[error("read the node agent's answer: {0}")]
    Answer(#[from] serde_json::Error),
    /// The answer is to another question.
    #[error("read the node agent's answer: it answers another question")]
    Mismatch,
    /// The agent could not.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Either, by socket(7), when SO_RCVTIMEO or SO_SNDTIMEO is over.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Talk(error),
        }
    }
}

/// Connects to a socket, also to one whose path is too long for an address.
fn open(path: &Path) -> io::Result<UnixStream> {
    /// `sun_path` of unix(7), with the zero byte that ends it.
    const LONGEST: usize = 108;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return UnixStream::connect(path);
    };
    if path.as_os_str().len() < LONGEST {
        return UnixStream::connect(path);
    }
    // An open folder has a short name.
    let folder = File::open(folder)?;
    let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
    UnixStream::connect(Path::new(&short).join(name))
}

/// A connection to a node agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        open(path)
            .and_then(|stream| {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Self {
                    stream: BufReader::new(stream),
                })
            })
            .map_err(|source| ClientError::Connect {
                path: path.to_owned(),
                source,
            })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the agent's words, or when the connection breaks.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            return Err(ClientError::Closed);
        }
        match serde_json::from_str(&answer)? {
            Response::Failed { message } => Err(ClientError::Failed(message)),
            response => Ok(response),
        }
    }

    /// The connection itself, for [`Request::Flows`]: reading may take for ever.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        let stream = self.stream.into_inner();
        // A socket that is open takes no timeout as well as one.
        let _ = stream.set_read_timeout(None);
        stream
    }

    /// Has the kernel match `state`, and returns once it does.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn apply(&mut self, state: &NodeState) -> Result<Status, ClientError> {
        let request = Request::Apply {
            state: Box::new(state.clone()),
        };
        match self.ask(&request)? {
            Response::Status(status) => Ok(*status),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Starts the workloads of pods (`namespace/name`) anew, and returns when that is
    /// under way: a DNS server goes on until its successor is ready.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn restart(&mut self, pods: Vec<String>) -> Result<Status, ClientError> {
        match self.ask(&Request::Restart { pods })? {
            Response::Status(status) => Ok(*status),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The state of the node.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Response::Status(status) => Ok(*status),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// What in the kernel differs from the applied document.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn drift(&mut self) -> Result<Vec<String>, ClientError> {
        match self.ask(&Request::Drift)? {
            Response::Drift { differences } => Ok(differences),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The NAT map, and the second of `CLOCK_MONOTONIC` it was read in.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn nat(&mut self) -> Result<(u32, Vec<NatRecord>), ClientError> {
        match self.ask(&Request::Nat)? {
            Response::Nat { now, entries } => Ok((now, entries)),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The destinations that are never masqueraded.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ip_masq(&mut self) -> Result<Vec<Ipv4Net>, ClientError> {
        match self.ask(&Request::IpMasq)? {
            Response::IpMasq { cidrs } => Ok(cidrs),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The ipcache, in order.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ipcache(&mut self) -> Result<Vec<IpcacheRecord>, ClientError> {
        match self.ask(&Request::Ipcache)? {
            Response::Ipcache { entries } => Ok(entries),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The conntrack maps.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn conntrack(&mut self) -> Result<Vec<CtRecord>, ClientError> {
        match self.ask(&Request::Conntrack)? {
            Response::Conntrack { entries } => Ok(entries),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The drop counters that are not zero.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn metrics(&mut self) -> Result<Vec<MetricRecord>, ClientError> {
        match self.ask(&Request::Metrics)? {
            Response::Metrics { entries } => Ok(entries),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// The maps of services.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn services(&mut self) -> Result<Vec<ServiceRecord>, ClientError> {
        match self.ask(&Request::Services)? {
            Response::Services { entries } => Ok(entries),
            _ => Err(ClientError::Mismatch),
        }
    }
}
