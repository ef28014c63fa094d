//! The way of events to the agent, for any program.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lab_datapath_common::trace::Event;

use crate::maps;

/// Has `fill` say what the event is about, and sends it with the time. Without room it is
/// lost, and counted.
#[inline(always)]
pub(crate) fn send(fill: impl FnOnce(&mut Event)) {
    let Some(mut entry) = maps::EVENTS.reserve(0) else {
        if let Some(lost) = maps::EVENTS_LOST.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's own.
            unsafe { *lost += 1 };
        }
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the entry is room for one event, which zeros are.
    unsafe { event.write_bytes(0, 1) };
    // SAFETY: written just now, and nobody else's before it is submitted.
    let said = unsafe { &mut *event };
    // SAFETY: the helper takes no arguments.
    said.time = unsafe { bpf_ktime_get_ns() };
    fill(said);
    entry.submit(0);
}
