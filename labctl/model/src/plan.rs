//! The plan from what is to what should be.
//!
//! [`Observed`] is what a provider saw, [`Desired`] what the lab file asks for;
//! [`plan`] compares them and lists [`Action`]s, each with its reason. Nothing
//! here touches a system: a provider's executor interprets the actions, and the
//! same [`undo`] takes them back. `down` is a plan towards nothing, and the plan
//! of a lab that is as it should be is empty.
//!
//! A change is planned for everything that depends on what changes: an interface
//! made anew loses its routes, a world made anew takes every `eth0` with it, a
//! new node is a new peer of all others. Each of those is a step of its own, with
//! that reason, so that no neighbour is touched unseen (containerlab#3379).

mod action;
mod cables;
mod desired;
mod links;
mod network;
mod node;
mod observed;
mod shell;
mod state_changes;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use action::{Action, Hosts, Phase};
use cables::Cables;
use desired::DesiredNode;
pub use desired::{Desired, Wiring};
pub use network::{
    BRIDGE, MacAddress, Neighbour, OUTSIDE_ADDRESS, OUTSIDE_DNS, OUTSIDE_GATEWAY,
    OUTSIDE_INTERFACE, Route, SEGMENT_INTERFACE, WORLD_INTERFACE, port_name,
};
use node::NodePlanner;
pub use observed::{
    Cable, Observed, ObservedAgent, ObservedInterface, ObservedNode, ObservedSegment,
    ObservedService, OutsideLink, Service,
};
pub use state_changes::state_changes;
pub use undo::{Undo, undo};

use crate::lab::Role;

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps; ascending in [`Action::phase`].
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One action, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Why: a fragment, such as "eth1 of k8s-w2 is missing".
    pub reason: String,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}  # {}", self.action, self.reason)
    }
}

/// What leads from `observed` to `desired`, or to nothing at all.
#[must_use]
pub fn plan(desired: Option<Desired<'_>>, observed: &Observed) -> Plan {
    let mut steps = match desired {
        Some(desired) => Planner::new(desired, observed).steps(),
        None => removal(observed),
    };
    // Stable: within a phase, the order of the lab file.
    steps.sort_by_key(|step| step.action.phase());
    Plan { steps }
}

fn step(action: Action, reason: impl Into<String>) -> Step {
    Step {
        action,
        reason: reason.into(),
    }
}

/// The plan towards nothing. Interfaces go with the namespaces or machines that
/// they are in, all of which go.
fn removal(observed: &Observed) -> Vec<Step> {
    const REASON: &str = "the lab goes down";
    let mut steps = Vec::new();
    for node in observed.nodes.keys() {
        steps.push(step(Action::DeleteNode { node: node.clone() }, REASON));
    }
    if observed.segment.is_some() {
        steps.push(step(Action::DeleteSegment, REASON));
    }
    if observed.exists {
        steps.push(step(
            Action::RemoveLab {
                lab: observed.lab.clone(),
            },
            REASON,
        ));
    }
    steps
}

/// Compares whole labs; [`NodePlanner`] compares one node.
struct Planner<'a> {
    desired: Desired<'a>,
    observed: &'a Observed,
    nodes: Vec<DesiredNode<'a>>,
    /// Why a node is made, by name; those that stay are not in here.
    made: BTreeMap<&'a str, String>,
    /// Why a node goes, by name; those that are made anew are in both.
    gone: BTreeMap<&'a str, String>,
}

impl<'a> Planner<'a> {
    fn new(desired: Desired<'a>, observed: &'a Observed) -> Self {
        let nodes = desired.nodes(observed);
        let mut made = BTreeMap::new();
        let mut gone = BTreeMap::new();
        for node in &nodes {
            match observed.nodes.get(node.name) {
                None => {
                    made.insert(node.name, format!("{} is new", node.name));
                }
                Some(seen) => {
                    if let Some(reason) = beyond_repair(node, seen) {
                        made.insert(node.name, reason.clone());
                        gone.insert(node.name, reason);
                    }
                }
            }
        }
        let wanted: BTreeSet<_> = nodes.iter().map(|node| node.name).collect();
        for name in observed.nodes.keys() {
            if !wanted.contains(name.as_str()) {
                gone.insert(name, format!("{name} is not in the lab file"));
            }
        }
        Self {
            desired,
            observed,
            nodes,
            made,
            gone,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let lab = &self.observed.lab;
        let mut steps = Vec::new();
        if !self.observed.exists {
            steps.push(step(
                Action::CreateLab { lab: lab.clone() },
                format!("{lab} is new"),
            ));
        }
        if self.observed.segment.is_none() {
            steps.push(step(Action::CreateSegment, "the segment is missing"));
        }
        self.remove_nodes(&mut steps);
        self.remove_stray_ports(&mut steps);
        let hosts: Hosts = self.desired.hosts().into();
        let world = self.desired.world().map(|world| world.name.as_str());
        let cables = Cables::compare(&self.nodes, self.observed, &self.made, world);
        for node in &self.nodes {
            self.node_planner(node, &hosts, &cables).plan(&mut steps);
        }
        steps
    }

    fn node_planner<'b>(
        &'b self,
        node: &'b DesiredNode<'a>,
        hosts: &'b Hosts,
        cables: &'b Cables<'b>,
    ) -> NodePlanner<'b> {
        let made = self.made.get(node.name).map(String::as_str);
        NodePlanner {
            lab: &self.observed.lab,
            wiring: self.desired.wiring,
            desired: node,
            hosts,
            observed: self
                .observed
                .nodes
                .get(node.name)
                .filter(|_| made.is_none()),
            made,
            segment: self.observed.segment.as_ref(),
            world: self.desired.world().map(|world| world.name.as_str()),
            cables,
        }
    }

    /// A node goes after the far ends of its cables: those outlive its namespace
    /// for as long as the kernel takes to clean that up, and would be in the way
    /// of a new node's cables of the same names.
    fn remove_nodes(&self, steps: &mut Vec<Step>) {
        for (name, reason) in &self.gone {
            let port = port_name(name);
            if self.ports().any(|it| *it == port) {
                steps.push(step(Action::DetachSegment { port }, reason.as_str()));
            }
            for (other, far) in self.far_ends(name) {
                let action = Action::DeleteInterface {
                    node: other,
                    interface: far,
                };
                steps.push(step(action, reason.as_str()));
            }
            let node = (*name).to_owned();
            steps.push(step(Action::DeleteNode { node }, reason.as_str()));
        }
    }

    /// Ports of the segment that are labctl's to plug and unplug.
    fn ports(&self) -> impl Iterator<Item = &String> {
        let segment = self.observed.segment.as_ref();
        let segment = segment.filter(|_| self.desired.wiring == Wiring::Cables);
        segment.into_iter().flat_map(|it| it.ports.keys())
    }

    /// Ends of `node`'s outside cables in nodes that stay.
    fn far_ends(&self, node: &str) -> Vec<(String, String)> {
        let is_world = self.desired.world().is_some_and(|world| world.name == node);
        let was_world = self.observed.nodes.get(node).and_then(|it| it.role) == Some(Role::World);
        let port = port_name(node);
        let stays = |name: &str| !self.gone.contains_key(name);
        let others = self.observed.nodes.iter().filter(|(name, _)| stays(name));
        let mut ends = Vec::new();
        for (other, seen) in others {
            for (interface, at) in &seen.interfaces {
                let ours = at.mac == MacAddress::of(&self.observed.lab, other, interface);
                let to_world = (is_world || was_world) && interface == OUTSIDE_INTERFACE;
                let to_node = seen.role == Some(Role::World) && *interface == port;
                if ours && (to_world || to_node) {
                    ends.push((other.clone(), interface.clone()));
                }
            }
        }
        ends
    }

    /// Ports that no node of the lab file is plugged into, which an interrupted
    /// `up` may have left. Those of nodes that go are removed with them.
    fn remove_stray_ports(&self, steps: &mut Vec<Step>) {
        let wanted = self.nodes.iter().filter(|node| node.role != Role::World);
        let wanted: BTreeSet<_> = wanted.map(|node| port_name(node.name)).collect();
        let going: BTreeSet<_> = self.gone.keys().map(|node| port_name(node)).collect();
        for port in self.ports() {
            if !wanted.contains(port) && !going.contains(port) {
                let reason = format!("port {port} leads to no node of the lab file");
                steps.push(step(Action::DetachSegment { port: port.clone() }, reason));
            }
        }
    }
}

/// Why a node must be made anew, if it must.
fn beyond_repair(desired: &DesiredNode<'_>, seen: &ObservedNode) -> Option<String> {
    let name = desired.name;
    if let Some(fault) = &seen.fault {
        return Some(format!("{name} cannot be mended: {fault}"));
    }
    let given = desired.interfaces.iter();
    let mut given = given.filter(|(_, wanted)| wanted.cable == Cable::Given);
    if let Some((missing, _)) = given.find(|(it, _)| !seen.interfaces.contains_key(*it)) {
        return Some(format!("{name} cannot be mended: it has no {missing}"));
    }
    match seen.role {
        None => Some(format!("what {name} was made as is not on record")),
        // Both run pods and an agent; what differs is in their NodeState.
        Some(was) if was.runs_pods() && desired.role.runs_pods() => None,
        Some(was) if was == desired.role => None,
        Some(was) => Some(format!("{name} was a {was} and is now a {}", desired.role)),
    }
}
