//! `coredns_proxy_*` of each upstream, the `coredns_forward_*` that they replace, and
//! what `forward` counts of itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use domain::base::iana::Rcode;

use super::TIME_BUCKETS;
use super::histogram::{Histogram, Snapshot};
use super::text::{Family, Kind, Text};
use crate::upstream::Transport;

const DURATION: Family = (
    "coredns_proxy_request_duration_seconds",
    Kind::Histogram,
    "Histogram of the time each request took.",
);
const FAILURES: Family = (
    "coredns_proxy_healthcheck_failures_total",
    Kind::Counter,
    "Counter of the number of failed healthchecks.",
);
const CONN_HITS: Family = (
    "coredns_proxy_conn_cache_hits_total",
    Kind::Counter,
    "Counter of connection cache hits per upstream and protocol.",
);
const CONN_MISSES: Family = (
    "coredns_proxy_conn_cache_misses_total",
    Kind::Counter,
    "Counter of connection cache misses per upstream and protocol.",
);
const OLD_REQUESTS: Family = (
    "coredns_forward_requests_total",
    Kind::Counter,
    "Counter of requests made per upstream.",
);
const OLD_RESPONSES: Family = (
    "coredns_forward_responses_total",
    Kind::Counter,
    "Counter of responses received per upstream.",
);
const OLD_DURATION: Family = (
    "coredns_forward_request_duration_seconds",
    Kind::Histogram,
    "Histogram of the time each request took.",
);
const OLD_FAILURES: Family = (
    "coredns_forward_healthcheck_failures_total",
    Kind::Counter,
    "Counter of the number of failed healthchecks.",
);
const OLD_CONN_HITS: Family = (
    "coredns_forward_conn_cache_hits_total",
    Kind::Counter,
    "Counter of connection cache hits per upstream and protocol.",
);
const OLD_CONN_MISSES: Family = (
    "coredns_forward_conn_cache_misses_total",
    Kind::Counter,
    "Counter of connection cache misses per upstream and protocol.",
);
const BROKEN: Family = (
    "coredns_forward_healthcheck_broken_total",
    Kind::Counter,
    "Counter of the number of complete failures of the healthchecks.",
);
const REJECTS: Family = (
    "coredns_forward_max_concurrent_rejects_total",
    Kind::Counter,
    "Counter of the number of queries rejected because the concurrent queries were at maximum.",
);
const RCODES: usize = 16;
const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// What all `forward`s of the process count together.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    /// Queries while all upstreams were down.
    pub healthcheck_broken: AtomicU64,
    /// Queries beyond `max_concurrent`.
    pub max_concurrent_rejects: AtomicU64,
}

impl ForwardMetrics {
    pub(super) fn write(&self, text: &mut Text) {
        text.value(BROKEN, &[], self.healthcheck_broken.load(Relaxed) as f64);
        text.value(
            REJECTS,
            &[],
            self.max_concurrent_rejects.load(Relaxed) as f64,
        );
    }
}

/// What is counted of one upstream.
#[derive(Debug)]
pub struct ProxyMetrics {
    to: SocketAddr,
    requests: AtomicU64,
    /// By RCODE.
    durations: [Histogram<16>; RCODES],
    healthcheck_failures: AtomicU64,
    /// By transport: connections used again, and made.
    conn_cache_hits: [AtomicU64; 2],
    conn_cache_misses: [AtomicU64; 2],
}

impl ProxyMetrics {
    pub(super) fn new(to: SocketAddr) -> Self {
        Self {
            to,
            requests: AtomicU64::new(0),
            durations: std::array::from_fn(|_| Histogram::default()),
            healthcheck_failures: AtomicU64::new(0),
            conn_cache_hits: Default::default(),
            conn_cache_misses: Default::default(),
        }
    }

    pub(super) fn to(&self) -> SocketAddr {
        self.to
    }

    /// A query was sent.
    pub fn requested(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// An answer came.
    pub fn responded(&self, rcode: Rcode, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let rcode = usize::from(rcode.to_int()) % RCODES;
        self.durations[rcode].observe(&TIME_BUCKETS, took, 1);
    }

    /// A health probe failed.
    pub fn healthcheck_failed(&self) {
        self.healthcheck_failures.fetch_add(1, Relaxed);
    }

    /// A socket for a query: one that was there already (`reused`), or a new one.
    pub fn connection(&self, transport: Transport, reused: bool) {
        let at = usize::from(transport == Transport::Tcp);
        let counters = match reused {
            true => &self.conn_cache_hits,
            false => &self.conn_cache_misses,
        };
        counters[at].fetch_add(1, Relaxed);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let to = self.to.to_string();
        let (name, to) = (("proxy_name", "forward"), ("to", &*to));
        text.count(OLD_REQUESTS, &[to], self.requests.load(Relaxed));
        let failures = self.healthcheck_failures.load(Relaxed);
        text.count(FAILURES, &[name, to], failures);
        text.count(OLD_FAILURES, &[to], failures);
        for (at, transport) in TRANSPORTS.iter().enumerate() {
            let proto = ("proto", transport.as_str());
            let hits = self.conn_cache_hits[at].load(Relaxed);
            text.count(CONN_HITS, &[proto, name, to], hits);
            text.count(OLD_CONN_HITS, &[proto, to], hits);
            let misses = self.conn_cache_misses[at].load(Relaxed);
            text.count(CONN_MISSES, &[proto, name, to], misses);
            text.count(OLD_CONN_MISSES, &[proto, to], misses);
        }
        for (rcode, duration) in self.durations.iter().enumerate() {
            let snapshot = Snapshot::of(duration);
            if snapshot.total() == 0 {
                continue;
            }
            let code = Rcode::masked_from_int(u8::try_from(rcode).unwrap_or_default()).to_string();
            let code = ("rcode", &*code);
            let buckets = (&TIME_BUCKETS, 1e9);
            text.histogram(DURATION, &[name, code, to], buckets, &snapshot);
            text.histogram(OLD_DURATION, &[code, to], buckets, &snapshot);
            text.count(OLD_RESPONSES, &[code, to], snapshot.total());
        }
    }
}
