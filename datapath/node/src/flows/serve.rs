//! Answers to those who ask for flows: one thread for each, which waits for nobody but
//! its reader.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::entry::Entry;
use super::flow::{LostEvents, Record};
use super::reader::Now as _;
use super::store::{Next, Store};
use crate::api::{FlowsEnd, FlowsRequest};

/// How often a thread that follows looks whether its reader is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Writes what the store has, and what comes, as `request` says: records, one a line.
///
/// # Errors
/// When the reader went away, or took too long.
pub(crate) fn stream(
    store: &Store,
    node: &str,
    request: &FlowsRequest,
    to: impl Write,
    is_there: impl Fn() -> bool,
) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    let (entries, position) = store.snapshot();
    for record in choose(&entries, request) {
        line(&mut to, &record)?;
    }
    to.flush()?;
    if request.follow && !follow(store, node, request, position, &mut to, is_there)? {
        return Ok(());
    }
    line(&mut to, &FlowsEnd { end: true })?;
    to.flush()
}

/// Writes what comes; false when the reader went away.
fn follow(
    store: &Store,
    node: &str,
    request: &FlowsRequest,
    mut position: u64,
    to: &mut impl Write,
    is_there: impl Fn() -> bool,
) -> io::Result<bool> {
    loop {
        match store.next(&mut position, LOOK) {
            Next::Entry(entry) => {
                if is_past(&entry, request) {
                    return Ok(true);
                }
                if let Some(record) = wanted(&entry, request) {
                    line(to, &record)?;
                }
            }
            Next::Missed(count) => line(to, &missed(node, count))?,
            Next::Nothing => {
                if !is_there() {
                    return Ok(false);
                }
                let is_over = request
                    .until
                    .is_some_and(|until| until < DateTime::<Utc>::now_at());
                if is_over {
                    return Ok(true);
                }
            }
            Next::Closed => return Ok(true),
        }
        if store.is_read(position) {
            to.flush()?;
        }
    }
}

fn line(to: &mut impl Write, what: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, what)?;
    to.write_all(b"\n")
}

/// Of what is there: all that match, or the first or last so many of them.
fn choose(entries: &[Entry], request: &FlowsRequest) -> Vec<Record> {
    let wanted = |entry| wanted(entry, request);
    let count = request.number.unwrap_or(usize::MAX);
    if request.first {
        return entries.iter().filter_map(wanted).take(count).collect();
    }
    let last = entries.iter().rev().filter_map(wanted).take(count);
    let mut last: Vec<_> = last.collect();
    last.reverse();
    last
}

/// The entry's record, if it is one of those that the request is about.
fn wanted(entry: &Entry, request: &FlowsRequest) -> Option<Record> {
    let is_early = request.since.is_some_and(|since| entry.time < since);
    if is_early || is_past(entry, request) {
        return None;
    }
    let record = entry.record()?;
    let flow = record.flow.as_ref();
    flow.is_none_or(|flow| request.filter.matches(flow))
        .then_some(record)
}

fn is_past(entry: &Entry, request: &FlowsRequest) -> bool {
    request.until.is_some_and(|until| entry.time > until)
}

fn missed(node: &str, count: u64) -> Record {
    Record {
        flow: None,
        lost_events: Some(LostEvents::in_the_store(count)),
        node_name: node.to_owned(),
        time: DateTime::<Utc>::now_at(),
    }
}
