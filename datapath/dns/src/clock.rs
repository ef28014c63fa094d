//! Time, passed in: the cache's ages and the scenarios' fake clock go by it.

use std::time::{Duration, Instant};

/// Time since a moment before any other of the same clock.
pub type Time = Duration;

/// Where the time comes from. It never goes back.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Time;
}

/// The kernel's `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub struct Monotonic(Instant);

impl Default for Monotonic {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Time {
        self.0.elapsed()
    }
}
