//! What the node agent is asked and what it answers: one JSON document a line,
//! over the Unix socket `agent.sock` in the node's folder.

mod client;
mod flows;
mod records;
mod services;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::node_state::NodeState;
use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError};
pub use flows::{FlowStatus, FlowsEnd, FlowsRequest};
pub use records::{CtRecord, FlowKey, IpcacheRecord, MetricRecord, NatRecord};
pub use services::ServiceRecord;

/// File name of the agent's socket in the node's folder.
pub const SOCKET: &str = "agent.sock";
/// File name of the document that the agent last applied, in the node's folder.
pub const STATE_FILE: &str = "node-state.json";

/// What the agent can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Make the kernel match the document; answers [`Response::Status`] when it does.
    Apply {
        /// What the node is to be.
        state: Box<NodeState>,
    },
    /// Answers [`Response::Status`].
    Status,
    /// Starts the workloads of pods anew; answers [`Response::Status`] when that is under
    /// way. DNS servers hand over to the next one, so that no query is lost.
    Restart {
        /// `namespace/name` of each.
        pods: Vec<String>,
    },
    /// What in the kernel differs from the applied document; answers
    /// [`Response::Drift`]. Applying the same document again mends it.
    Drift,
    /// The NAT map; answers [`Response::Nat`].
    Nat,
    /// The destinations that are never masqueraded; answers [`Response::IpMasq`].
    IpMasq,
    /// Whose address it is; answers [`Response::Ipcache`].
    Ipcache,
    /// The conntrack maps; answers [`Response::Conntrack`].
    Conntrack,
    /// The drop counters; answers [`Response::Metrics`].
    Metrics,
    /// Flows; answers with one [`crate::flows::Record`] a line, and [`FlowsEnd`] behind the
    /// last. The connection serves nothing else then.
    Flows(Box<FlowsRequest>),
    /// How many flows there are; answers [`Response::FlowStatus`].
    FlowStatus,
    /// The maps of services; answers [`Response::Services`].
    Services,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// The state of the node.
    Status(Box<Status>),
    /// Differences, one a string; none when the kernel matches.
    Drift {
        /// Such as `lxc1234abcd5678 of default/curl-pod is gone`.
        differences: Vec<String>,
    },
    /// Entries of the NAT map.
    Nat {
        /// Seconds of `CLOCK_MONOTONIC` at the dump, which ages are counted from.
        now: u32,
        /// Both directions.
        entries: Vec<NatRecord>,
    },
    /// Prefixes in the ip-masq-agent's map, in order.
    IpMasq {
        /// Destinations.
        cidrs: Vec<Ipv4Net>,
    },
    /// Entries of the ipcache, in order.
    Ipcache {
        /// Prefixes.
        entries: Vec<IpcacheRecord>,
    },
    /// Entries of the conntrack maps.
    Conntrack {
        /// Both protocols' maps.
        entries: Vec<CtRecord>,
    },
    /// Counters that are not zero.
    Metrics {
        /// Summed over CPUs.
        entries: Vec<MetricRecord>,
    },
    /// How many flows there are.
    FlowStatus(FlowStatus),
    /// Services as the maps hold them.
    Services {
        /// By id and scope.
        entries: Vec<ServiceRecord>,
    },
    /// The request was not carried out.
    Failed {
        /// Why, as a fragment that fits after "failed to".
        message: String,
    },
}

/// The state of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's process.
    pub pid: u32,
    /// What was last applied.
    pub applied: Option<NodeState>,
    /// How the programs are attached; none until something is applied.
    pub attach_mode: Option<AttachMode>,
    /// Devices with programs: those of the document that exist.
    pub devices: Vec<DeviceStatus>,
    /// The pods of the document, in its order.
    pub pods: Vec<PodStatus>,
    /// The ip-masq-agent, when enabled.
    pub ip_masq_agent: Option<IpMasqAgentStatus>,
    /// Garbage collection of conntrack and NAT entries.
    pub garbage_collection: GarbageCollectionStatus,
}

/// How programs are attached to interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// TCX links (Linux 6.6).
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

/// A managed device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// What flows that leave here are masqueraded to.
    pub address: Option<Ipv4Addr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Address of its `eth0`.
    pub address: Ipv4Addr,
    /// Whether its workload runs and, if it is a server, accepts connections.
    pub ready: bool,
    /// How often the workload ended and was started again.
    pub restarts: u32,
    /// The workload's process, in the agent's PID namespace.
    pub pid: Option<i32>,
    /// When it started, in seconds since 1970.
    pub started: Option<u64>,
    /// Why it is not ready.
    pub message: Option<String>,
}

/// The ip-masq-agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpMasqAgentStatus {
    /// Destinations in the map.
    pub cidrs: usize,
    /// Why the configuration file was not taken over; the map has what the last
    /// good one said.
    pub error: Option<String>,
}

/// Garbage collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageCollectionStatus {
    /// Passes since the agent started.
    pub runs: u64,
    /// Conntrack entries deleted in all passes.
    pub conntrack_deleted: u64,
    /// NAT entries deleted in all passes, both directions counted.
    pub nat_deleted: u64,
    /// Seconds between the last pass and the next.
    pub interval: u64,
    /// Why the last pass failed.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests;
