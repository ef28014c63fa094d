//! The flows that a node remembers: the newest, as many as its capacity.
//!
//! Readers hold a position, not a queue: one that is slow misses what was dropped
//! meanwhile, and is told how much that was. Writers never wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::entry::{Entry, What};
use crate::api::FlowStatus;

/// Seconds over which the rate is taken.
const MINUTE: usize = 60;

/// What a reader gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// What came next.
    Entry(Box<Entry>),
    /// So many flows were dropped before this reader came to them.
    Missed(u64),
    /// Nothing new came in time.
    Nothing,
    /// The agent stops.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    changed: Condvar,
    started: Instant,
}

#[derive(Debug)]
struct Inner {
    entries: VecDeque<Entry>,
    /// Position of the first entry.
    first: u64,
    capacity: usize,
    /// Flows since the start; lost events are entries, not flows.
    seen: u64,
    /// Events that the datapath lost.
    lost: u64,
    /// Flows in each of the last seconds, by second modulo their number.
    rate: [(u64, u64); MINUTE],
    closed: bool,
}

impl Store {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                entries: VecDeque::new(),
                first: 0,
                capacity: capacity.max(1),
                seen: 0,
                lost: 0,
                rate: [(0, 0); MINUTE],
                closed: false,
            }),
            changed: Condvar::new(),
            started: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked left whole entries: each is one push.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another size; what no longer fits goes, oldest first.
    pub(crate) fn resize(&self, capacity: usize) {
        let mut inner = self.lock();
        inner.capacity = capacity.max(1);
        inner.trim();
    }

    /// Adds entries in their order.
    pub(crate) fn extend(&self, entries: impl IntoIterator<Item = Entry>) {
        let second = self.started.elapsed().as_secs();
        let mut inner = self.lock();
        for entry in entries {
            match entry.what {
                What::Seen(_) => {
                    inner.seen += 1;
                    inner.count(second);
                }
                What::Lost(count) => inner.lost += count,
            }
            inner.entries.push_back(entry);
            inner.trim();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Everything that there is, oldest first, and the position behind it.
    pub(crate) fn snapshot(&self) -> (Vec<Entry>, u64) {
        let inner = self.lock();
        let end = inner.first + inner.entries.len() as u64;
        (inner.entries.iter().cloned().collect(), end)
    }

    /// What comes at `position`, which moves on; waits for it for at most `patience`.
    pub(crate) fn next(&self, position: &mut u64, patience: Duration) -> Next {
        let inner = self.lock();
        let is_empty = |inner: &mut Inner| {
            !inner.closed && *position >= inner.first + inner.entries.len() as u64
        };
        let waited = self.changed.wait_timeout_while(inner, patience, is_empty);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *position < inner.first {
            let missed = inner.first - *position;
            *position = inner.first;
            return Next::Missed(missed);
        }
        let index = usize::try_from(*position - inner.first).unwrap_or(usize::MAX);
        match inner.entries.get(index) {
            Some(entry) => {
                *position += 1;
                Next::Entry(Box::new(entry.clone()))
            }
            None if inner.closed => Next::Closed,
            None => Next::Nothing,
        }
    }

    /// Whether there is nothing at `position` yet.
    pub(crate) fn is_read(&self, position: u64) -> bool {
        let inner = self.lock();
        position >= inner.first + inner.entries.len() as u64
    }

    /// Has readers end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// In numbers.
    pub(crate) fn status(&self, node: String) -> FlowStatus {
        let uptime = self.started.elapsed();
        let inner = self.lock();
        let second = uptime.as_secs();
        let recent = inner
            .rate
            .iter()
            .filter(|(at, _)| second.saturating_sub(*at) < MINUTE as u64);
        let recent: u64 = recent.map(|(_, count)| count).sum();
        let is_flow = |entry: &&Entry| matches!(entry.what, What::Seen(_));
        let flows = inner.entries.iter().filter(is_flow).count();
        FlowStatus {
            node,
            flows: flows as u64,
            capacity: inner.capacity as u64,
            seen: inner.seen,
            lost: inner.lost,
            rate: recent as f64 / uptime.as_secs_f64().clamp(1.0, MINUTE as f64),
            uptime: second,
        }
    }
}

impl Inner {
    fn trim(&mut self) {
        while self.entries.len() > self.capacity {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    fn count(&mut self, second: u64) {
        let slot = &mut self.rate[(second % MINUTE as u64) as usize];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 += 1;
    }
}
