//! The steps of one node.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::action::{Action, Hosts};
use super::cables::Cables;
use super::desired::{DesiredNode, Wiring};
use super::network::Route;
use super::observed::{ObservedNode, ObservedSegment, ObservedService};
use super::state_changes::state_changes;
use super::{Step, step};
use crate::lab::Role;

/// Compares one node with what was seen of it.
pub(super) struct NodePlanner<'a> {
    pub(super) lab: &'a str,
    pub(super) wiring: Wiring,
    pub(super) desired: &'a DesiredNode<'a>,
    pub(super) hosts: &'a Hosts,
    /// None when the node is made by this plan.
    pub(super) observed: Option<&'a ObservedNode>,
    /// Why it is made, if it is.
    pub(super) made: Option<&'a str>,
    pub(super) segment: Option<&'a ObservedSegment>,
    pub(super) world: Option<&'a str>,
    pub(super) cables: &'a Cables<'a>,
}

/// What later comparisons must know of the earlier ones.
#[derive(Default)]
pub(super) struct Disturbed {
    /// Interfaces made by this plan: without addresses and routes.
    pub(super) attached: BTreeSet<String>,
    /// Interfaces that lose or gain an address; the kernel removes an
    /// interface's routes with its last address.
    pub(super) readdressed: BTreeSet<String>,
    /// The first reason for which a cluster node's datapath may be disturbed.
    reason: Option<String>,
}

impl Disturbed {
    pub(super) fn because(&mut self, reason: &str) {
        self.reason.get_or_insert_with(|| reason.to_owned());
    }
}

impl NodePlanner<'_> {
    pub(super) fn plan(&self, steps: &mut Vec<Step>) {
        let mut disturbed = Disturbed::default();
        self.node(steps);
        self.strays(steps, &mut disturbed);
        for (name, wanted) in &self.desired.interfaces {
            self.interface(steps, &mut disturbed, name, wanted);
            self.addresses(steps, &mut disturbed, name, wanted);
        }
        self.routes(steps, &disturbed);
        self.neighbours(steps, &disturbed);
        self.service(steps, &disturbed);
        self.state(steps, &disturbed);
    }

    pub(super) fn name(&self) -> String {
        self.desired.name.to_owned()
    }

    fn node(&self, steps: &mut Vec<Step>) {
        let Some(observed) = self.observed else {
            let (role, hosts) = (self.desired.role, self.hosts.clone());
            let action = Action::CreateNode {
                node: self.name(),
                role,
                hosts,
            };
            steps.push(step(action, self.made.unwrap_or_default()));
            return;
        };
        let enabled = self.desired.role.forwards();
        if observed.forwarding != enabled {
            let how = if enabled {
                "does not forward"
            } else {
                "forwards, and a world must not"
            };
            let reason = format!("{} {how}", self.desired.name);
            steps.push(step(
                Action::SetForwarding {
                    node: self.name(),
                    enabled,
                },
                reason,
            ));
        }
        if observed.hosts[..] != self.hosts[..] {
            let was = observed.hosts.clone().into();
            let action = Action::SetHosts {
                node: self.name(),
                hosts: self.hosts.clone(),
                was,
            };
            steps.push(step(action, self.hosts_reason(observed)));
        }
        let loopback = observed.interfaces.get("lo");
        if loopback.is_none_or(|it| !it.up) {
            let action = Action::SetUp {
                node: self.name(),
                interface: "lo".to_owned(),
            };
            steps.push(step(action, format!("lo of {} is down", self.desired.name)));
        }
    }

    fn hosts_reason(&self, observed: &ObservedNode) -> String {
        let wanted: BTreeSet<_> = self.hosts.iter().collect();
        let seen: BTreeSet<_> = observed.hosts.iter().collect();
        let names = |set: Vec<&&(Ipv4Addr, String)>| {
            set.iter()
                .map(|(_, name)| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (missing, extra) = (
            names(wanted.difference(&seen).collect()),
            names(seen.difference(&wanted).collect()),
        );
        let node = self.desired.name;
        match (missing.is_empty(), extra.is_empty()) {
            (false, true) => format!("/etc/hosts of {node} lacks {missing}"),
            (true, false) => format!("/etc/hosts of {node} still names {extra}"),
            _ => format!("/etc/hosts of {node} differs"),
        }
    }

    fn routes(&self, steps: &mut Vec<Step>, disturbed: &Disturbed) {
        let empty = BTreeSet::new();
        let ours = self.observed.map_or(&empty, |it| &it.static_routes);
        let others = self.observed.map_or(&empty, |it| &it.other_routes);
        let name = self.desired.name;
        let wanted: BTreeSet<_> = self.desired.routes.iter().map(|route| route.to).collect();
        let kept = |route: &Route| {
            !disturbed.attached.contains(&route.dev) && !disturbed.readdressed.contains(&route.dev)
        };
        for route in ours {
            // An interface that goes takes its routes along.
            let stays = self.desired.interfaces.contains_key(&route.dev)
                && !disturbed.attached.contains(&route.dev);
            let reason = if !wanted.contains(&route.to) {
                format!("route {} of {name} is not in the lab file", route.to)
            } else if !kept(route) {
                format!("addresses of {} of {name} change", route.dev)
            } else {
                continue;
            };
            if stays {
                let (node, route) = (self.name(), route.clone());
                steps.push(step(Action::DeleteRoute { node, route }, reason));
            }
        }
        for route in &self.desired.routes {
            let to_it: Vec<_> = ours
                .union(others)
                .filter(|it| it.to == route.to && kept(it))
                .collect();
            let right = ours.contains(route) && to_it == [route];
            if !right {
                let was = to_it
                    .iter()
                    .find(|it| **it != route)
                    .map(|it| (*it).clone());
                let reason = self.route_reason(route, was.as_ref());
                let (node, route) = (self.name(), route.clone());
                steps.push(step(Action::ReplaceRoute { node, route, was }, reason));
            }
        }
    }

    fn route_reason(&self, route: &Route, was: Option<&Route>) -> String {
        let node = self.desired.name;
        match (self.made, was) {
            (Some(reason), _) => reason.to_owned(),
            (None, None) => format!("{node} lacks the route {route}"),
            (None, Some(was)) => format!("route of {node} differs: {was}, should be {route}"),
        }
    }

    fn neighbours(&self, steps: &mut Vec<Step>, disturbed: &Disturbed) {
        let empty = BTreeSet::new();
        let seen = self.observed.map_or(&empty, |it| &it.neighbours);
        let attached = |dev: &str| disturbed.attached.contains(dev);
        for old in seen.difference(&self.desired.neighbours) {
            let replaced = self
                .desired
                .neighbours
                .iter()
                .any(|it| it.address == old.address && it.dev == old.dev);
            // Neighbours go with their interface, and only the world has any.
            let stays = self.desired.interfaces.contains_key(&old.dev) && !attached(&old.dev);
            if self.desired.role == Role::World && stays && !replaced {
                let reason = format!("{} is not a node of the lab file", old.address);
                let (node, neighbour) = (self.name(), old.clone());
                steps.push(step(Action::DeleteNeighbour { node, neighbour }, reason));
            }
        }
        for new in &self.desired.neighbours {
            if !seen.contains(new) || attached(&new.dev) {
                let reason = match self.made {
                    Some(reason) => reason.to_owned(),
                    None => format!("{} lacks the neighbour {}", self.desired.name, new.address),
                };
                let (node, neighbour) = (self.name(), new.clone());
                steps.push(step(Action::SetNeighbour { node, neighbour }, reason));
            }
        }
    }

    fn service(&self, steps: &mut Vec<Step>, disturbed: &Disturbed) {
        let name = self.desired.name;
        let seen = self.observed.and_then(|it| it.service.as_ref());
        let wanted = self.desired.service.as_ref();
        let reason = match (seen, wanted, self.made) {
            (_, _, Some(reason)) => reason.to_owned(),
            (None, None, None) => return,
            (None, Some(_), None) => format!("the server of {name} was never started"),
            (Some(ObservedService { alive: false, .. }), _, None) => {
                format!("the server of {name} is gone")
            }
            (Some(_), None, None) => format!("{name} serves nothing in the lab file"),
            // Programs of the world are attached to links that were made anew.
            (Some(seen), Some(wanted), None) => match &disturbed.reason {
                Some(reason) if self.desired.role == Role::World => reason.clone(),
                _ if seen.service == *wanted => return,
                _ => format!("what {name} serves changes"),
            },
        };
        if let Some(seen) = seen {
            let was = seen.alive.then(|| seen.service.clone());
            let action = Action::StopService {
                node: self.name(),
                was,
            };
            steps.push(step(action, reason.clone()));
        }
        if let Some(wanted) = wanted {
            let (node, service) = (self.name(), wanted.clone());
            steps.push(step(Action::StartService { node, service }, reason));
        }
    }

    fn state(&self, steps: &mut Vec<Step>, disturbed: &Disturbed) {
        let Some(state) = &self.desired.state else {
            return;
        };
        let name = self.desired.name;
        let agent = self.observed.and_then(|it| it.agent.as_ref());
        let was = agent.and_then(|it| it.applied.clone());
        let mut reasons = Vec::new();
        if !agent.is_some_and(|it| it.alive) {
            let reason = match (self.made, agent) {
                (Some(reason), _) => reason.to_owned(),
                (None, None) => format!("the agent of {name} was never started"),
                (None, Some(_)) => format!("the agent of {name} is gone"),
            };
            steps.push(step(
                Action::StartAgent { node: self.name() },
                reason.as_str(),
            ));
            reasons.push(reason);
        }
        match &was {
            Some(was) => reasons.extend(state_changes(was, state)),
            None if reasons.is_empty() => reasons.push(format!("{name} has applied nothing")),
            None => {}
        }
        reasons.extend(agent.iter().flat_map(|it| it.drift.iter().cloned()));
        if reasons.is_empty() {
            reasons.extend(disturbed.reason.clone());
        }
        if !reasons.is_empty() {
            let action = Action::ApplyState {
                node: self.name(),
                state: state.clone(),
                was,
            };
            steps.push(step(action, reasons.join("; ")));
        }
    }
}
