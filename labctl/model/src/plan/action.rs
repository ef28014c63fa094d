//! Actions: what a plan is made of. Pure data, the same for every provider; one
//! executor interprets them all.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network::{BRIDGE, MacAddress, Neighbour, OUTSIDE_INTERFACE, Route, SEGMENT_INTERFACE};
use super::observed::Service;
use crate::lab::Role;
use crate::node_state::NodeState;

/// Addresses and names for `/etc/hosts`; shared, for every node has them all.
pub type Hosts = Arc<[(Ipv4Addr, String)]>;

/// One change. Printed, it is the shell line that would do about the same.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "each action says what it does; its fields only name to what"
)]
pub enum Action {
    /// Make the place where the lab's state is kept.
    CreateLab { lab: String },
    /// Make the L2 segment.
    CreateSegment,
    /// Make a node: running, its loopback up, forwarding as its role asks, no
    /// other interface.
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

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLab { lab } => write!(out, "mkdir -m 700 /run/labctl/{lab}"),
            Self::RemoveLab { lab } => write!(out, "rm -r /run/labctl/{lab}"),
            Self::CreateSegment => {
                write!(
                    out,
                    "ip netns add fabric; ip -n fabric link add {BRIDGE} up type bridge"
                )
            }
            Self::DeleteSegment => write!(out, "ip netns del fabric"),
            Self::DetachSegment { port } => write!(out, "ip -n fabric link del {port}"),
            Self::ConnectPort { port } => {
                write!(out, "ip -n fabric link set {port} up master {BRIDGE}")
            }
            Self::CreateNode { node, .. } => write!(out, "ip netns add {node}"),
            Self::DeleteNode { node } => write!(out, "ip netns del {node}"),
            Self::SetForwarding { node, enabled } => {
                let value = u8::from(*enabled);
                write!(
                    out,
                    "ip netns exec {node} sysctl -w net.ipv4.ip_forward={value}"
                )
            }
            Self::SetHosts { node, hosts, .. } => {
                write!(
                    out,
                    "ip netns exec {node} tee /etc/hosts  # {} names",
                    hosts.len()
                )
            }
            Self::StopService { node, .. } => write!(out, "kill the server of {node}"),
            Self::StopAgent { node } => write!(out, "kill the agent of {node}"),
            Self::StartService {
                node,
                service: Service::Http { port },
            } => {
                write!(out, "ip netns exec {node} labctl app http --port {port} &")
            }
            Self::StartService {
                node,
                service: Service::World { .. },
            } => {
                write!(out, "ip netns exec {node} labctl app world &")
            }
            Self::StartAgent { node } => write!(out, "ip netns exec {node} labctl node &"),
            Self::ApplyState { node, state, .. } => {
                let (pods, peers) = (state.pods.len(), state.peers.len());
                write!(
                    out,
                    "labctl node apply {node}  # {pods} pods, {peers} peers"
                )
            }
            _ => self.fmt_ip(out),
        }
    }
}

impl Action {
    /// The changes that are one `ip` command within the node.
    fn fmt_ip(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node() {
            write!(out, "ip -n {node} ")?;
        }
        match self {
            Self::AttachSegment { port, mac, .. } => write!(
                out,
                "link add {SEGMENT_INTERFACE} up address {mac} type veth peer name {port} netns fabric"
            ),
            Self::AttachOutside {
                mac, world, port, ..
            } => write!(
                out,
                "link add {OUTSIDE_INTERFACE} up address {mac} type veth peer name {port} netns {world}"
            ),
            Self::AddDummy { interface, mac, .. } => {
                write!(out, "link add {interface} up address {mac} type dummy")
            }
            Self::SetUp { interface, .. } => write!(out, "link set {interface} up"),
            Self::DeleteInterface { interface, .. } => write!(out, "link del {interface}"),
            Self::AddAddress {
                interface, address, ..
            } => {
                write!(out, "addr add {address} dev {interface}")
            }
            Self::DeleteAddress {
                interface, address, ..
            } => {
                write!(out, "addr del {address} dev {interface}")
            }
            Self::ReplaceRoute {
                route, was: None, ..
            } => {
                write!(out, "route add {route} proto static")
            }
            Self::ReplaceRoute {
                route,
                was: Some(_),
                ..
            } => {
                write!(out, "route replace {route} proto static")
            }
            Self::DeleteRoute { route, .. } => write!(out, "route del {route}"),
            Self::SetNeighbour { neighbour, .. } => write!(out, "neigh replace {neighbour}"),
            Self::DeleteNeighbour {
                neighbour: Neighbour { address, dev, .. },
                ..
            } => {
                write!(out, "neigh del {address} dev {dev}")
            }
            _ => Ok(()),
        }
    }
}
