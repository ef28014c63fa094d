//! `coredns_cache_*`: the cache of one server block, at one of its addresses.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::sharded::Sharded;
use super::text::{Family, Kind, Text};

const ENTRIES: Family = (
    "coredns_cache_entries",
    Kind::Gauge,
    "The number of elements in the cache.",
);
const EVICTIONS: Family = (
    "coredns_cache_evictions_total",
    Kind::Counter,
    "The count of cache evictions.",
);
const HITS: Family = (
    "coredns_cache_hits_total",
    Kind::Counter,
    "The count of cache hits.",
);
const MISSES: Family = (
    "coredns_cache_misses_total",
    Kind::Counter,
    "The count of cache misses. Deprecated, derive misses from cache hits/requests counters.",
);
const REQUESTS: Family = (
    "coredns_cache_requests_total",
    Kind::Counter,
    "The count of cache requests.",
);
const PREFETCHES: Family = (
    "coredns_cache_prefetch_total",
    Kind::Counter,
    "The number of times the cache has prefetched a cached item.",
);
const DROPS: Family = (
    "coredns_cache_drops_total",
    Kind::Counter,
    "The number responses that are not cached, because the reply is malformed.",
);
const STALE: Family = (
    "coredns_cache_served_stale_total",
    Kind::Counter,
    "The number of requests served from stale cache entries.",
);

/// Counters of one cache. Those of each query are in [`Self::own`].
#[derive(Debug)]
pub struct CacheMetrics {
    server: String,
    zones: String,
    shards: Sharded<CacheShard>,
    /// Entries with answers, now.
    pub entries_success: AtomicU64,
    /// Entries of NXDOMAIN and NODATA, now.
    pub entries_denial: AtomicU64,
}

/// What one thread counts.
#[derive(Debug, Default)]
pub struct CacheShard {
    /// Queries that the cache was asked for.
    pub requests: AtomicU64,
    /// Answered with records.
    pub hits_success: AtomicU64,
    /// Answered with NXDOMAIN or NODATA, or a failure.
    pub hits_denial: AtomicU64,
    /// Not answered.
    pub misses: AtomicU64,
    /// Entries refreshed before their time.
    pub prefetch: AtomicU64,
    /// Replies that were to something else.
    pub drops: AtomicU64,
    /// Answered out of expired entries.
    pub served_stale: AtomicU64,
    /// Entries with answers that made room.
    pub evictions_success: AtomicU64,
    /// Entries of denials that made room.
    pub evictions_denial: AtomicU64,
}

impl CacheMetrics {
    pub(super) fn new(server: &str, zones: &str) -> Self {
        Self {
            server: server.to_owned(),
            zones: zones.to_owned(),
            shards: Sharded::default(),
            entries_success: AtomicU64::new(0),
            entries_denial: AtomicU64::new(0),
        }
    }

    pub(super) fn is(&self, server: &str, zones: &str) -> bool {
        self.server == server && self.zones == zones
    }

    /// This thread's counters.
    #[must_use]
    pub fn own(&self) -> &CacheShard {
        self.shards.own()
    }

    pub(super) fn write(&self, text: &mut Text) {
        let labels = [
            ("server", &*self.server),
            ("view", ""),
            ("zones", &*self.zones),
        ];
        let sum = |of: fn(&CacheShard) -> &AtomicU64| self.shards.sum(|it| of(it).load(Relaxed));
        let requests = sum(|it| &it.requests);
        text.count(REQUESTS, &labels, requests);
        text.count(MISSES, &labels, sum(|it| &it.misses));
        text.count(PREFETCHES, &labels, sum(|it| &it.prefetch));
        text.count(DROPS, &labels, sum(|it| &it.drops));
        text.count(STALE, &labels, sum(|it| &it.served_stale));
        let typed = |name| [labels[0], ("type", name), labels[1], labels[2]];
        let (success, denial) = (typed("success"), typed("denial"));
        text.count(HITS, &success, sum(|it| &it.hits_success));
        text.count(HITS, &denial, sum(|it| &it.hits_denial));
        text.count(EVICTIONS, &success, sum(|it| &it.evictions_success));
        text.count(EVICTIONS, &denial, sum(|it| &it.evictions_denial));
        // The gauges are there from the first query on, whatever they say.
        if requests > 0 {
            text.value(ENTRIES, &success, self.entries_success.load(Relaxed) as f64);
            text.value(ENTRIES, &denial, self.entries_denial.load(Relaxed) as f64);
        }
    }
}
