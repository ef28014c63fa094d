//! The `cache` plugin: answers kept as messages that go out again as they are, but
//! for ID, flags, TTLs and the spelling of the name.
//!
//! What is kept, how long, and where that shows follows CoreDNS 1.13's
//! plugin/cache and plugin/pkg/response; docs/dns.md says where it doesn't.

mod entry;
mod shard;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::iana::Rtype;
use foldhash::fast::RandomState;

use crate::clock::Time;
use crate::config::{CacheBounds, CacheSettings};
use crate::message::{Kind, Query, Response, Zone, ZoneError};
use entry::Entry;
use shard::Shard;

/// Parts that are locked apart, as many as CoreDNS has.
const SHARDS: usize = 256;
/// TTL of answers without records, and of those that aren't kept, seconds.
const DEFAULT_TTL: u32 = 5;
/// The longest TTL that is taken from an answer, seconds: `dnsutil.MaximumDefaultTTL`.
const MAXIMUM_TTL: u32 = 3600;

/// One of the two caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Answers.
    Success,
    /// NXDOMAIN, NODATA and server failures.
    Denial,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub side: Side,
    /// It has expired; the message that was put out has TTL 0.
    pub stale: bool,
    /// It is popular and soon to expire: now is the time to ask again.
    pub prefetch: bool,
    /// It is asked for often ([`entry::OFTEN`]), and has been so just now.
    pub often: Option<Often>,
}

/// An entry that is asked for often, and for how long it may be the answer as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Often {
    /// Where it is.
    pub side: Side,
    key: u64,
    /// When it came, to the millisecond.
    pub stored: Time,
    /// When it expires, or is to be asked for again.
    pub until: Time,
    /// TTL that it came with, seconds.
    pub ttl: u32,
    /// Whether its TTL counts down: not with `keepttl`.
    pub counts_down: bool,
}

/// What became of an answer that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is kept.
    Kept {
        /// Where.
        side: Side,
        /// Another entry had to go.
        evicted: bool,
    },
    /// It isn't the kind that is kept.
    No,
}

/// Answers of one server block.
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hash: RandomState,
    settings: CacheSettings,
    zones: Vec<Zone>,
    disable_success: Vec<Zone>,
    disable_denial: Vec<Zone>,
    /// Entries of each side, so that counting them locks nothing.
    lengths: [AtomicUsize; 2],
}

impl Cache {
    /// An empty cache.
    ///
    /// # Errors
    /// A zone that is no domain name.
    pub fn new(settings: CacheSettings) -> Result<Self, ZoneError> {
        let zones = |names: &[String]| -> Result<Vec<_>, ZoneError> {
            names.iter().map(|name| Zone::parse(name)).collect()
        };
        Ok(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hash: RandomState::default(),
            zones: zones(&settings.zones)?,
            disable_success: zones(&settings.disable_success)?,
            disable_denial: zones(&settings.disable_denial)?,
            settings,
            lengths: Default::default(),
        })
    }

    /// What it was made with.
    #[must_use]
    pub const fn settings(&self) -> &CacheSettings {
        &self.settings
    }

    /// Whether names like the query's pass through this cache.
    #[must_use]
    pub fn covers(&self, query: &Query<'_>) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| zone.contains(query.key()))
    }

    /// Puts the answer to `query` into `out`, ready for [`crate::message::fit`]:
    /// its TTLs are what is left, AA is set. Stale answers are found only with
    /// `serve_stale`. Nothing is allocated once `out` has room.
    pub fn get(&self, query: &Query<'_>, now: Time, out: &mut Vec<u8>) -> Option<Hit> {
        let key = self.key(query);
        let mut shard = self.shard(key);
        for side in [Side::Denial, Side::Success] {
            let Some(entry) = shard.get_mut(side, key) else {
                continue;
            };
            if !entry.answers(query) {
                continue;
            }
            let left = entry.ttl_left(now);
            let stale = left <= 0;
            if stale && !self.servable_stale(left) {
                continue;
            }
            let ttl = match (self.settings.keepttl, stale) {
                (true, _) => entry.ttl(),
                (false, true) => 0,
                (false, false) => u32::try_from(left).unwrap_or_default(),
            };
            entry.write(ttl, out);
            let prefetch = !stale && self.is_due(entry, left, now);
            let often = entry.rate().is_often(now) && !stale && !prefetch;
            return Some(Hit {
                side,
                stale,
                prefetch,
                often: often.then(|| self.often(side, key, entry)),
            });
        }
        None
    }

    fn often(&self, side: Side, key: u64, entry: &Entry) -> Often {
        let fresh = entry.ttl().saturating_sub(self.due_at(entry));
        Often {
            side,
            key,
            stored: entry.stored(),
            until: entry.stored() + Duration::from_secs(fresh.into()),
            ttl: entry.ttl(),
            counts_down: !self.settings.keepttl,
        }
    }

    /// Whether the entry is still there.
    pub(crate) fn has(&self, often: &Often) -> bool {
        let mut shard = self.shard(often.key);
        let entry = shard.get_mut(often.side, often.key);
        entry.is_some_and(|entry| entry.stored() == often.stored)
    }

    /// The entry was the answer to that many queries that did not come here: it is as
    /// popular as if they had.
    pub(crate) fn asked_elsewhere(&self, often: &Often, times: u64, now: Time) {
        let mut shard = self.shard(often.key);
        let entry = shard.get_mut(often.side, often.key);
        if let Some(entry) = entry.filter(|entry| entry.stored() == often.stored) {
            entry.popularity().add(times, now);
        }
    }

    /// Gives the records of `response` the TTL that they have from now on, and keeps
    /// it if it is of the kind that is kept. `refresh` says that the query was our
    /// own, made before the old entry expired.
    pub fn put(
        &self,
        query: &Query<'_>,
        response: &mut Response,
        now: Time,
        refresh: bool,
    ) -> Stored {
        let ttl = self.ttl_for(response);
        response.set_ttl(ttl);
        if ttl == 0 || response.header().tc() {
            return Stored::No;
        }
        let (side, excluded) = match response.kind() {
            Kind::NoError | Kind::Delegation => (Side::Success, &self.disable_success),
            Kind::NoData | Kind::NameError | Kind::ServerError => {
                (Side::Denial, &self.disable_denial)
            }
            Kind::Other => return Stored::No,
        };
        if excluded.iter().any(|zone| zone.contains(query.key())) {
            return Stored::No;
        }
        let key = self.key(query);
        let entry = Entry::new(query, response, ttl, now);
        let mut shard = self.shard(key);
        let before = shard.lengths();
        let evicted = shard.insert(side, key, entry, self.per_shard(side), refresh);
        for ((length, before), after) in self.lengths.iter().zip(before).zip(shard.lengths()) {
            length.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
        Stored::Kept { side, evicted }
    }

    /// Entries in each of the two caches: success, denial.
    #[must_use]
    pub fn entries(&self) -> (usize, usize) {
        let [success, denial] = &self.lengths;
        (
            success.load(Ordering::Relaxed),
            denial.load(Ordering::Relaxed),
        )
    }

    /// Whether an answer that expired `-left` seconds ago is still served.
    fn servable_stale(&self, left: i64) -> bool {
        self.settings
            .serve_stale
            .is_some_and(|stale| Duration::from_secs(left.unsigned_abs()) < stale.duration)
    }

    fn is_due(&self, entry: &mut Entry, left: i64, now: Time) -> bool {
        let Some(prefetch) = self.settings.prefetch else {
            return false;
        };
        let hits = entry.popularity().hit(prefetch.duration, now);
        hits >= prefetch.amount && left <= i64::from(self.due_at(entry))
    }

    /// With how many seconds left an entry that is popular is asked for again.
    fn due_at(&self, entry: &Entry) -> u32 {
        let share = self.settings.prefetch.map_or(0, |prefetch| {
            u64::from(entry.ttl()) * u64::from(prefetch.percentage)
        });
        u32::try_from(share.div_ceil(100)).unwrap_or(u32::MAX)
    }

    fn ttl_for(&self, response: &Response) -> u32 {
        let lowest = match response.kind() {
            Kind::NoError | Kind::NameError | Kind::NoData => response
                .lowest_ttl()
                .map_or(DEFAULT_TTL, |ttl| ttl.min(MAXIMUM_TTL)),
            Kind::Delegation | Kind::ServerError | Kind::Other => DEFAULT_TTL,
        };
        let within = |bounds: &CacheBounds| lowest.max(bounds.min_ttl).min(bounds.max_ttl);
        match response.kind() {
            Kind::ServerError => {
                u32::try_from(self.settings.servfail.as_secs()).unwrap_or(u32::MAX)
            }
            Kind::NameError | Kind::NoData => within(&self.settings.denial),
            Kind::NoError | Kind::Delegation | Kind::Other => within(&self.settings.success),
        }
    }

    fn per_shard(&self, side: Side) -> usize {
        let capacity = match side {
            Side::Success => self.settings.success.capacity,
            Side::Denial => self.settings.denial.capacity,
        };
        (usize::try_from(capacity).unwrap_or(usize::MAX) / SHARDS).max(4)
    }

    fn key(&self, query: &Query<'_>) -> u64 {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut hasher = self.hash.build_hasher();
        hasher.write(query.key().as_bytes());
        hasher.write_u32(u32::from(Rtype::to_int(query.rtype())) | u32::from(variant(query)) << 16);
        hasher.finish()
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The table within takes the lowest bits and the seven highest.
        self.lock((key >> 40) as usize % SHARDS)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        // No invariant spans a panic: entries are put in whole.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// DO and CD: queries that differ in them get answers of their own.
fn variant(query: &Query<'_>) -> u8 {
    u8::from(query.dnssec_ok()) | u8::from(query.header().cd()) << 1
}

#[cfg(test)]
mod tests;
