//! Several nodes' records as one stream, by time.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::flows::Record;

/// How long a record waits for an earlier one of another node while flows are followed.
/// Relay's `sort-buffer-drain-timeout` is a second; these nodes are near.
pub(super) const DRAIN: Duration = Duration::from_millis(100);

/// What a node's thread sends: which node, and a record, or that it was the last.
pub(super) type Sent = (usize, Option<Record>);

/// The records of `nodes` nodes in the order of their times; one node's stay in its order.
/// Without `drain`, a record waits for every node.
pub(super) fn merged(
    nodes: usize,
    receiver: Receiver<Sent>,
    drain: Option<Duration>,
) -> impl Iterator<Item = Record> {
    Merged {
        receiver,
        streams: (0..nodes).map(|_| Stream::default()).collect(),
        drain,
    }
}

#[derive(Default)]
struct Stream {
    has_ended: bool,
    /// With the time at which they came.
    waiting: VecDeque<(Record, Instant)>,
}

struct Merged {
    receiver: Receiver<Sent>,
    streams: Vec<Stream>,
    drain: Option<Duration>,
}

impl Iterator for Merged {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            while let Ok(sent) = self.receiver.try_recv() {
                self.take(sent);
            }
            let silent = |stream: &Stream| !stream.has_ended && stream.waiting.is_empty();
            let is_complete = !self.streams.iter().any(silent);
            let left = match self.earliest() {
                Some(earliest) if is_complete => {
                    return self.streams[earliest].waiting.pop_front().map(|(it, _)| it);
                }
                None if is_complete => return None,
                Some(earliest) => self.left(earliest),
                None => None,
            };
            if left == Some(Duration::ZERO) {
                let earliest = self.earliest()?;
                return self.streams[earliest].waiting.pop_front().map(|(it, _)| it);
            }
            self.wait(left);
        }
    }
}

impl Merged {
    fn take(&mut self, (node, record): Sent) {
        let stream = &mut self.streams[node];
        match record {
            Some(record) => stream.waiting.push_back((record, Instant::now())),
            None => stream.has_ended = true,
        }
    }

    /// The stream with the earliest record of all.
    fn earliest(&self) -> Option<usize> {
        let first = |stream: &Stream| stream.waiting.front().map(|(record, _)| record.time);
        let heads = self.streams.iter().enumerate();
        heads
            .filter_map(|(node, stream)| Some((first(stream)?, node)))
            .min()
            .map(|(_, node)| node)
    }

    /// How long the first record of that stream still waits; `None` for as long as it takes.
    fn left(&self, node: usize) -> Option<Duration> {
        let (_, came) = self.streams[node].waiting.front()?;
        Some(self.drain?.saturating_sub(came.elapsed()))
    }

    fn wait(&mut self, patience: Option<Duration>) {
        let received = match patience {
            Some(patience) => self.receiver.recv_timeout(patience),
            None => self
                .receiver
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(sent) => self.take(sent),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                for stream in &mut self.streams {
                    stream.has_ended = true;
                }
            }
        }
    }
}
