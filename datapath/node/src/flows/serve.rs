//! Answers to those who ask for flows: one thread for each, which waits for nobody but
//! its reader.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

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
    let (records, position) = store.snapshot();
    for record in choose(records, request) {
        line(&mut to, &*record)?;
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
            Next::Record(record) => {
                if is_past(&record, request) {
                    return Ok(true);
                }
                if is_wanted(&record, request) {
                    line(to, &*record)?;
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
fn choose(records: Vec<Arc<Record>>, request: &FlowsRequest) -> Vec<Arc<Record>> {
    let wanted = |record: &Arc<Record>| is_wanted(record, request) && !is_past(record, request);
    let count = request.number.unwrap_or(usize::MAX);
    if request.first {
        return records.into_iter().filter(wanted).take(count).collect();
    }
    let mut last: Vec<_> = records
        .into_iter()
        .rev()
        .filter(wanted)
        .take(count)
        .collect();
    last.reverse();
    last
}

fn is_wanted(record: &Record, request: &FlowsRequest) -> bool {
    if request.since.is_some_and(|since| record.time < since) {
        return false;
    }
    match &record.flow {
        Some(flow) => request.filter.matches(flow),
        None => true,
    }
}

fn is_past(record: &Record, request: &FlowsRequest) -> bool {
    request.until.is_some_and(|until| record.time > until)
}

fn missed(node: &str, count: u64) -> Record {
    Record {
        flow: None,
        lost_events: Some(LostEvents {
            source: "HUBBLE_RING_BUFFER".to_owned(),
            num_events_lost: count,
        }),
        node_name: node.to_owned(),
        time: DateTime::<Utc>::now_at(),
    }
}
