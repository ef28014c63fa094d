//! Which conntrack and NAT entries are dead, and when to look again. Pure; the
//! agent carries it out.

use std::collections::HashSet;
use std::time::Duration;

use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::tuple::{Direction, Tuple, protocol};

/// Before the first pass.
pub const START_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Between passes, however full the maps are, also when the datapath calls.
pub const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// Between passes, however idle the node is.
pub const MAX_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);
/// A NAT entry this young may be part of a flow whose conntrack entry the same
/// pass has not seen yet. In seconds.
const GRACE: u32 = 10;

/// The time until the next pass, from the time that was planned until this one,
/// the time that really passed, and how much of the fuller conntrack map was
/// dead. As `pkg/maps/ctmap`'s `GetInterval`.
///
/// A pass that came early, because the datapath called for it, found fewer dead
/// entries than it would have in time; the share is scaled up to what the planned
/// time would have brought (cilium/cilium #27405).
#[must_use]
pub fn next_interval(planned: Duration, passed: Duration, deleted_share: f64) -> Duration {
    let mut share = deleted_share;
    if passed < planned && !passed.is_zero() {
        share *= planned.as_secs_f64() / passed.as_secs_f64();
    }
    let seconds = if share > 0.25 {
        // 25 % to 90 % dead: a quarter to nine tenths shorter.
        planned.as_secs_f64() * (1.0 - share.min(0.9))
    } else if share > 0.0 && share < 0.05 {
        planned.as_secs_f64() * 1.5
    } else {
        planned.as_secs_f64()
    };
    Duration::from_secs_f64(seconds.round()).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    /// Keys of `cilium_ct4_global`.
    pub ct_tcp: Vec<Tuple>,
    /// Keys of `cilium_ct_any4_global`.
    pub ct_any: Vec<Tuple>,
    /// Keys of `cilium_snat_v4_external`, both directions.
    pub nat: Vec<Tuple>,
}

/// What is dead at `now`, in seconds of `CLOCK_MONOTONIC`: conntrack entries past
/// their lifetime, and translations whose flow conntrack does not know any more,
/// of whatever protocol (cilium/cilium #12625: those of ICMP, too).
///
/// `nat` must have been read before `ct`: a flow is in conntrack before it is
/// translated, so one that appears in between is not taken for an orphan.
#[must_use]
pub fn dead(nat: &[(Tuple, NatEntry)], ct: &[(Tuple, CtEntry)], now: u32) -> Dead {
    let mut dead = Dead::default();
    let mut alive = HashSet::with_capacity(ct.len());
    for (key, entry) in ct {
        if entry.lifetime > now {
            alive.insert(*key);
        } else if key.protocol == protocol::TCP {
            dead.ct_tcp.push(*key);
        } else {
            dead.ct_any.push(*key);
        }
    }
    let orphans = nat.iter().filter(|(key, entry)| {
        entry.created.saturating_add(GRACE) <= now && !alive.contains(&flow(key, entry))
    });
    dead.nat = orphans.map(|(key, _)| *key).collect();
    dead
}

/// The conntrack key of the flow that a NAT entry is about.
fn flow(key: &Tuple, entry: &NatEntry) -> Tuple {
    if key.direction == Direction::Out as u8 {
        return *key;
    }
    // The way back: addressed to the translated source, which the entry turns
    // into the original one.
    Tuple {
        source: entry.address,
        destination: key.source,
        source_port: entry.port,
        destination_port: key.source_port,
        ..*key
    }
    .with_direction(Direction::Out)
}

#[cfg(test)]
mod tests;
