//! What the store keeps: events as the datapath wrote them, with what was known then of
//! who is who. Most are never read, so one becomes a [`Record`] when someone reads it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lab_datapath_common::trace::Event;

use super::directory::Directory;
use super::flow::{LostEvents, Record};
use super::parse::parse;

/// Something that happened on the node.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When.
    pub(super) time: DateTime<Utc>,
    /// What the node's document said then.
    pub(super) directory: Arc<Directory>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// A packet or a socket's call was seen.
    Seen(Event),
    /// So many events found no room in the ring buffer.
    Lost(u64),
}

impl Entry {
    /// As Hubble's API has it; `None` for what is no flow, which the reader keeps out.
    pub(super) fn record(&self) -> Option<Record> {
        let (flow, lost_events) = match &self.what {
            What::Seen(event) => (Some(parse(event, self.time, &self.directory)?), None),
            What::Lost(count) => (None, Some(LostEvents::in_the_datapath(*count))),
        };
        Some(Record {
            flow: flow.map(Box::new),
            lost_events,
            node_name: self.directory.node.clone(),
            time: self.time,
        })
    }
}
