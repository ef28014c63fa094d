//! Which interfaces must be made, or made anew, and why.
//!
//! Decided for the whole lab before any node's steps, because a cable has two
//! ends: when one cannot stay, neither can the other.

use std::collections::BTreeMap;

use super::desired::{DesiredInterface, DesiredNode};
use super::observed::{Cable, Observed, ObservedInterface};

/// Reasons by node and interface; an interface without one stays as it is.
#[derive(Debug, Default)]
pub(super) struct Cables<'a> {
    unfit: BTreeMap<&'a str, BTreeMap<&'a str, String>>,
}

impl<'a> Cables<'a> {
    pub(super) fn compare(
        nodes: &'a [DesiredNode<'_>],
        observed: &Observed,
        made: &BTreeMap<&str, String>,
        world: Option<&'a str>,
    ) -> Self {
        let mut cables = Self::default();
        let world_made = world.filter(|world| made.contains_key(world));
        for node in nodes {
            let seen = observed.nodes.get(node.name);
            for (name, wanted) in &node.interfaces {
                let at = seen.and_then(|it| it.interfaces.get(name));
                let reason = made
                    .get(node.name)
                    .cloned()
                    .or_else(|| lost_with_world(node.name, name, wanted, world_made))
                    .or_else(|| unfit(observed, node.name, name, wanted, at));
                if let Some(reason) = reason {
                    cables.insert(node.name, name, reason);
                }
            }
        }
        if let Some(world) = world {
            cables.join(nodes, world);
        }
        cables
    }

    fn insert(&mut self, node: &'a str, interface: &'a str, reason: String) {
        self.unfit
            .entry(node)
            .or_default()
            .insert(interface, reason);
    }

    /// Why the interface must be made, if it must.
    pub(super) fn reason(&self, node: &str, interface: &str) -> Option<&str> {
        self.unfit.get(node)?.get(interface).map(String::as_str)
    }

    /// Makes both ends of each outside cable share one fate.
    fn join(&mut self, nodes: &'a [DesiredNode<'_>], world: &'a str) {
        for node in nodes {
            for (name, wanted) in &node.interfaces {
                let Cable::Outside { port } = &wanted.cable else {
                    continue;
                };
                let here = self.reason(node.name, name);
                let reason = here.or_else(|| self.reason(world, port));
                if let Some(reason) = reason.map(str::to_owned) {
                    self.insert(node.name, name, reason.clone());
                    self.insert(world, port, reason);
                }
            }
        }
    }
}

/// A world made anew has none of the ports that nodes were plugged into.
fn lost_with_world(
    node: &str,
    name: &str,
    wanted: &DesiredInterface,
    world_made: Option<&str>,
) -> Option<String> {
    let world = world_made.filter(|_| matches!(wanted.cable, Cable::Outside { .. }))?;
    Some(format!(
        "{world} is made anew, and {name} of {node} with it"
    ))
}

/// Why an interface of a node that stays cannot stay itself.
fn unfit(
    observed: &Observed,
    node: &str,
    name: &str,
    wanted: &DesiredInterface,
    seen: Option<&ObservedInterface>,
) -> Option<String> {
    if matches!(wanted.cable, Cable::Segment { .. }) && observed.segment.is_none() {
        return Some(format!(
            "the segment is made anew, and {name} of {node} with it"
        ));
    }
    if wanted.cable == Cable::Given {
        return None;
    }
    let Some(seen) = seen else {
        return Some(format!("{name} of {node} is missing"));
    };
    if seen.cable != wanted.cable {
        return Some(format!(
            "{name} of {node} is not plugged in as the lab file asks"
        ));
    }
    (seen.mac != wanted.mac).then(|| {
        format!(
            "{name} of {node} has address {}, should be {}",
            seen.mac, wanted.mac
        )
    })
}
