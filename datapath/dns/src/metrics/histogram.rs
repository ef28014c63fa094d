//! Histograms of whole numbers: nanoseconds, octets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often a value was at most each of `N` bounds, and above all of them; bounds are
/// whoever's counts it.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    at_most: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            at_most: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value that was seen that many times.
    pub(super) fn observe(&self, bounds: &[u64; N], value: u64, times: u64) {
        let at = bounds.partition_point(|bound| *bound < value);
        let bucket = self.at_most.get(at).unwrap_or(&self.above);
        bucket.fetch_add(times, Relaxed);
        self.sum.fetch_add(value.wrapping_mul(times), Relaxed);
    }

    pub(super) fn count(&self, bucket: usize) -> u64 {
        self.at_most
            .get(bucket)
            .unwrap_or(&self.above)
            .load(Relaxed)
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

/// A histogram's numbers at one time.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<const N: usize> {
    /// Not cumulative.
    pub(super) at_most: [u64; N],
    pub(super) above: u64,
    pub(super) sum: u64,
}

impl<const N: usize> Snapshot<N> {
    /// Adds up what `count` says of each bucket.
    pub(super) fn new(count: impl Fn(usize) -> u64, sum: u64) -> Self {
        Self {
            at_most: std::array::from_fn(&count),
            above: count(N),
            sum,
        }
    }

    pub(super) fn of(histogram: &Histogram<N>) -> Self {
        Self::new(|bucket| histogram.count(bucket), histogram.sum())
    }

    pub(super) fn total(&self) -> u64 {
        self.at_most.iter().sum::<u64>() + self.above
    }
}
