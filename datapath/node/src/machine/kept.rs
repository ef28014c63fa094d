//! `machine.json`: what the lab's actions have made of this machine, and a reboot
//! must bring back. Pure, but for reading and writing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::plan::{Action, MacAddress, Route, Service};
use serde::{Deserialize, Serialize};

use super::places::home;
use super::{MachineError, files};

const FILE: &str = "machine.json";

/// What is to be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Dummy interfaces.
    pub(super) dummies: BTreeMap<String, MacAddress>,
    /// The lab's addresses by interface.
    pub(super) addresses: BTreeMap<String, BTreeSet<Ipv4Net>>,
    /// The lab's routes.
    pub(super) routes: BTreeSet<Route>,
    /// `net.ipv4.ip_forward`.
    pub(super) forwarding: bool,
    /// Names in `/etc/hosts`.
    pub(super) hosts: Vec<(Ipv4Addr, String)>,
    /// The node's server.
    pub(super) service: Option<Service>,
    /// Whether the node agent runs.
    pub(super) agent: bool,
}

impl Kept {
    pub(super) fn read() -> Result<Self, MachineError> {
        Ok(files::read(&home(FILE))?.unwrap_or_default())
    }

    pub(super) fn write(&self) -> Result<(), MachineError> {
        files::write(&home(FILE), self)
    }

    /// As it is when `actions` are done.
    pub(super) fn after<'a>(&self, actions: impl IntoIterator<Item = &'a Action>) -> Self {
        let mut kept = self.clone();
        actions.into_iter().for_each(|action| kept.note(action));
        kept
    }

    /// As it is while `actions` are being done: what they add is noted before it
    /// is there, and what they remove until it is gone, so that whenever this ends
    /// nothing is on the machine that is not on record.
    pub(super) fn during(&self, actions: &[Action]) -> Self {
        let removes = |action: &&Action| {
            matches!(
                action,
                Action::DeleteInterface { .. }
                    | Action::DeleteAddress { .. }
                    | Action::DeleteRoute { .. }
            )
        };
        self.after(actions.iter().filter(|action| !removes(action)))
    }

    fn note(&mut self, action: &Action) {
        match action {
            Action::AddDummy { interface, mac, .. } => {
                self.dummies.insert(interface.clone(), *mac);
            }
            Action::DeleteInterface { interface, .. } => {
                self.dummies.remove(interface);
                self.addresses.remove(interface);
                self.routes.retain(|route| route.dev != *interface);
            }
            Action::AddAddress {
                interface, address, ..
            } => {
                let addresses = self.addresses.entry(interface.clone()).or_default();
                addresses.insert(*address);
            }
            Action::DeleteAddress {
                interface, address, ..
            } => {
                if let Some(addresses) = self.addresses.get_mut(interface) {
                    addresses.remove(address);
                }
            }
            Action::ReplaceRoute { route, .. } => {
                self.routes.retain(|other| other.to != route.to);
                self.routes.insert(route.clone());
            }
            Action::DeleteRoute { route, .. } => {
                self.routes.remove(route);
            }
            Action::SetForwarding { enabled, .. } => self.forwarding = *enabled,
            Action::SetHosts { hosts, .. } => self.hosts = hosts.to_vec(),
            Action::StartService { service, .. } => self.service = Some(service.clone()),
            Action::StopService { .. } => self.service = None,
            Action::StartAgent { .. } => self.agent = true,
            Action::StopAgent { .. } => self.agent = false,
            _ => {}
        }
    }

    /// What brings the network back on a machine that has just booted. Neighbours
    /// are left out: only the world has any, and no machine plays the world.
    pub(super) fn restoring(&self, node: &str) -> Vec<Action> {
        let name = || node.to_owned();
        let dummies = self
            .dummies
            .iter()
            .map(|(interface, mac)| Action::AddDummy {
                node: name(),
                interface: interface.clone(),
                mac: *mac,
            });
        // Interfaces that the machine came with are down.
        let given = self.addresses.keys();
        let given = given.filter(|it| !self.dummies.contains_key(*it));
        let up = given.map(|interface| Action::SetUp {
            node: name(),
            interface: interface.clone(),
        });
        let addresses = self.addresses.iter().flat_map(|(interface, addresses)| {
            addresses.iter().map(move |address| Action::AddAddress {
                node: node.to_owned(),
                interface: interface.clone(),
                address: *address,
            })
        });
        let routes = self.routes.iter().map(|route| Action::ReplaceRoute {
            node: name(),
            route: route.clone(),
            was: None,
        });
        let settings = [
            Action::SetForwarding {
                node: name(),
                enabled: self.forwarding,
            },
            Action::SetHosts {
                node: name(),
                hosts: self.hosts.clone().into(),
                was: [].into(),
            },
        ];
        dummies
            .chain(up)
            .chain(addresses)
            .chain(routes)
            .chain(settings)
            .collect()
    }
}
