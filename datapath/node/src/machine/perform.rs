//! Actions carried out on the machine itself, in their order.

use std::fs;
use std::path::Path;

use lab_model::plan::{Action, Hosts};

use super::claim::FORWARDING;
use super::kept::Kept;
use super::places::RUN;
use super::servers::Server;
use super::{Machine, MachineError, etc_hosts, files};
use crate::api::{Client, SOCKET};
use crate::netlink::Netlink;
use crate::node_network::Interfaces;
use crate::sysctl;

/// An action that failed: its place, and why.
type Fault = (usize, MachineError);

impl Machine {
    /// Carries out `actions` in order, and keeps on record what a reboot must
    /// bring back. Of an interface, address or route that was there before the
    /// claim, only the record is changed.
    ///
    /// # Errors
    /// The place of the first action that failed, and why.
    pub fn perform(&self, actions: &[Action]) -> Result<(), Fault> {
        let _turn = files::turn().map_err(|error| (0, error))?;
        self.perform_held(actions)
    }

    /// As [`Machine::perform`], of whoever's turn it is.
    pub(super) fn perform_held(&self, actions: &[Action]) -> Result<(), Fault> {
        for (position, action) in actions.iter().enumerate() {
            self.check(action).map_err(|error| (position, error))?;
        }
        let at_first = |error| (0, error);
        self.settle().map_err(at_first)?;
        let before = Kept::read().map_err(at_first)?;
        let during = before.during(actions);
        if during != before {
            during.write().map_err(at_first)?;
        }
        let done = self.carry_out(actions);
        let performed = match &done {
            Ok(()) => actions,
            Err((position, _)) => &actions[..*position],
        };
        let after = before.after(performed);
        if after != during {
            after.write().map_err(|error| (performed.len(), error))?;
        }
        done
    }

    fn check(&self, action: &Action) -> Result<(), MachineError> {
        let own = &self.claimed.owner.node;
        match action {
            Action::CreateLab { .. }
            | Action::RemoveLab { .. }
            | Action::CreateSegment
            | Action::DeleteSegment
            | Action::DetachSegment { .. }
            | Action::ConnectPort { .. }
            | Action::CreateNode { .. }
            | Action::DeleteNode { .. }
            | Action::AttachSegment { .. }
            | Action::AttachOutside { .. } => Err(MachineError::Elsewhere(action.to_string())),
            _ if action.node() != Some(own) => Err(MachineError::AnotherNode {
                action: action.to_string(),
                node: own.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn carry_out(&self, actions: &[Action]) -> Result<(), Fault> {
        let mut network: Vec<(usize, &Action)> = Vec::new();
        for (position, action) in actions.iter().enumerate() {
            let fault = |error| (position, error);
            if self.is_another_hands(action) {
                continue;
            }
            if is_network(action) {
                network.push((position, action));
                continue;
            }
            change(&mut network)?;
            match action {
                Action::SetForwarding { enabled, .. } => {
                    let value = if *enabled { "1" } else { "0" };
                    sysctl::set(FORWARDING, value).map_err(|error| fault(error.into()))
                }
                Action::SetHosts { hosts, .. } => write_hosts(hosts).map_err(fault),
                Action::StopService { .. } => self.retire(Server::Serve).map_err(fault),
                Action::StopAgent { .. } => self.retire(Server::Agent).map_err(fault),
                Action::StartService { .. } => self.employ(Server::Serve).map_err(fault),
                Action::StartAgent { .. } => self.employ(Server::Agent).map_err(fault),
                Action::ApplyState { state, .. } => Client::connect(&Path::new(RUN).join(SOCKET))
                    .and_then(|mut client| client.apply(state))
                    .map(drop)
                    .map_err(|error| fault(error.into())),
                _ => Err(fault(MachineError::Elsewhere(action.to_string()))),
            }?;
        }
        change(&mut network)
    }

    /// Whether the action would remove what was there before the claim, and was
    /// the lab's only in name.
    fn is_another_hands(&self, action: &Action) -> bool {
        let before = &self.claimed.before;
        match action {
            Action::DeleteAddress {
                interface, address, ..
            } => {
                let was = before.addresses.get(interface);
                was.is_some_and(|it| it.contains(address))
            }
            Action::DeleteRoute { route, .. } => before.static_routes.contains(route),
            _ => false,
        }
    }
}

const fn is_network(action: &Action) -> bool {
    matches!(
        action,
        Action::AddDummy { .. }
            | Action::DeleteInterface { .. }
            | Action::SetUp { .. }
            | Action::AddAddress { .. }
            | Action::DeleteAddress { .. }
            | Action::ReplaceRoute { .. }
            | Action::DeleteRoute { .. }
            | Action::SetNeighbour { .. }
            | Action::DeleteNeighbour { .. }
    )
}

/// Carries out what has gathered, in one batch.
fn change(network: &mut Vec<(usize, &Action)>) -> Result<(), Fault> {
    let Some((first, _)) = network.first() else {
        return Ok(());
    };
    let first = *first;
    let interfaces = Netlink::open().and_then(Interfaces::existing);
    let mut interfaces = interfaces.map_err(|error| (first, error.into()))?;
    let changed = interfaces.change(network);
    network.clear();
    changed.map_err(|(position, error)| (position, error.into()))
}

/// Puts the lab's names into `/etc/hosts`; without any, takes their block out.
pub(super) fn write_hosts(hosts: &Hosts) -> Result<(), MachineError> {
    let path = Path::new(etc_hosts::PATH);
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(MachineError::file("read", path))?,
    };
    files::rewrite(path, &etc_hosts::with_names(&text, hosts))
}
