//! Actions as a user would type them: on the host whose namespaces are the nodes,
//! or on the machines that are.

use std::fmt;

use super::action::Action;
use super::desired::Wiring;
use super::network::{BRIDGE, Neighbour, OUTSIDE_INTERFACE, SEGMENT_INTERFACE};
use super::observed::Service;

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shell(Wiring::Cables).fmt(out)
    }
}

impl Action {
    /// The shell line that would do about the same, where nodes are wired so.
    #[must_use]
    pub fn shell(&self, wiring: Wiring) -> impl fmt::Display {
        let action = self;
        Shell { action, wiring }
    }
}

struct Shell<'a> {
    action: &'a Action,
    wiring: Wiring,
}

impl fmt::Display for Shell<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, self.wiring) {
            (Action::ApplyState { node, state, .. }, _) => {
                let (pods, peers) = (state.pods.len(), state.peers.len());
                write!(
                    out,
                    "labctl node apply {node}  # {pods} pods, {peers} peers"
                )
            }
            (Action::StopService { node, .. }, _) => write!(out, "kill the server of {node}"),
            (Action::StopAgent { node }, _) => write!(out, "kill the agent of {node}"),
            (Action::SetForwarding { enabled, .. }, _) => {
                let value = u8::from(*enabled);
                self.command(out, format_args!("sysctl -w net.ipv4.ip_forward={value}"))
            }
            (Action::SetHosts { hosts, .. }, _) => {
                let names = hosts.len();
                self.command(out, format_args!("tee /etc/hosts  # {names} names"))
            }
            (Action::StartService { service, .. }, _) => match service {
                Service::Http { port } => {
                    self.command(out, format_args!("labctl app http --port {port} &"))
                }
                Service::World { .. } => self.command(out, format_args!("labctl app world &")),
            },
            (Action::StartAgent { .. }, _) => self.command(out, format_args!("labctl node &")),
            (_, Wiring::Cables) => self.namespaces(out),
            (_, Wiring::Machines) => self.machines(out),
        }
    }
}

impl Shell<'_> {
    fn node(&self) -> &str {
        self.action.node().unwrap_or_default()
    }

    /// A command within the node.
    fn command(&self, out: &mut fmt::Formatter<'_>, command: fmt::Arguments<'_>) -> fmt::Result {
        let node = self.node();
        match self.wiring {
            Wiring::Cables => write!(out, "ip netns exec {node} {command}"),
            Wiring::Machines => write!(out, "ssh {node} {command}"),
        }
    }

    /// Places that are namespaces.
    fn namespaces(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::CreateLab { lab } => write!(out, "mkdir -m 700 /run/labctl/{lab}"),
            Action::RemoveLab { lab } => write!(out, "rm -r /run/labctl/{lab}"),
            Action::CreateSegment => {
                write!(
                    out,
                    "ip netns add fabric; ip -n fabric link add {BRIDGE} up type bridge"
                )
            }
            Action::DeleteSegment => write!(out, "ip netns del fabric"),
            Action::DetachSegment { port } => write!(out, "ip -n fabric link del {port}"),
            Action::ConnectPort { port } => {
                write!(out, "ip -n fabric link set {port} up master {BRIDGE}")
            }
            Action::CreateNode { node, .. } => write!(out, "ip netns add {node}"),
            Action::DeleteNode { node } => write!(out, "ip netns del {node}"),
            _ => {
                write!(out, "ip -n {} ", self.node())?;
                self.ip(out)
            }
        }
    }

    /// Places that are machines. How they come and go is their provider's.
    fn machines(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::CreateLab { lab } => write!(out, "begin the state of {lab}"),
            Action::RemoveLab { lab } => write!(out, "remove the state of {lab}"),
            Action::CreateSegment => write!(out, "start the segment's switch"),
            Action::DeleteSegment => write!(out, "stop the segment's switch"),
            Action::DetachSegment { port } => write!(out, "unplug {port} from the segment"),
            Action::ConnectPort { port } => write!(out, "plug {port} into the segment"),
            Action::CreateNode { node, .. } => write!(out, "make and claim {node}"),
            Action::DeleteNode { node } => write!(out, "release and remove {node}"),
            _ => {
                write!(out, "ssh {} ip ", self.node())?;
                self.ip(out)
            }
        }
    }

    /// The operands of the one `ip` command that is the change within a node.
    fn ip(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::AttachSegment { port, mac, .. } => write!(
                out,
                "link add {SEGMENT_INTERFACE} up address {mac} type veth peer name {port} netns fabric"
            ),
            Action::AttachOutside {
                mac, world, port, ..
            } => write!(
                out,
                "link add {OUTSIDE_INTERFACE} up address {mac} type veth peer name {port} netns {world}"
            ),
            Action::AddDummy { interface, mac, .. } => {
                write!(out, "link add {interface} up address {mac} type dummy")
            }
            Action::SetUp { interface, .. } => write!(out, "link set {interface} up"),
            Action::DeleteInterface { interface, .. } => write!(out, "link del {interface}"),
            Action::AddAddress {
                interface, address, ..
            } => {
                write!(out, "addr add {address} dev {interface}")
            }
            Action::DeleteAddress {
                interface, address, ..
            } => {
                write!(out, "addr del {address} dev {interface}")
            }
            Action::ReplaceRoute {
                route, was: None, ..
            } => {
                write!(out, "route add {route} proto static")
            }
            Action::ReplaceRoute {
                route,
                was: Some(_),
                ..
            } => {
                write!(out, "route replace {route} proto static")
            }
            Action::DeleteRoute { route, .. } => write!(out, "route del {route}"),
            Action::SetNeighbour { neighbour, .. } => write!(out, "neigh replace {neighbour}"),
            Action::DeleteNeighbour {
                neighbour: Neighbour { address, dev, .. },
                ..
            } => {
                write!(out, "neigh del {address} dev {dev}")
            }
            _ => Ok(()),
        }
    }
}
