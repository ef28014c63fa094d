//! One copy of a group of counters for each thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Copies at most. Threads beyond share them, which is slower and as right.
const MAX_SHARDS: usize = 16;

/// Threads that count, for each core: readers of two addresses, and of the runtime.
const THREADS_PER_CORE: usize = 3;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Which copy this thread has: threads are counted as they first ask.
fn thread() -> usize {
    THREAD.with(|thread| {
        if thread.get() == usize::MAX {
            thread.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

/// Two cache lines: adjacent ones are fetched together on x86-64.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// As many `T` as threads may run at once.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[Padded<T>]>,
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let count = (threads * THREADS_PER_CORE).next_power_of_two();
        let count = count.min(MAX_SHARDS);
        let shards = std::iter::repeat_with(Padded::default).take(count);
        Self {
            shards: shards.collect(),
        }
    }
}

impl<T> Sharded<T> {
    /// This thread's.
    #[must_use]
    pub fn own(&self) -> &T {
        // Their number is a power of two.
        &self.shards[thread() & (self.shards.len() - 1)].0
    }

    /// The sum over all of them.
    pub fn sum(&self, value: impl Fn(&T) -> u64) -> u64 {
        let values = self.shards.iter().map(|shard| value(&shard.0));
        values.fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn threads_count_together() {
        let sharded = Sharded::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| sharded.own().fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(sharded.sum(|it| it.load(Ordering::Relaxed)), 40);
    }
}
