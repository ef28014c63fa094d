//! The `forward` plugin: which upstream is asked, how long, and what then.
//!
//! After CoreDNS 1.13's plugin/forward and plugin/pkg/proxy; docs/dns.md says where
//! it differs.

mod health;
mod question;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, io};

use domain::base::Header;
use domain::base::iana::Rcode;
use tokio::time::Instant;

use crate::config;
use crate::message::{HEADER, NameKey, Query, Zone, ZoneError};
use crate::metrics::{ForwardMetrics, Registry};
use crate::random;
use crate::upstream::{Exchange, Transport};
use health::Upstream;
pub(crate) use question::upstream_query;

/// How long one upstream has to answer.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a query may take before the client is told SERVFAIL.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pause before upstreams that all failed at once are asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Why a query could not be forwarded.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// More than `max_concurrent` are under way: REFUSED.
    TooMany(u32),
    /// The last upstream that was asked did not answer.
    Upstream(SocketAddr, Transport, io::Error),
    /// None was asked.
    NoHealthy,
}

impl ForwardError {
    /// What the client is told.
    #[must_use]
    pub(crate) const fn rcode(&self) -> Rcode {
        match self {
            Self::TooMany(_) => Rcode::REFUSED,
            Self::Upstream(..) | Self::NoHealthy => Rcode::SERVFAIL,
        }
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(most) => write!(f, "concurrent queries exceeded maximum {most}"),
            Self::Upstream(to, transport, error) if error.kind() == io::ErrorKind::TimedOut => {
                write!(f, "read {} {to}: i/o timeout", transport.as_str())
            }
            Self::Upstream(to, transport, error) => {
                write!(f, "read {} {to}: {error}", transport.as_str())
            }
            Self::NoHealthy => write!(f, "no healthy proxies"),
        }
    }
}

/// One `forward`.
pub(crate) struct Forwarder {
    from: Zone,
    except: Vec<Zone>,
    settings: config::Forward,
    upstreams: Vec<Arc<Upstream>>,
    exchange: Arc<dyn Exchange>,
    under_way: AtomicU32,
    next: AtomicU32,
    metrics: Arc<ForwardMetrics>,
}

/// A query counted as under way.
struct UnderWay<'a>(&'a AtomicU32);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Forwarder {
    pub(crate) fn new(
        settings: config::Forward,
        exchange: &Arc<dyn Exchange>,
        registry: &Registry,
    ) -> Result<Self, ZoneError> {
        let upstreams = settings
            .to
            .iter()
            .map(|&to| Upstream::new(registry.proxy(to), to, &settings, exchange).map(Arc::new))
            .collect::<Result<_, _>>()?;
        for &to in &settings.to {
            exchange.keep_idle(to, settings.expire);
        }
        Ok(Self {
            from: Zone::parse(&settings.from)?,
            except: settings
                .except
                .iter()
                .map(|zone| Zone::parse(zone))
                .collect::<Result<_, _>>()?,
            upstreams,
            exchange: Arc::clone(exchange),
            under_way: AtomicU32::new(0),
            next: AtomicU32::new(0),
            metrics: registry.forward(),
            settings,
        })
    }

    /// Whether it takes queries for this name.
    pub(crate) fn takes(&self, name: &NameKey) -> bool {
        self.from.contains(name) && !self.except.iter().any(|zone| zone.contains(name))
    }

    /// The protocol that a query which came over `client` leaves by.
    pub(crate) const fn transport(&self, client: Transport) -> Transport {
        if self.settings.force_tcp {
            Transport::Tcp
        } else if self.settings.prefer_udp {
            Transport::Udp
        } else {
            client
        }
    }

    /// The upstream's answer as it came, under an ID of our own.
    pub(crate) async fn ask(
        &self,
        query: &Query<'_>,
        transport: Transport,
        bufsize: Option<u16>,
    ) -> Result<Vec<u8>, ForwardError> {
        let most = self.settings.max_concurrent;
        let count = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let _counted = UnderWay(&self.under_way);
        if most > 0 && count > most {
            self.metrics
                .max_concurrent_rejects
                .fetch_add(1, Ordering::Relaxed);
            return Err(ForwardError::TooMany(most));
        }
        self.until_answered(query, transport, bufsize).await
    }

    async fn until_answered(
        &self,
        query: &Query<'_>,
        mut transport: Transport,
        bufsize: Option<u16>,
    ) -> Result<Vec<u8>, ForwardError> {
        let deadline = Instant::now() + DEADLINE;
        let order = self.order();
        let mut last = None;
        let mut down = 0;
        for turn in 0.. {
            let again = turn > 0 && turn % order.len() == 0;
            let pause = if again { AGAIN_AFTER } else { Duration::ZERO };
            // A client that waits 5 seconds is told in time.
            if Instant::now() + pause >= deadline {
                break;
            }
            if again {
                down = 0;
                tokio::time::sleep(pause).await;
            }
            let mut upstream = &self.upstreams[order[turn % order.len()]];
            if upstream.is_down() {
                down += 1;
                if down < order.len() {
                    continue;
                }
                // Probes of all of them fail: more likely the probe is at fault.
                self.metrics
                    .healthcheck_broken
                    .fetch_add(1, Ordering::Relaxed);
                upstream = &self.upstreams[random_below(order.len())];
            }
            let answer = self.one(upstream, query, &mut transport, bufsize, deadline);
            match answer.await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    Upstream::probe(upstream);
                    last = Some(ForwardError::Upstream(upstream.address, transport, error));
                    if down >= order.len() {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or(ForwardError::NoHealthy))
    }

    /// Asks one upstream; once more over TCP with `prefer_udp` and a cut answer.
    async fn one(
        &self,
        upstream: &Upstream,
        query: &Query<'_>,
        transport: &mut Transport,
        bufsize: Option<u16>,
        deadline: Instant,
    ) -> io::Result<Vec<u8>> {
        loop {
            let message = upstream_query(query, bufsize, random_id());
            let began = Instant::now();
            let until = deadline.min(began + READ_TIMEOUT);
            upstream.metrics.requested();
            let protocol = *transport;
            let taken = |reused| upstream.metrics.connection(protocol, reused);
            let exchanging = self
                .exchange
                .exchange(upstream.address, protocol, &message, &taken);
            let answer = tokio::time::timeout_at(until, exchanging)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            if answer.len() < HEADER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let header = Header::for_message_slice(&answer);
            upstream.metrics.responded(header.rcode(), began.elapsed());
            if header.tc() && self.settings.prefer_udp && *transport == Transport::Udp {
                *transport = Transport::Tcp;
                continue;
            }
            return Ok(answer);
        }
    }

    /// Upstreams in the order of the policy.
    fn order(&self) -> Vec<usize> {
        let count = self.upstreams.len();
        let first = match self.settings.policy {
            config::Policy::Sequential => return (0..count).collect(),
            config::Policy::RoundRobin => {
                self.next.fetch_add(1, Ordering::Relaxed) as usize % count.max(1)
            }
            config::Policy::Random => {
                let mut order: Vec<_> = (0..count).collect();
                for index in (1..count).rev() {
                    order.swap(index, random_below(index + 1));
                }
                return order;
            }
        };
        (first..count).chain(0..first).collect()
    }
}

/// A random number below `bound`, which is small and above zero.
fn random_below(bound: usize) -> usize {
    // Upstreams are few: the bias of the remainder is below one in a million.
    random::u32() as usize % bound.max(1)
}

/// An ID that nobody can guess.
fn random_id() -> u16 {
    random::u32() as u16
}
