//! The thread that reads the datapath's ring buffer.

use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use chrono::{DateTime, TimeDelta, Utc};
use lab_datapath_common::endpoint::identity;
use lab_datapath_common::trace::Event;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::time::{ClockId, clock_gettime};

use super::directory::Directory;
use super::entry::{Entry, What};
use super::parse::{is_flow, parse, tcp_ports};
use super::peers::PORT;
use super::store::Store;

/// Flows that go into the store at once: as many as a reader may miss by a hair.
const BATCH: usize = 256;

/// Milliseconds in which events gather before the thread looks again. The kernel wakes it
/// for an event that finds the buffer read to its end: a thread that keeps up would be
/// woken for each. The buffer has room for what 500 000 events/s leave meanwhile.
const GATHER: u8 = 5;

/// The directory in use; the agent puts a new one in its place.
pub(crate) type CurrentDirectory = Arc<Mutex<Arc<Directory>>>;

/// The maps that the thread reads.
pub(crate) struct Events {
    /// `cilium_events`
    pub(crate) ring: RingBuf<MapData>,
    /// `cilium_events_lost`
    pub(crate) lost: PerCpuArray<MapData, u64>,
}

/// A running thread; ends when dropped.
pub(crate) struct Reader {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts reading. What is in the ring buffer from before comes first.
    ///
    /// # Errors
    /// When the kernel has no eventfd or thread to give.
    pub(crate) fn start(
        events: Events,
        store: Arc<Store>,
        directory: CurrentDirectory,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(EventFd::new()?);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("flows".to_owned())
            .spawn(move || read(events, &store, &directory, &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It cannot be full: this is the only write.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; there is nothing more to say.
            let _ = thread.join();
        }
    }
}

fn read(mut events: Events, store: &Store, directory: &CurrentDirectory, stop: &EventFd) {
    let mut lost = lost_events(&events);
    while !waits(Some(&events.ring), stop, PollTimeout::NONE) {
        let directory = Arc::clone(&directory.lock().unwrap_or_else(PoisonError::into_inner));
        let booted = booted();
        while drain(&mut events.ring, &directory, booted, store) {}
        let now_lost = lost_events(&events);
        if now_lost > lost {
            store.extend([Entry {
                time: DateTime::<Utc>::now_at(),
                directory,
                what: What::Lost(now_lost - lost),
            }]);
            lost = now_lost;
        }
        if waits(None, stop, GATHER.into()) {
            return;
        }
    }
}

/// Waits for events, or for no more than `patience`; true when the thread is to end.
fn waits(ring: Option<&RingBuf<MapData>>, stop: &EventFd, patience: PollTimeout) -> bool {
    let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    fds.extend(ring.map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN)));
    match poll(&mut fds, patience) {
        Ok(_) => fds[0].any().unwrap_or(true),
        // The descriptors are open and the list is short: there is no other error.
        Err(error) => error != Errno::EINTR,
    }
}

/// Moves up to a batch of events into the store; false when none is left.
fn drain(
    ring: &mut RingBuf<MapData>,
    directory: &Arc<Directory>,
    booted: DateTime<Utc>,
    store: &Store,
) -> bool {
    let mut entries = Vec::with_capacity(BATCH);
    let mut taken = 0;
    while taken < BATCH {
        let Some(item) = ring.next() else {
            break;
        };
        taken += 1;
        let Some(event) = event(&item) else {
            continue;
        };
        let since_boot = TimeDelta::nanoseconds(i64::try_from(event.time).unwrap_or(i64::MAX));
        let time = booted.checked_add_signed(since_boot).unwrap_or(booted);
        if is_flow(&event, directory) && !is_about_flows(&event, directory) {
            entries.push(Entry {
                time,
                directory: Arc::clone(directory),
                what: What::Seen(event),
            });
        }
    }
    store.extend(entries);
    taken == BATCH
}

/// Whether it is a packet that carries flows from node to node: following flows would
/// otherwise be a reason for flows, without end.
fn is_about_flows(event: &Event, directory: &Directory) -> bool {
    let has_port = tcp_ports(event).is_some_and(|ports| ports.contains(&PORT));
    // Only the few that have it are worth a look at who they are between.
    has_port
        && parse(event, DateTime::UNIX_EPOCH, directory).is_some_and(|flow| {
            let ends = [flow.source.identity, flow.destination.identity];
            let (host, remote) = (identity::HOST, identity::REMOTE_NODE);
            ends == [host, remote] || ends == [remote, host]
        })
}

/// An entry of the ring buffer; `None` when an older datapath wrote it.
fn event(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: there are as many bytes, and any bytes are an event (it is `aya::Pod`).
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<Event>()) })
}

fn lost_events(events: &Events) -> u64 {
    let values = events.lost.get(&0, 0);
    values.map_or(0, |values| values.iter().sum())
}

/// When `CLOCK_MONOTONIC` was 0, by the wall clock as it goes now.
fn booted() -> DateTime<Utc> {
    let now = DateTime::<Utc>::now_at();
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(TimeDelta::zero(), |time| {
        TimeDelta::seconds(time.tv_sec()) + TimeDelta::nanoseconds(time.tv_nsec())
    });
    now - monotonic
}

/// The wall clock.
pub(crate) trait Now {
    /// Now.
    fn now_at() -> Self;
}

impl Now for DateTime<Utc> {
    fn now_at() -> Self {
        std::time::SystemTime::now().into()
    }
}
