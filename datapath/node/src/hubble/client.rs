//! The nodes that can be asked: this one, and those it knows as peers.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::HubbleError;
use super::merge::Sent;
use crate::api::{Client, ClientError, FlowStatus, FlowsRequest, Request, Response, SOCKET};
use crate::flows::{PORT, Record};

/// How long a peer may take to answer the phone.
const PATIENCE: Duration = Duration::from_secs(2);
/// Records of a node that may wait to be merged; then the node waits.
const AHEAD: usize = 1024;

/// See the module.
pub(super) struct Nodes {
    socket: PathBuf,
    own: String,
    peers: Vec<Peer>,
}

struct Peer {
    name: String,
    /// None when it does not answer.
    stream: Option<TcpStream>,
}

impl Nodes {
    /// Those that the agent of `folder` knows.
    pub(super) fn of(folder: &Path) -> Result<Self, HubbleError> {
        let socket = folder.join(SOCKET);
        let status = Client::connect(&socket)?.status()?;
        let Some(state) = status.applied else {
            return Err(ClientError::Failed(
                "read the node's state: nothing was applied to this node yet".to_owned(),
            )
            .into());
        };
        let peers = state.peers.into_iter().map(|peer| Peer {
            stream: connect(peer.address),
            name: peer.name,
        });
        Ok(Self {
            socket,
            own: state.node.name,
            peers: peers.collect(),
        })
    }

    /// As the original names the server it asks.
    pub(super) fn via(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Names of peers that do not answer.
    pub(super) fn unreachable(&self) -> impl Iterator<Item = &str> {
        let gone = self.peers.iter().filter(|peer| peer.stream.is_none());
        gone.map(|peer| peer.name.as_str())
    }

    /// The numbers of every node, by name; none of one that does not answer.
    pub(super) fn statuses(&self) -> Vec<(String, Option<FlowStatus>)> {
        let own = Client::connect(&self.socket)
            .and_then(|mut client| client.ask(&Request::FlowStatus))
            .ok();
        let own = own.and_then(|response| match response {
            Response::FlowStatus(status) => Some(status),
            _ => None,
        });
        let mut statuses = vec![(self.own.clone(), own)];
        for peer in &self.peers {
            let status = peer.stream.as_ref().and_then(ask_status);
            statuses.push((peer.name.clone(), status));
        }
        statuses.sort_by(|one, other| one.0.cmp(&other.0));
        statuses
    }

    /// The records of every node that answers, as they come, and how many nodes these are.
    pub(super) fn observe(
        self,
        request: &FlowsRequest,
    ) -> Result<(usize, Receiver<Sent>), HubbleError> {
        let asked = Request::Flows(Box::new(request.clone()));
        let mut line = serde_json::to_vec(&asked).map_err(ClientError::from)?;
        line.push(b'\n');
        let (sender, receiver) = sync_channel(AHEAD);
        let own = Client::connect(&self.socket)?.into_stream();
        start(own, &line, 0, sender.clone()).map_err(ClientError::from)?;
        let mut nodes = 1;
        for stream in self.peers.into_iter().filter_map(|peer| peer.stream) {
            if start(stream, &line, nodes, sender.clone()).is_ok() {
                nodes += 1;
            }
        }
        Ok((nodes, receiver))
    }
}

fn connect(address: Ipv4Addr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), PATIENCE).ok()?;
    Some(stream)
}

fn ask_status(stream: &TcpStream) -> Option<FlowStatus> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = serde_json::to_vec(&Request::FlowStatus).ok()?;
    line.push(b'\n');
    let mut writer = stream;
    writer.write_all(&line).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    match serde_json::from_str(&answer).ok()? {
        Response::FlowStatus(status) => Some(status),
        _ => None,
    }
}

/// Asks, and reads the answer on a thread: nodes are merged as they come.
fn start(
    mut stream: impl Read + Write + Send + 'static,
    request: &[u8],
    node: usize,
    sender: SyncSender<Sent>,
) -> std::io::Result<()> {
    stream.write_all(request)?;
    thread::Builder::new().spawn(move || {
        for line in BufReader::new(stream).lines() {
            // A node that goes away is as one that has no more to tell; nobody reads on
            // when the receiver is gone.
            let record = line
                .ok()
                .and_then(|line| serde_json::from_str::<Record>(&line).ok());
            let is_last = record.is_none();
            if sender.send((node, record)).is_err() || is_last {
                return;
            }
        }
        let _ = sender.send((node, None));
    })?;
    Ok(())
}
