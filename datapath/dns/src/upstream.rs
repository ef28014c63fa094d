//! Servers that queries are forwarded to, behind a trait: sockets in earnest,
//! scripts in scenarios.

mod connection;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

pub use sockets::Sockets;

/// Transport protocol of a query, from a client or to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// Messages behind their length, many on one connection.
    Tcp,
}

impl Transport {
    /// As log lines and metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// An answer on its way.
pub type Exchanging<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + 'a>>;

/// Is told of each connection, or socket of a datagram, that a query goes out by: whether it was
/// there already.
pub type Taken<'a> = &'a (dyn Fn(bool) + Sync);

/// Asks one upstream one question.
pub trait Exchange: Send + Sync {
    /// Sends `query`, a whole message whose ID is to be kept, and waits for the
    /// message with that ID that comes back from that very server.
    ///
    /// The future may be dropped at any time: deadlines are the caller's.
    fn exchange<'a>(
        &'a self,
        upstream: SocketAddr,
        transport: Transport,
        query: &'a [u8],
        taken: Taken<'a>,
    ) -> Exchanging<'a>;

    /// Connections to `upstream` that nobody uses are kept for `idle`.
    fn keep_idle(&self, upstream: SocketAddr, idle: Duration) {
        let _ = (upstream, idle);
    }
}

#[cfg(test)]
mod tests;
