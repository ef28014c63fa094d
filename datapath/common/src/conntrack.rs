//! Connection tracking: who opened a flow, and until when it is alive.
//!
//! An OUT entry is a flow that a local endpoint (or the host, when its port is
//! reserved) opened, an IN entry one that was opened towards an endpoint. The
//! key is always the opener's view.
//!
//! ```text
//!               SYN            any other packet
//!   (none) ──► attempt ─60 s─► established ─8000 s─►
//!                                  │ RST, or FIN from both sides
//!                                  ▼
//!                                closed ─10 s─►   a new SYN starts over
//! ```

mod entry;
mod service;
mod task;
mod tracked;

pub use entry::{CtEntry, flag, timeout};
pub use service::{backend_of, mark_service, open_service, service_backend, service_of};
pub use task::{Step, Task};
pub use tracked::{Tracked, Verdict};

use self::entry::Sender;
use crate::drop_reason::DropReason;
use crate::kernel::{Kernel, Maps};
use crate::tuple::{Direction, Tuple, protocol};

/// Tracks a packet that a local endpoint sent.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn from_endpoint<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::FromEndpoint, tcp_flags))
}

/// Tracks a packet on its way to a local endpoint.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn to_endpoint<K: Kernel>(k: &K, tuple: &Tuple, tcp_flags: u8) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::ToEndpoint, tcp_flags))
}

/// Tracks a packet of the host itself, whose port NAT reserves.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn from_host<K: Kernel>(k: &K, tuple: &Tuple, tcp_flags: u8) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::FromHost, tcp_flags))
}

/// Tracks a reply whose translation was just undone. It belongs to a flow that
/// was opened here, whatever conntrack still knows: an entry lost to eviction is
/// made again as OUT, never as IN, or else the flow's next packet would pass for
/// a reply and leave untranslated.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn masqueraded_reply<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::MasqueradedReply, tcp_flags))
}

/// As [`masqueraded_reply`], for a packet that [`to_endpoint`] will see again:
/// only makes sure that the entry is there, and counts nothing.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn ensure_masqueraded<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<(), DropReason> {
    k.ensure(tuple, Task::new(Step::EnsureMasqueraded, tcp_flags))
}

/// What [`Maps::track`] does: looks for the packet's flow as one that was opened here, then, where
/// that may be, as one that was opened towards this side; and makes the entry of a new one.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn track<K: Kernel>(k: &K, tuple: &Tuple, task: Task) -> Result<Tracked, DropReason> {
    let is_sent_here = matches!(task.step, Step::FromEndpoint | Step::FromHost);
    let is_either = matches!(task.step, Step::FromEndpoint | Step::ToEndpoint);
    // One look in a loop, rather than two: each that LLVM finds is a function with a frame of its
    // own, and a program has 512 bytes for all of them.
    for direction in [Direction::Out, Direction::In] {
        if matches!(direction, Direction::In) && !is_either {
            break;
        }
        let (key, sender) = entry_of(tuple, direction, is_sent_here);
        let verdict = match sender {
            Sender::Initiator => Verdict::Established,
            Sender::Responder => Verdict::Reply,
        };
        match see(k, &key, sender, task.tcp_flags) {
            Seen::Due => return Ok(Tracked::new(verdict, true)),
            Seen::Before => return Ok(Tracked::new(verdict, false)),
            Seen::Never => {}
        }
    }
    let direction = match task.step {
        Step::ToEndpoint => Direction::In,
        _ => Direction::Out,
    };
    let (key, sender) = entry_of(tuple, direction, is_sent_here);
    create(k, &key, sender, task.tcp_flags)?;
    let verdict = match sender {
        Sender::Initiator => Verdict::New,
        Sender::Responder => Verdict::Reply,
    };
    Ok(Tracked::new(verdict, true))
}

/// The entry of a packet's flow, if that was opened here (`Out`) or towards this side (`In`), and
/// which end the packet comes from.
#[inline(always)]
fn entry_of(tuple: &Tuple, direction: Direction, is_sent_here: bool) -> (Tuple, Sender) {
    let is_openers = is_sent_here == matches!(direction, Direction::Out);
    if is_openers {
        (tuple.with_direction(direction), Sender::Initiator)
    } else {
        (
            tuple.reversed().with_direction(direction),
            Sender::Responder,
        )
    }
}

/// Whether the packet answers a flow that was opened towards its sender.
#[inline(always)]
pub fn is_reply<M: Maps>(maps: &M, tuple: &Tuple) -> bool {
    let key = tuple.reversed().with_direction(Direction::In);
    maps.ct_update(&key, |entry| entry.lifetime > maps.now()) == Some(true)
}

/// What [`Maps::ensure`] does: makes sure that the flow's entry is there, and says which service it
/// is of, unless that is not asked.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn ensure<M: Maps>(maps: &M, tuple: &Tuple, task: Task) -> Result<(), DropReason> {
    let Task {
        step,
        tcp_flags,
        rev_nat_index,
    } = task;
    let is_service = !matches!(step, Step::EnsureMasqueraded);
    // A copy: before Linux 6.2 the verifier takes no memory of a caller for a map's key.
    let key = match step {
        Step::EnsureMasqueraded => tuple.reversed().with_direction(Direction::Out),
        Step::MarkServiceIn => tuple.with_direction(Direction::In),
        _ => tuple.with_direction(Direction::Out),
    };
    let is_tcp = key.protocol == protocol::TCP;
    let now = maps.now();
    let is_there = maps.ct_update(&key, |entry| {
        if entry.lifetime <= now {
            return false;
        }
        if is_service {
            if is_tcp && entry.is_reopened_by(Sender::Initiator, tcp_flags) {
                return false;
            }
            entry.rev_nat_index = rev_nat_index;
        }
        true
    });
    if is_there == Some(true) {
        return Ok(());
    }
    let mut entry = CtEntry {
        rev_nat_index,
        ..CtEntry::default()
    };
    entry.lifetime = entry.next_lifetime(is_tcp, tcp_flags, now);
    maps.ct_create(&key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}

/// What became of a packet and the entry of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// There is no live entry.
    Never,
    /// Noted, and nothing about it is new.
    Before,
    /// Noted, and an event is due.
    Due,
}

/// Notes the packet in the entry, if there is a live one.
#[inline(always)]
fn see<K: Kernel>(k: &K, key: &Tuple, sender: Sender, tcp_flags: u8) -> Seen {
    let length = k.length();
    let is_tcp = key.protocol == protocol::TCP;
    let seen = k.ct_update(key, |entry| {
        let now = k.now();
        if entry.lifetime <= now || (is_tcp && entry.is_reopened_by(sender, tcp_flags)) {
            return Seen::Never;
        }
        let is_due = entry.is_due(sender, tcp_flags, now, k.settings().report_interval);
        entry.note(sender, tcp_flags, length);
        entry.refresh(is_tcp, sender, tcp_flags, now);
        if is_due { Seen::Due } else { Seen::Before }
    });
    match seen {
        Some(seen) => seen,
        None => Seen::Never,
    }
}

#[inline(always)]
fn create<K: Kernel>(k: &K, key: &Tuple, sender: Sender, tcp_flags: u8) -> Result<(), DropReason> {
    let now = k.now();
    let mut entry = CtEntry::default();
    entry.is_due(sender, tcp_flags, now, 0);
    entry.note(sender, tcp_flags, k.length());
    entry.refresh(key.protocol == protocol::TCP, sender, tcp_flags, now);
    k.ct_create(key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}
