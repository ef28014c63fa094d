//! Asking for flows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::flows::FlowFilter;

/// Which flows, and how many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowsRequest {
    /// Which.
    pub filter: FlowFilter,
    /// The last so many of what is there, or the first; all when absent.
    pub number: Option<usize>,
    /// The first rather than the last.
    pub first: bool,
    /// None that are older.
    pub since: Option<DateTime<Utc>>,
    /// None that are younger.
    pub until: Option<DateTime<Utc>>,
    /// What comes, too.
    pub follow: bool,
}

/// The line behind the last flow: without it, the agent ended in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsEnd {
    /// True.
    pub end: bool,
}

/// A node's store of flows, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// The node.
    pub node: String,
    /// Flows that it remembers.
    pub flows: u64,
    /// Flows that it remembers at most.
    pub capacity: u64,
    /// Flows since the agent started.
    pub seen: u64,
    /// Events that the datapath lost since the agent started.
    pub lost: u64,
    /// Flows a second, over the last minute.
    pub rate: f64,
    /// Seconds since the agent started.
    pub uptime: u64,
}
