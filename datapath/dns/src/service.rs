//! What the server answers: from query to answer, without sockets.
//!
//! [`Service::answer`] runs on the thread that received the query and answers what is
//! at hand: cache hits, local data, refusals. What has to wait for an upstream goes
//! through [`Service::finish`]. [`Service::resolve`] is both.

mod flight;
mod site;

use std::net::SocketAddr;
use std::sync::Arc;

use domain::base::iana::{Class, Rcode, Rtype};

use crate::clock::Clock;
use crate::config::Config;
use crate::message::{Limits, NameKey, Query, Zone, ZoneError, rcode_reply, refusal};
use crate::upstream::{Exchange, Transport};
use site::Site;

/// Whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address and port.
    pub address: SocketAddr,
    /// How it asks.
    pub transport: Transport,
    /// The address and port that it asked, by which server blocks are chosen: the
    /// one that the socket is bound to, or one that came to a socket bound to all.
    pub local: SocketAddr,
}

/// What [`Service::answer`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `out` holds the answer.
    Ready,
    /// There is none.
    Silent,
    /// It takes time: [`Service::finish`] has it.
    Later,
}

/// Where faults of queries go: the `errors` plugin's lines.
pub trait Report: Send + Sync {
    /// A query that failed, as CoreDNS words it.
    fn failed(&self, rcode: Rcode, query: &Query<'_>, error: &str);
}

/// Nothing is reported.
#[derive(Clone, Copy, Debug)]
pub struct Unreported;

impl Report for Unreported {
    fn failed(&self, _: Rcode, _: &Query<'_>, _: &str) {}
}

/// What a service needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// Time of the caches.
    pub clock: Arc<dyn Clock>,
    /// How upstreams are reached.
    pub exchange: Arc<dyn Exchange>,
    /// Where queries to upstreams run, and their deadlines.
    pub runtime: tokio::runtime::Handle,
    /// Where faults of queries go.
    pub report: Arc<dyn Report>,
}

/// Why a configuration can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The Corefile has a zone that is no domain name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// All server blocks of a Corefile.
pub struct Service {
    routes: Vec<Route>,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
}

/// One zone of a server block, at one of its addresses.
struct Route {
    /// Port, and address unless the block listens on all.
    bind: Option<std::net::IpAddr>,
    port: u16,
    zone: Zone,
    site: Arc<Site>,
}

impl Service {
    /// Makes what the configuration says.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn new(config: Config, around: Surroundings) -> Result<Self, ServiceError> {
        let mut routes = Vec::new();
        for block in config.blocks {
            let keys = block.keys.clone();
            let binds: Vec<_> = if block.bind.iter().all(std::net::IpAddr::is_unspecified) {
                vec![None]
            } else {
                block.bind.iter().copied().map(Some).collect()
            };
            let site = Arc::new(Site::new(block, &around)?);
            for key in keys {
                for &bind in &binds {
                    routes.push(Route {
                        bind,
                        port: key.port,
                        zone: Zone::parse(&key.zone)?,
                        site: Arc::clone(&site),
                    });
                }
            }
        }
        // The nearest zone first; a block bound to the very address before one that
        // is bound to all.
        routes
            .sort_by_key(|route| std::cmp::Reverse((route.bind.is_some(), route.zone.wire_len())));
        Ok(Self {
            routes,
            clock: around.clock,
            runtime: around.runtime,
        })
    }

    /// Answers what is at hand, into `out`, which keeps its memory. An answer from
    /// the cache is made without allocation.
    pub fn answer(&self, message: &[u8], client: &Client, out: &mut Vec<u8>) -> Answer {
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(error) => {
                return if refusal(message, error, out) {
                    Answer::Ready
                } else {
                    Answer::Silent
                };
            }
        };
        let Some(site) = self.site(&query, client) else {
            let limits = Limits::new(query.edns(), client.transport, None);
            rcode_reply(&query, Rcode::REFUSED, limits, out);
            return Answer::Ready;
        };
        site.answer(
            &query,
            client.transport,
            self.clock.now(),
            &self.runtime,
            out,
        )
    }

    /// The answer to a query that [`Self::answer`] left for later; none if silence
    /// is the answer.
    pub async fn finish(&self, message: &[u8], client: &Client) -> Option<Vec<u8>> {
        let query = Query::read(message).ok()?;
        let site = self.site(&query, client)?;
        Some(site.finish(&query, client.transport, &self.runtime).await)
    }

    /// Answers, and waits for upstreams where need be.
    pub async fn resolve(&self, message: &[u8], client: &Client) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self.answer(message, client, &mut out) {
            Answer::Ready => Some(out),
            Answer::Silent => None,
            Answer::Later => self.finish(message, client).await,
        }
    }

    /// The block for a query: of those at this address, that of the nearest zone.
    /// CoreDNS knows one class.
    fn site(&self, query: &Query<'_>, client: &Client) -> Option<&Arc<Site>> {
        if query.class() != Class::IN {
            return None;
        }
        let bound = |route: &&Route| {
            route.port == client.local.port() && route.bind == Some(client.local.ip())
        };
        let unbound = |route: &&Route| route.port == client.local.port() && route.bind.is_none();
        if self.routes.iter().any(|route| bound(&route)) {
            nearest(self.routes.iter().filter(bound), query)
        } else {
            nearest(self.routes.iter().filter(unbound), query)
        }
    }
}

/// The first route whose zone has the name. DS records are the parent's, where
/// that is served too.
fn nearest<'a>(
    routes: impl Iterator<Item = &'a Route>,
    query: &Query<'_>,
) -> Option<&'a Arc<Site>> {
    let name: &NameKey = query.key();
    let mut child = None;
    for route in routes.filter(|route| route.zone.contains(name)) {
        if query.rtype() == Rtype::DS && route.zone.is_apex(name) {
            child = child.or(Some(&route.site));
            continue;
        }
        return Some(&route.site);
    }
    child
}
