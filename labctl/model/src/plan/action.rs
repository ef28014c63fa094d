//! Actions: what a plan is made of. Pure data, the same for every provider; one
//! executor interprets them all.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::network::{MacAddress, Neighbour, Route};
use super::observed::Service;
use crate::lab::Role;
use crate::node_state::NodeState;

/// Addresses and names for `/etc/hosts`; shared, for every node has them all.
pub type Hosts = Arc<[(Ipv4Addr, String)]>;

/// One change. Printed, it is the shell line that would do about the same; on
/// machines, [`Action::shell`] prints it as it would be typed there. As JSON it is
/// how a machine is asked to do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each action says what it does; its fields only name to what"
)]
pub enum Action {
    /// Make the place where the lab's state is kept.
    CreateLab { lab: String },
    /// Make the L2 segment.
    CreateSegment,
    /// Make a node: running, its loopback up, forwarding as its role asks. It has
    /// no other interface, or, where machines bring theirs, those, up.
    CreateNode {
        node: String,
        role: Role,
        hosts: Hosts,
    },

    /// Stop a node's server.
    StopService { node: String, was: Option<Service> },
    /// Stop the node agent; its datapath and its pods stay.
    StopAgent { node: String },
    /// Remove a port of the segment, and with it the interface at its other end.
    DetachSegment { port: String },
    /// Remove an interface, and with it whatever is at its other end.
    DeleteInterface { node: String, interface: String },
    /// End everything that runs on a node, and remove it.
    DeleteNode { node: String },
    /// Remove the L2 segment.
    DeleteSegment,

    /// Plug a node's `eth1` into the segment, both ends up.
    AttachSegment {
        node: String,
        port: String,
        mac: MacAddress,
    },
    /// Make a port that is there forward again.
    ConnectPort { port: String },
    /// Plug a node's `eth0` into the world, both ends up.
    AttachOutside {
        node: String,
        mac: MacAddress,
        world: String,
        port: String,
        port_mac: MacAddress,
    },
    /// Make a dummy interface, up.
    AddDummy {
        node: String,
        interface: String,
        mac: MacAddress,
    },
    /// Set an interface up.
    SetUp { node: String, interface: String },

    /// Remove an address.
    DeleteAddress {
        node: String,
        interface: String,
        address: Ipv4Net,
    },
    /// Add an address, if it is not there.
    AddAddress {
        node: String,
        interface: String,
        address: Ipv4Net,
    },

    /// Set `net.ipv4.ip_forward`.
    SetForwarding { node: String, enabled: bool },
    /// Remove a route.
    DeleteRoute { node: String, route: Route },
    /// Add a route, in the place of another to the same destination.
    ReplaceRoute {
        node: String,
        route: Route,
        was: Option<Route>,
    },
    /// Remove a permanent neighbour.
    DeleteNeighbour { node: String, neighbour: Neighbour },
    /// Add a permanent neighbour.
    SetNeighbour { node: String, neighbour: Neighbour },
    /// Write `/etc/hosts`.
    SetHosts {
        node: String,
        hosts: Hosts,
        was: Hosts,
    },

    /// Start a node's server, and wait until it answers.
    StartService { node: String, service: Service },
    /// Start the node agent, and wait until it answers.
    StartAgent { node: String },
    /// Have the node agent make the kernel match a `NodeState`.
    ApplyState {
        node: String,
        state: Arc<NodeState>,
        was: Option<Arc<NodeState>>,
    },

    /// Remove the lab's state: the last trace of it.
    RemoveLab { lab: String },
}

/// Steps of one phase depend on nothing in their own phase, and on everything
/// in the phases before it: an executor may do a phase's steps at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The place for state.
    Lab,
    /// Servers that must not see their interfaces go.
    Stop,
    /// Interfaces that go before what they are plugged into.
    Detach,
    /// Nodes that go.
    DeleteNodes,
    /// The segment goes.
    DeleteSegment,
    /// The segment.
    Segment,
    /// Nodes.
    Nodes,
    /// Interfaces.
    Links,
    /// Routes that go: those of an address that goes would go with it unseen,
    /// and could not be put back.
    DeleteRoutes,
    /// Addresses that go: before others come, since removing a primary address removes the
    /// secondary ones of its network.
    DeleteAddresses,
    /// Addresses.
    Addresses,
    /// Routes, neighbours, settings.
    Routes,
    /// Servers and agents.
    Processes,
    /// What the agents apply.
    States,
    /// The last trace.
    Remove,
}

impl Action {
    /// When it is done, relative to others.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::CreateLab { .. } => Phase::Lab,
            Self::StopService { .. } | Self::StopAgent { .. } => Phase::Stop,
            Self::DetachSegment { .. } | Self::DeleteInterface { .. } => Phase::Detach,
            Self::DeleteNode { .. } => Phase::DeleteNodes,
            Self::DeleteSegment => Phase::DeleteSegment,
            Self::CreateSegment => Phase::Segment,
            Self::CreateNode { .. } => Phase::Nodes,
            Self::AttachSegment { .. }
            | Self::ConnectPort { .. }
            | Self::AttachOutside { .. }
            | Self::AddDummy { .. }
            | Self::SetUp { .. } => Phase::Links,
            Self::DeleteRoute { .. } => Phase::DeleteRoutes,
            Self::DeleteAddress { .. } => Phase::DeleteAddresses,
            Self::AddAddress { .. } => Phase::Addresses,
            Self::SetForwarding { .. }
            | Self::ReplaceRoute { .. }
            | Self::DeleteNeighbour { .. }
            | Self::SetNeighbour { .. }
            | Self::SetHosts { .. } => Phase::Routes,
            Self::StartService { .. } | Self::StartAgent { .. } => Phase::Processes,
            Self::ApplyState { .. } => Phase::States,
            Self::RemoveLab { .. } => Phase::Remove,
        }
    }

    /// The node that it changes; none for the lab and its segment.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::CreateLab { .. }
            | Self::RemoveLab { .. }
            | Self::CreateSegment
            | Self::DeleteSegment
            | Self::DetachSegment { .. }
            | Self::ConnectPort { .. } => None,
            Self::CreateNode { node, .. }
            | Self::DeleteNode { node }
            | Self::StopService { node, .. }
            | Self::StopAgent { node }
            | Self::DeleteInterface { node, .. }
            | Self::AttachSegment { node, .. }
            | Self::AttachOutside { node, .. }
            | Self::AddDummy { node, .. }
            | Self::SetUp { node, .. }
            | Self::DeleteAddress { node, .. }
            | Self::AddAddress { node, .. }
            | Self::SetForwarding { node, .. }
            | Self::DeleteRoute { node, .. }
            | Self::ReplaceRoute { node, .. }
            | Self::DeleteNeighbour { node, .. }
            | Self::SetNeighbour { node, .. }
            | Self::SetHosts { node, .. }
            | Self::StartService { node, .. }
            | Self::StartAgent { node }
            | Self::ApplyState { node, .. } => Some(node),
        }
    }
}
