//! After a reboot.

use lab_model::plan::Action;

use super::kept::Kept;
use super::servers::Server;
use super::{Machine, MachineError, systemd};
use crate::node_network::Snapshot;

impl Machine {
    /// Brings back what the last boot had; what is there already stays. Where
    /// systemd runs, the servers have units of their own, which wait for this: a
    /// request that starts one may be waiting as well, so this waits for none.
    ///
    /// # Errors
    /// What could not be brought back; what does not depend on it is.
    pub fn boot(&self) -> Result<(), MachineError> {
        let node = &self.claimed.owner.node;
        let kept = Kept::read()?;
        let present = Snapshot::take()?;
        let is_there = |name: &str| present.links.iter().any(|link| link.name == name);
        let mut restoring = kept.restoring(node);
        restoring.retain(|action| match action {
            Action::AddDummy { interface, .. } => !is_there(interface),
            _ => true,
        });
        let network = self.perform_held(&restoring);
        let network = network.map_err(|(_, error)| error);
        if systemd::runs() {
            return network;
        }
        let served = match kept.service {
            Some(_) => self.start(Server::Serve),
            None => Ok(()),
        };
        let agent = match kept.agent {
            true => self.start(Server::Agent),
            false => Ok(()),
        };
        network.and(served).and(agent)
    }
}
