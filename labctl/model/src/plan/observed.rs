//! What a provider saw of a lab: plain data, of which the planner makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::network::{MacAddress, Neighbour, Route};
use crate::lab::Role;
use crate::node_state::NodeState;

/// A lab as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The lab's name.
    pub lab: String,
    /// Whether anything carries that name: a state folder, a cgroup, a mount.
    pub exists: bool,
    /// The L2 segment, when it is there and can be looked into.
    pub segment: Option<ObservedSegment>,
    /// Everything that is or was a node, by name; also those of no lab file.
    pub nodes: BTreeMap<String, ObservedNode>,
}

/// The L2 segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedSegment {
    /// Its ports by name, and whether each forwards: up, and part of the bridge.
    pub ports: BTreeMap<String, bool>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedNode {
    /// Why the node cannot be mended, only made anew: "its pause process is
    /// gone". The other fields mean nothing then.
    pub fault: Option<String>,
    /// What it was made as; none when that record is lost.
    pub role: Option<Role>,
    /// Interfaces by name, those made by hand too.
    pub interfaces: BTreeMap<String, ObservedInterface>,
    /// Routes with `proto static`, which are the lab's.
    pub static_routes: BTreeSet<Route>,
    /// Routes to the same kind of place that somebody else made. Only looked at
    /// where the lab wants a route to that very destination.
    pub other_routes: BTreeSet<Route>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// `net.ipv4.ip_forward`.
    pub forwarding: bool,
    /// Addresses and names in `/etc/hosts`, without localhost.
    pub hosts: Vec<(Ipv4Addr, String)>,
    /// The node's server.
    pub service: Option<ObservedService>,
    /// The node agent, where one was ever started.
    pub agent: Option<ObservedAgent>,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedInterface {
    /// What its other end is plugged into.
    pub cable: Cable,
    /// Hardware address.
    pub mac: MacAddress,
    /// `IFF_UP`.
    pub up: bool,
    /// IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Net>,
}

/// What an interface is plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cable {
    /// A port of the segment.
    Segment {
        /// Name of the port.
        port: String,
    },
    /// A port of the world.
    Outside {
        /// Name of the port.
        port: String,
    },
    /// A node's `eth0`; only the world has such interfaces.
    Node,
    /// What the machine was made with; labctl neither asks nor changes it.
    Given,
    /// Nothing: dummy or loopback.
    None,
    /// Something that no lab makes, or whose other end is gone.
    Other,
}

/// A node's server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedService {
    /// What was last started.
    pub service: Service,
    /// Whether it runs.
    pub alive: bool,
}

/// A server that runs on a node itself, not in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Service {
    /// HTTP on every address of the node.
    Http {
        /// TCP port.
        port: u16,
    },
    /// The outside: HTTP, and the translation of its links.
    World {
        /// One for each other node.
        links: Vec<OutsideLink>,
        /// Text of the zone file that it answers DNS from; without one it answers none.
        #[serde(default)]
        zone: Option<String>,
    },
}

/// A link of the world to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideLink {
    /// Interface in the world.
    pub interface: String,
    /// Address by which the world knows the node: 100.64.0.N.
    pub address: Ipv4Addr,
}

/// A node agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedAgent {
    /// Whether it answers.
    pub alive: bool,
    /// What it last applied.
    pub applied: Option<Arc<NodeState>>,
    /// What in the kernel differs from that, in the agent's words.
    pub drift: Vec<String>,
}
