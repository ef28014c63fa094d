//! Metrics, under CoreDNS's names: counted by whoever serves, read by `/metrics`.
//!
//! What is counted for each query lies in as many copies as there are threads
//! ([`Sharded`]), so that counting is an addition to memory that no other core writes.
//! Groups outlive a reload of the Corefile, as they do in CoreDNS: the [`Registry`]
//! hands out the same group for the same labels.

mod cache;
mod dns;
mod forward;
mod histogram;
mod process;
mod registry;
mod sharded;
mod text;

pub use cache::{CacheMetrics, CacheShard};
pub use dns::{Answered, Asked, DnsMetrics};
pub use forward::{ForwardMetrics, ProxyMetrics};
pub use registry::{Registry, SetupError};
pub use sharded::Sharded;

/// Seconds: 0.25 ms, doubled fifteen times (CoreDNS's `plugin.TimeBuckets`).
const TIME_BUCKETS: [u64; 16] = time_buckets();

const fn time_buckets() -> [u64; 16] {
    let mut nanoseconds = [250_000; 16];
    let mut at = 1;
    while at < nanoseconds.len() {
        nanoseconds[at] = nanoseconds[at - 1] * 2;
        at += 1;
    }
    nanoseconds
}
