//! Flows to services: which backend a client has, and which service a flow is of.

use super::entry::{CtEntry, Sender};
use super::task::{Step, Task};
use crate::drop_reason::DropReason;
use crate::kernel::{Kernel, Maps};
use crate::tuple::{Direction, Tuple, protocol};

/// Makes sure that a flow to a backend is there and says which service it is of, and
/// counts nothing: whoever tracks the packet does.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn mark_service<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    direction: Direction,
    tcp_flags: u8,
    rev_nat_index: u16,
) -> Result<(), DropReason> {
    let step = match direction {
        Direction::In => Step::MarkServiceIn,
        _ => Step::MarkServiceOut,
    };
    let task = Task {
        rev_nat_index,
        ..Task::new(step, tcp_flags)
    };
    k.ensure(tuple, task)
}

/// The backend that a client's flow to a service has, if it has one of that service.
/// Notes the packet in that flow.
#[inline(always)]
pub fn service_backend<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
    rev_nat_index: u16,
) -> Option<u32> {
    let key = tuple.with_direction(Direction::Service);
    let is_tcp = key.protocol == protocol::TCP;
    let now = k.now();
    let length = k.length();
    k.ct_update(&key, |entry| {
        let sender = Sender::Initiator;
        let is_reopened = is_tcp && entry.is_reopened_by(sender, tcp_flags);
        if entry.lifetime <= now || is_reopened || entry.rev_nat_index != rev_nat_index {
            return 0;
        }
        entry.note(sender, tcp_flags, length);
        entry.refresh(is_tcp, sender, tcp_flags, now);
        entry.backend
    })
}

/// The backend that a client has of a service, whichever that is.
#[inline(always)]
pub fn backend_of<M: Maps>(maps: &M, flow: &Tuple) -> Option<u32> {
    let key = flow.with_direction(Direction::Service);
    maps.ct_update(&key, |entry| entry.backend)
}

/// Remembers which backend a client's flow to a service has.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn open_service<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
    backend: u32,
    rev_nat_index: u16,
) -> Result<(), DropReason> {
    let key = tuple.with_direction(Direction::Service);
    let now = k.now();
    let mut entry = CtEntry {
        backend,
        rev_nat_index,
        ..CtEntry::default()
    };
    entry.note(Sender::Initiator, tcp_flags, k.length());
    let is_tcp = key.protocol == protocol::TCP;
    entry.refresh(is_tcp, Sender::Initiator, tcp_flags, now);
    k.ct_create(&key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}

/// The service that a live flow belongs to.
#[inline(always)]
pub fn service_of<M: Maps>(maps: &M, flow: &Tuple) -> Option<u16> {
    let now = maps.now();
    let index = maps.ct_update(flow, |entry| {
        if entry.lifetime > now {
            entry.rev_nat_index
        } else {
            0
        }
    })?;
    if index == 0 { None } else { Some(index) }
}
