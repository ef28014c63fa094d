//! Upstreams over real sockets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::connection::{Connection, Lost};
use super::{Exchange, Exchanging, Taken, Transport};

/// Largest message (RFC 1035 §4.2.2, and what fits into a datagram).
const MESSAGE: usize = 65_535;
/// How long unused connections are kept, unless [`Exchange::keep_idle`] says.
const IDLE: Duration = Duration::from_secs(10);
/// Queries on a connection above which another is opened: many servers answer those
/// of one connection one after the other.
const CROWDED: usize = 8;
/// Connections to one upstream.
const CONNECTIONS: usize = 16;

/// Datagrams each from a socket and port of its own, so that who answers must know
/// both port and ID (RFC 5452 §4); connections that are shared and kept.
#[derive(Default)]
pub struct Sockets {
    pools: Mutex<HashMap<SocketAddr, Arc<Pool>>>,
}

/// Connections to one upstream.
struct Pool {
    idle: Mutex<Duration>,
    open: Mutex<Vec<Arc<Connection>>>,
    /// Held while one is opened, so that a burst opens no more than it needs.
    opening: tokio::sync::Mutex<()>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle: Mutex::new(IDLE),
            open: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }
}

impl Exchange for Sockets {
    fn exchange<'a>(
        &'a self,
        upstream: SocketAddr,
        transport: Transport,
        query: &'a [u8],
        taken: Taken<'a>,
    ) -> Exchanging<'a> {
        match transport {
            Transport::Udp => Box::pin(datagram(upstream, query, taken)),
            Transport::Tcp => Box::pin(stream(self.pool(upstream), upstream, query, taken)),
        }
    }

    fn keep_idle(&self, upstream: SocketAddr, idle: Duration) {
        *lock(&self.pool(upstream).idle) = idle;
    }
}

impl Sockets {
    fn pool(&self, upstream: SocketAddr) -> Arc<Pool> {
        Arc::clone(lock(&self.pools).entry(upstream).or_default())
    }
}

/// One query, one socket. It is connected, so that the kernel drops what comes from
/// any other address, and an ICMP error ends the wait.
async fn datagram(upstream: SocketAddr, query: &[u8], taken: Taken<'_>) -> io::Result<Vec<u8>> {
    taken(false);
    let any = match upstream {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    loop {
        socket.readable().await?;
        match received(&socket) {
            Ok(answer) if answer.len() >= 2 && answer[..2] == query[..2] => return Ok(answer),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A datagram in no more memory than it needs: of buffers for the largest one, a burst
/// of queries would leave the heap in pieces.
fn received(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; MESSAGE].into_boxed_slice());
    }
    BUFFER.with_borrow_mut(|buffer| {
        let length = socket.try_recv(buffer)?;
        Ok(buffer[..length].to_vec())
    })
}

/// One query on a connection that is open, or on a new one. Servers close what they
/// think idle whenever they like: a query that was lost so is sent again.
async fn stream(
    pool: Arc<Pool>,
    upstream: SocketAddr,
    query: &[u8],
    taken: Taken<'_>,
) -> io::Result<Vec<u8>> {
    loop {
        let (connection, new) = pool.connection(upstream, query, taken).await?;
        match connection.ask(query).await {
            Ok(answer) => return Ok(answer),
            Err(Lost) if new => return Err(io::ErrorKind::ConnectionReset.into()),
            Err(Lost) => {}
        }
    }
}

impl Pool {
    /// A connection with room for this query, and whether it was opened for it.
    async fn connection(
        &self,
        upstream: SocketAddr,
        query: &[u8],
        taken: Taken<'_>,
    ) -> io::Result<(Arc<Connection>, bool)> {
        if let Some(connection) = self.roomy(query) {
            taken(true);
            return Ok((connection, false));
        }
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.roomy(query) {
            taken(true);
            return Ok((connection, false));
        }
        let idle = *lock(&self.idle);
        // Counted whether or not it opens, as CoreDNS's `Transport.Dial` does.
        taken(false);
        let connection = Arc::new(Connection::open(upstream, idle).await?);
        lock(&self.open).push(Arc::clone(&connection));
        Ok((connection, true))
    }

    /// The least used connection, unless it is crowded and more may be opened.
    fn roomy(&self, query: &[u8]) -> Option<Arc<Connection>> {
        let mut open = lock(&self.open);
        open.retain(|connection| connection.is_usable());
        let more = open.len() < CONNECTIONS;
        open.iter()
            .filter(|connection| connection.is_free(query))
            .min_by_key(|connection| connection.under_way())
            .filter(|connection| !more || connection.under_way() < CROWDED)
            .cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
