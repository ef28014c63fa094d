//! The steps of one node's interfaces and addresses.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::action::Action;
use super::desired::{DesiredInterface, Wiring};
use super::network::MacAddress;
use super::node::{Disturbed, NodePlanner};
use super::observed::Cable;
use super::{Step, step};

impl NodePlanner<'_> {
    /// Interfaces that an earlier lab file asked for. Those made by hand have
    /// another hardware address, and stay, as do those that a machine came with,
    /// whatever address it was given.
    pub(super) fn strays(&self, steps: &mut Vec<Step>, disturbed: &mut Disturbed) {
        let seen = self.observed.iter().flat_map(|it| &it.interfaces);
        for (name, at) in seen {
            let ours = at.mac == MacAddress::of(self.lab, self.desired.name, name);
            let removable = self.wiring == Wiring::Cables || at.cable == Cable::None;
            if ours && removable && !self.desired.interfaces.contains_key(name) {
                let reason = format!("{name} of {} is not in the lab file", self.desired.name);
                disturbed.because(&reason);
                self.delete_interface(steps, name, &reason);
            }
        }
    }

    fn delete_interface(&self, steps: &mut Vec<Step>, name: &str, reason: &str) {
        let interface = name.to_owned();
        let action = Action::DeleteInterface {
            node: self.name(),
            interface,
        };
        // Another node that goes may have asked for it already, as its far end.
        if !steps.iter().any(|step| step.action == action) {
            steps.push(step(action, reason));
        }
    }

    /// The world's ends of cables are made by the steps of the nodes at the other end.
    pub(super) fn interface(
        &self,
        steps: &mut Vec<Step>,
        disturbed: &mut Disturbed,
        name: &str,
        wanted: &DesiredInterface,
    ) {
        let seen = self.observed.and_then(|it| it.interfaces.get(name));
        if let Some(reason) = self.cables.reason(self.desired.name, name) {
            disturbed.because(reason);
            disturbed.attached.insert(name.to_owned());
            if seen.is_some() {
                self.delete_interface(steps, name, reason);
            }
            self.attach(steps, name, wanted, reason);
        } else if seen.is_some_and(|it| !it.up) {
            let reason = format!("{name} of {} is down", self.desired.name);
            disturbed.because(&reason);
            // Its routes went when it was set down.
            let interface = name.to_owned();
            steps.push(step(
                Action::SetUp {
                    node: self.name(),
                    interface,
                },
                reason,
            ));
        }
        if let Cable::Segment { port } = &wanted.cable
            && !disturbed.attached.contains(name)
            && self
                .segment
                .is_some_and(|it| it.ports.get(port) == Some(&false))
        {
            let reason = format!("port {port} of the segment does not forward");
            steps.push(step(Action::ConnectPort { port: port.clone() }, reason));
        }
    }

    fn attach(&self, steps: &mut Vec<Step>, name: &str, wanted: &DesiredInterface, reason: &str) {
        let (node, mac) = (self.name(), wanted.mac);
        let action = match &wanted.cable {
            Cable::Segment { port } => {
                let left = self.segment.is_some_and(|it| it.ports.contains_key(port));
                let detach = Action::DetachSegment { port: port.clone() };
                if left && !steps.iter().any(|step| step.action == detach) {
                    steps.push(step(detach, reason));
                }
                Action::AttachSegment {
                    node,
                    port: port.clone(),
                    mac,
                }
            }
            Cable::Outside { port } => {
                let world = self.world.unwrap_or_default().to_owned();
                let port_mac = MacAddress::of(self.lab, &world, port);
                Action::AttachOutside {
                    node,
                    mac,
                    world,
                    port: port.clone(),
                    port_mac,
                }
            }
            Cable::None => Action::AddDummy {
                node,
                interface: name.to_owned(),
                mac,
            },
            Cable::Given | Cable::Node | Cable::Other => return,
        };
        steps.push(step(action, reason));
    }

    pub(super) fn addresses(
        &self,
        steps: &mut Vec<Step>,
        disturbed: &mut Disturbed,
        name: &str,
        wanted: &DesiredInterface,
    ) {
        let empty = BTreeSet::new();
        let fresh = disturbed.attached.contains(name);
        let seen = self
            .observed
            .and_then(|it| it.interfaces.get(name))
            .filter(|_| !fresh);
        let seen = seen.map_or(&empty, |it| &it.addresses);
        for address in seen.difference(&wanted.addresses) {
            let reason = format!("{name} of {} has {address} besides", self.desired.name);
            disturbed.because(&reason);
            disturbed.readdressed.insert(name.to_owned());
            let (interface, address) = (name.to_owned(), *address);
            let action = Action::DeleteAddress {
                node: self.name(),
                interface,
                address,
            };
            steps.push(step(action, reason));
        }
        // An address that goes may take others along: devinet.c makes those that
        // come later in a network secondary to the first. To add one that did not
        // go is no fault.
        let gone: BTreeSet<_> = seen
            .difference(&wanted.addresses)
            .map(Ipv4Net::trunc)
            .collect();
        let lost = |address: &Ipv4Net| gone.contains(&address.trunc()) || !seen.contains(address);
        for address in wanted.addresses.iter().filter(|it| lost(it)) {
            let reason = match self.made {
                Some(reason) => reason.to_owned(),
                None => format!("{name} of {} lacks {address}", self.desired.name),
            };
            disturbed.because(&reason);
            disturbed.readdressed.insert(name.to_owned());
            let (interface, address) = (name.to_owned(), *address);
            steps.push(step(
                Action::AddAddress {
                    node: self.name(),
                    interface,
                    address,
                },
                reason,
            ));
        }
    }
}
