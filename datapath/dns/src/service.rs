//! What the server answers: from query to answer, without sockets.
//!
//! [`Service::answer`] runs on the thread that received the query and answers what is
//! at hand: cache hits, local data, refusals. What has to wait for an upstream goes
//! through [`Service::finish`]. [`Service::resolve`] is both.

mod ask;
mod counters;
mod flight;
mod routes;
mod site;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cache::Cache;
use crate::clock::{Clock, Time};
use crate::config::{Config, ServerBlock};
use crate::hot::HotAnswers;
use crate::kubernetes::Store;
use crate::log::Output;
use crate::message::{Zone, ZoneError};
use crate::metrics::Registry;
use crate::plugin::{LocalData, LocalPluginError};
use crate::upstream::{Exchange, Transport};
pub(crate) use counters::Counters;
use routes::{Route, Routes};
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

/// What a service needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// Time of the caches.
    pub clock: Arc<dyn Clock>,
    /// How upstreams are reached.
    pub exchange: Arc<dyn Exchange>,
    /// Where queries to upstreams run, and their deadlines.
    pub runtime: tokio::runtime::Handle,
    /// Where the lines of `log` and `errors` go.
    pub output: Arc<Output>,
    /// What is counted, and what local plugins answer from.
    pub local: LocalData,
    /// Whoever is to know that queries come back (`loop`), and what to say before ending.
    pub looped: Option<mpsc::Sender<String>>,
    /// What answers before the socket.
    pub hot: Option<HotAnswers>,
}

impl Surroundings {
    /// Without cluster, counted by nobody, its lines thrown away.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        exchange: Arc<dyn Exchange>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            clock,
            exchange,
            runtime,
            output: Arc::new(Output::new(std::io::sink())),
            local: LocalData {
                store: Store::default(),
                registry: Registry::new(""),
                addresses: Vec::new(),
            },
            looped: None,
            hot: None,
        }
    }
}

/// Why a configuration can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The Corefile has a zone that is no domain name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// An expression of `errors`; a Corefile that was read has none such.
    #[error("plugin/errors: {0}")]
    Errors(#[from] regex::Error),
    /// A local plugin.
    #[error(transparent)]
    Local(#[from] LocalPluginError),
}

/// All server blocks of a Corefile.
pub struct Service {
    routes: Arc<Routes>,
    /// What answers of this service are known by, before the socket.
    generation: u64,
}

impl Service {
    /// Makes what the configuration says.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn new(config: Config, around: Surroundings) -> Result<Self, ServiceError> {
        Self::following(config, around, None)
    }

    /// The same after `before`: a block whose keys and cache settings are those of one
    /// there goes on with its cache.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn following(
        config: Config,
        around: Surroundings,
        before: Option<&Self>,
    ) -> Result<Self, ServiceError> {
        let mut routes = Vec::new();
        let generation = HotAnswers::generation();
        around.local.registry.enable(Counters::plugins(&config));
        around.local.registry.running(&config.digest);
        for block in config.blocks {
            let binds = match &*block.bind {
                [] => vec![None],
                bind => bind.iter().copied().map(Some).collect(),
            };
            let kept = before.and_then(|before| before.cache_of(&block));
            let site = Arc::new(Site::new(block.clone(), &around, kept, generation)?);
            for (key, &bind) in block
                .keys
                .iter()
                .flat_map(|key| binds.iter().map(move |bind| (key, bind)))
            {
                routes.push(Route {
                    bind: bind.filter(|address| !address.is_unspecified()),
                    port: key.port,
                    zone: Zone::parse(&key.zone)?,
                    site: Arc::clone(&site),
                    counters: Arc::new(Counters::new(&block, key, bind, &around.local.registry)),
                });
            }
        }
        Ok(Self {
            routes: Arc::new(Routes::new(routes, around.clock, around.runtime)),
            generation,
        })
    }

    /// What answers of this service are known by, before the socket.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The cache of the block with these keys, if it is configured as this one's.
    fn cache_of(&self, block: &ServerBlock) -> Option<Arc<Cache>> {
        let mut sites = self.routes.all().map(|route| &route.site);
        let same = |site: &&Arc<Site>| site.has_keys(&block.keys);
        let cache = sites.find(same)?.cache()?;
        (Some(cache.settings()) == block.cache.as_ref()).then(|| Arc::clone(cache))
    }

    /// Answers what is at hand, into `out`, which keeps its memory. An answer from
    /// the cache is made without allocation.
    pub fn answer(&self, message: &[u8], client: &Client, out: &mut Vec<u8>) -> Answer {
        self.answer_at(self.now(), message, client, out).0
    }

    /// The time by the service's clock.
    pub(crate) fn now(&self) -> Time {
        self.routes.now()
    }

    /// The same for a query that came at `now`, and the time after that, if it was
    /// looked at: of queries that came together each begins when the one before ends.
    pub(crate) fn answer_at(
        &self,
        now: Time,
        message: &[u8],
        client: &Client,
        out: &mut Vec<u8>,
    ) -> (Answer, Time) {
        self.routes.answer(now, message, client, 0, out)
    }

    /// The answer to a query that [`Self::answer`] left for later; none if silence
    /// is the answer.
    pub async fn finish(&self, message: &[u8], client: &Client) -> Option<Vec<u8>> {
        self.routes.finish(message, client, 0).await
    }

    /// Asks each block with `loop` its own question, at the address that it listens on.
    pub(crate) fn probes(&self) -> Vec<impl Future<Output = ()> + Send + 'static> {
        let mut seen: Vec<&Arc<Site>> = Vec::new();
        let mut probes = Vec::new();
        for route in self.routes.all() {
            if seen.iter().any(|site| Arc::ptr_eq(site, &route.site)) {
                continue;
            }
            seen.push(&route.site);
            let address = route.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            probes.extend(Site::probe(
                &route.site,
                SocketAddr::new(address, route.port),
            ));
        }
        probes
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
}

#[cfg(test)]
mod tests;
