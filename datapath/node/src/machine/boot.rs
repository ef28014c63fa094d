//! After a reboot.

use super::kept::Kept;
use super::servers::Server;
use super::{Machine, MachineError, systemd};

impl Machine {
    /// Brings back what the last boot had. Where systemd runs, the servers have
    /// units of their own, which wait for this.
    ///
    /// # Errors
    /// What could not be brought back; what does not depend on it is.
    pub fn boot(&self) -> Result<(), MachineError> {
        let node = &self.claimed.owner.node;
        let kept = Kept::read()?;
        let network = self.perform(&kept.restoring(node));
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
