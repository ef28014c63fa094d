//! A kept answer.

use std::time::Duration;

use super::variant;
use crate::clock::Time;
use crate::message::{HEADER, Query, Response};

/// An answer in one piece of memory: the message, then where its TTLs are.
pub(super) struct Entry {
    /// When it came, milliseconds.
    stored: u64,
    /// TTL that it came with, seconds.
    ttl: u32,
    popularity: Popularity,
    rate: Rate,
    message_len: u16,
    variant: u8,
    octets: Box<[u8]>,
}

/// Queries in one second after which an entry is one that is asked for often. People who
/// ask by hand, and programs that start, stay below: their queries reach the server. What
/// is above gains from being answered elsewhere.
pub(super) const OFTEN: u16 = 10;

/// How often an entry is asked for in the second of the latest query.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    second: u32,
    queries: u16,
}

impl Rate {
    /// Counts a query; true once in a second, for the one that makes it often.
    pub(super) fn is_often(&mut self, now: Time) -> bool {
        let second = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        if second != self.second {
            *self = Self { second, queries: 0 };
        }
        self.queries = self.queries.saturating_add(1);
        self.queries == OFTEN
    }
}

/// How often an entry is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Popularity {
    hits: u32,
    /// The latest, seconds.
    last: u32,
}

impl Popularity {
    /// Counts a query; those that came after a gap longer than `within` start anew.
    pub(super) fn hit(&mut self, within: Duration, now: Time) -> u32 {
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let gap = Duration::from_secs(u64::from(now.saturating_sub(self.last)));
        self.hits = if gap > within {
            1
        } else {
            self.hits.saturating_add(1)
        };
        self.last = now;
        self.hits
    }

    /// Counts queries of the last second or so.
    pub(super) fn add(&mut self, times: u64, now: Time) {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.hits = self.hits.saturating_add(times);
        self.last = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
    }
}

impl Entry {
    pub(super) fn new(query: &Query<'_>, response: &Response, ttl: u32, now: Time) -> Self {
        let message = response.message();
        let offsets = response.ttl_offsets();
        let mut octets = Vec::with_capacity(message.len() + 2 * offsets.len());
        octets.extend_from_slice(message);
        // Whoever asks puts their own spelling in its place.
        let name = query.key().as_bytes();
        octets[HEADER..HEADER + name.len()].copy_from_slice(name);
        octets.extend(offsets.iter().flat_map(|at| at.to_ne_bytes()));
        Self {
            stored: millis(now),
            ttl,
            popularity: Popularity::default(),
            rate: Rate::default(),
            // Messages are read from a TCP length or a datagram, 16 bits each.
            message_len: u16::try_from(message.len()).unwrap_or(u16::MAX),
            variant: variant(query),
            octets: octets.into_boxed_slice(),
        }
    }

    /// Whether it is the answer to this query, not to one with the same hash.
    pub(super) fn answers(&self, query: &Query<'_>) -> bool {
        let name = query.key().as_bytes();
        let question = query.question();
        let ours = &self.octets[HEADER..usize::from(self.message_len)];
        self.variant == variant(query)
            && ours.starts_with(name)
            && ours[name.len()..].starts_with(&question[name.len()..])
    }

    /// TTL that it came with, seconds.
    pub(super) const fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Seconds until it expires, begun ones as whole; negative after that.
    pub(super) fn ttl_left(&self, now: Time) -> i64 {
        let age = millis(now).saturating_sub(self.stored) / 1000;
        i64::from(self.ttl).saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
    }

    /// When it came.
    pub(super) const fn stored(&self) -> Time {
        Time::from_millis(self.stored)
    }

    /// How often it is asked for just now.
    pub(super) const fn rate(&mut self) -> &mut Rate {
        &mut self.rate
    }

    /// How often it is asked for.
    pub(super) const fn popularity(&mut self) -> &mut Popularity {
        &mut self.popularity
    }

    /// Puts the message into `out`, every record with this TTL, AA set.
    pub(super) fn write(&self, ttl: u32, out: &mut Vec<u8>) {
        let (message, offsets) = self.octets.split_at(usize::from(self.message_len));
        out.clear();
        out.extend_from_slice(message);
        for at in offsets.chunks_exact(2) {
            let at = usize::from(u16::from_ne_bytes([at[0], at[1]]));
            out[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        // AA, which some clients insist on: CoreDNS's item.toMsg.
        out[2] |= 0x04;
    }
}

fn millis(time: Time) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
