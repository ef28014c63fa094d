//! A part of the cache under one lock.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Side;
use super::entry::Entry;

/// Keys are hashes already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(octet);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Entries = HashMap<u64, Entry, BuildHasherDefault<AsIs>>;

/// Entries of both caches whose hashes lie together.
#[derive(Default)]
pub(super) struct Shard {
    success: Entries,
    denial: Entries,
    /// State of the sequence by which entries are evicted.
    evictions: u64,
}

impl Shard {
    pub(super) fn get_mut(&mut self, side: Side, key: u64) -> Option<&mut Entry> {
        self.entries(side).get_mut(&key)
    }

    /// Entries: success, denial.
    pub(super) fn lengths(&self) -> [usize; 2] {
        [self.success.len(), self.denial.len()]
    }

    /// Adds an entry, or replaces the one with this key, in both caches: an old
    /// denial must not hide a new answer. `capacity` bounds the entries of one side.
    /// A refreshed entry is as popular as the one before it. True if another entry
    /// had to go.
    pub(super) fn insert(
        &mut self,
        side: Side,
        key: u64,
        mut entry: Entry,
        capacity: usize,
        refreshed: bool,
    ) -> bool {
        let other = match side {
            Side::Success => Side::Denial,
            Side::Denial => Side::Success,
        };
        let gone = self.entries(other).remove(&key);
        let mut before = self.entries(side).remove(&key).or(gone);
        if let (true, Some(before)) = (refreshed, &mut before) {
            *entry.popularity() = *before.popularity();
        }
        let evicted = self.entries(side).len() >= capacity && self.evict(side);
        self.entries(side).insert(key, entry);
        evicted
    }

    /// Removes any one entry.
    fn evict(&mut self, side: Side) -> bool {
        // Weyl's sequence by the golden ratio: even, and different each time.
        self.evictions = self.evictions.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let random = (self.evictions >> 32) as usize;
        let entries = self.entries(side);
        let Some(&key) = entries.keys().nth(random % entries.len().max(1)) else {
            return false;
        };
        entries.remove(&key).is_some()
    }

    fn entries(&mut self, side: Side) -> &mut Entries {
        match side {
            Side::Success => &mut self.success,
            Side::Denial => &mut self.denial,
        }
    }
}
