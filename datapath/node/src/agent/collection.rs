//! Garbage collection of conntrack and NAT entries, on the datapath's maps.

use std::time::Instant;

use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::maps;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::tuple::Tuple;
use nix::time::{ClockId, clock_gettime};

use super::{AgentError, log};
use crate::api::GarbageCollectionStatus;
use crate::datapath::{DatapathError, Tables, delete, entries};
use crate::gc::{self, Dead, MIN_INTERVAL, START_INTERVAL};

/// When to collect, and what came of it.
pub(super) struct Collector {
    last: Instant,
    due: Instant,
    interval: std::time::Duration,
    status: GarbageCollectionStatus,
}

impl Collector {
    pub(super) fn new(now: Instant) -> Self {
        let (interval, due) = (START_INTERVAL, now + START_INTERVAL);
        Self {
            last: now,
            due,
            interval,
            status: GarbageCollectionStatus::default(),
        }
    }

    /// When the next pass is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn status(&self) -> GarbageCollectionStatus {
        GarbageCollectionStatus {
            interval: self.interval.as_secs(),
            ..self.status.clone()
        }
    }

    /// The datapath has a hard time finding free ports: brings the next pass
    /// forward, though not so far that passes are all the agent does.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now.max(self.last + MIN_INTERVAL));
    }

    /// One pass.
    pub(super) fn run(&mut self, tables: &mut Tables, now: Instant) {
        let passed = now - self.last;
        match pass(tables) {
            Ok(pass) => {
                self.interval = gc::next_interval(self.interval, passed, pass.deleted_share);
                self.status.conntrack_deleted += pass.conntrack as u64;
                self.status.nat_deleted += pass.nat as u64;
                self.status.error = None;
            }
            Err(error) => {
                log::warn(format_args!("failed to collect garbage: {error}"));
                self.status.error = Some(error.to_string());
            }
        }
        self.status.runs += 1;
        self.last = now;
        self.due = now + self.interval;
    }
}

/// What a pass deleted.
struct Pass {
    conntrack: usize,
    nat: usize,
    /// Of the map that lost most, in entries deleted over entries possible.
    deleted_share: f64,
}

fn pass(tables: &mut Tables) -> Result<Pass, AgentError> {
    let nat = nat_entries(tables)?;
    let ct = ct_entries(tables)?;
    let Dead {
        ct_tcp,
        ct_any,
        nat,
    } = gc::dead(&nat, &ct, now()?);
    let tcp = delete(&mut tables.ct_tcp, maps::CT4_GLOBAL, &ct_tcp)?;
    let any = delete(&mut tables.ct_any, maps::CT_ANY4_GLOBAL, &ct_any)?;
    let nat = delete(&mut tables.nat, maps::SNAT_V4_EXTERNAL, &nat)?;
    let sizes = tables.sizes;
    let share = |deleted: usize, size: u32| deleted as f64 / f64::from(size.max(1));
    let deleted_share = share(tcp, sizes.ct_tcp).max(share(any, sizes.ct_any));
    Ok(Pass {
        conntrack: tcp + any,
        nat,
        deleted_share,
    })
}

pub(super) fn nat_entries(tables: &Tables) -> Result<Vec<(Tuple, NatEntry)>, DatapathError> {
    entries(&tables.nat, maps::SNAT_V4_EXTERNAL)
}

/// Both conntrack maps, TCP first.
pub(super) fn ct_entries(tables: &Tables) -> Result<Vec<(Tuple, CtEntry)>, DatapathError> {
    let mut all = entries(&tables.ct_tcp, maps::CT4_GLOBAL)?;
    all.extend(entries(&tables.ct_any, maps::CT_ANY4_GLOBAL)?);
    Ok(all)
}

/// Seconds of `CLOCK_MONOTONIC`, the programs' clock (`bpf_ktime_get_ns`).
pub(super) fn now() -> Result<u32, AgentError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(AgentError::Wait)?;
    // 136 years after boot.
    Ok(u32::try_from(now.tv_sec()).unwrap_or(u32::MAX))
}
