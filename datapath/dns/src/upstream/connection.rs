//! A TCP connection to an upstream: many queries at once, answered in any order
//! (RFC 7766 §6.2.1.1).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

type Answers = HashMap<u16, oneshot::Sender<Vec<u8>>>;

/// The connection ended before the answer came.
#[derive(Debug)]
pub(super) struct Lost;

/// See the module.
pub(super) struct Connection {
    queries: mpsc::Sender<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: Mutex<Answers>,
    /// Ended, or not to be trusted with more queries.
    closed: AtomicBool,
}

/// How long the rest of a message may take.
const WHOLE: Duration = Duration::from_secs(2);
/// Queries that wait to be written.
const QUEUE: usize = 64;

/// Gives up a query whose asker has left. On a connection that let one wait in vain,
/// no more are sent (node-cache#745: stalls until the connection was gone).
struct Asking<'a> {
    state: &'a State,
    id: u16,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.state.closed.store(true, Ordering::Relaxed);
            self.state.waiting().remove(&self.id);
        }
    }
}

impl State {
    fn waiting(&self) -> MutexGuard<'_, Answers> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody's answer comes any more.
    fn end(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.waiting().clear();
    }
}

impl Connection {
    pub(super) async fn open(upstream: SocketAddr, idle: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        let state = Arc::new(State::default());
        let (queries, queued) = mpsc::channel(QUEUE);
        tokio::spawn(write(writing, queued, Arc::clone(&state)));
        tokio::spawn(read(reading, Arc::clone(&state), idle));
        Ok(Self { queries, state })
    }

    /// More queries may be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.state.closed.load(Ordering::Relaxed)
    }

    /// No query with this one's ID is under way.
    pub(super) fn is_free(&self, query: &[u8]) -> bool {
        id_of(query).is_some_and(|id| !self.state.waiting().contains_key(&id))
    }

    /// Queries under way.
    pub(super) fn under_way(&self) -> usize {
        self.state.waiting().len()
    }

    /// Sends a query, and waits for the message with its ID.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Lost> {
        let id = id_of(query).ok_or(Lost)?;
        let length = u16::try_from(query.len()).map_err(|_| Lost)?;
        let (answer, answered) = oneshot::channel();
        if self.state.waiting().insert(id, answer).is_some() {
            // Someone else's, a moment ago: they go elsewhere too.
            return Err(Lost);
        }
        let mut asking = Asking {
            state: &self.state,
            id,
            answered: false,
        };
        let framed = [&length.to_be_bytes(), query].concat();
        self.queries.send(framed).await.map_err(|_| Lost)?;
        let answer = answered.await.map_err(|_| Lost);
        asking.answered = answer.is_ok();
        answer
    }
}

async fn write(
    mut stream: OwnedWriteHalf,
    mut queries: mpsc::Receiver<Vec<u8>>,
    state: Arc<State>,
) {
    while let Some(query) = queries.recv().await {
        if stream.write_all(&query).await.is_err() {
            break;
        }
    }
    // Without `queries` no more can come; who waits for an answer still gets it.
    state.closed.store(true, Ordering::Relaxed);
}

async fn read(stream: OwnedReadHalf, state: Arc<State>, idle: Duration) {
    let mut stream = BufReader::new(stream);
    loop {
        match tokio::time::timeout(idle, stream.fill_buf()).await {
            Ok(Ok([])) | Ok(Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) if state.waiting().is_empty() => break,
            Err(_) => continue,
        }
        // What was begun comes at once, or the server has lost its way.
        let Ok(Ok(message)) = tokio::time::timeout(WHOLE, message(&mut stream)).await else {
            break;
        };
        if let Some(id) = id_of(&message)
            && let Some(waiting) = state.waiting().remove(&id)
        {
            // It may have given up just now.
            let _ = waiting.send(message);
        }
        if state.closed.load(Ordering::Relaxed) && state.waiting().is_empty() {
            break;
        }
    }
    state.end();
}

async fn message(stream: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn id_of(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*message.first()?, *message.get(1)?]))
}
