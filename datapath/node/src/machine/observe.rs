//! What this machine is as a node.

use std::fs;
use std::path::Path;

use lab_model::plan::{Cable, OUTSIDE_INTERFACE, ObservedAgent, ObservedNode, SEGMENT_INTERFACE};

use super::kept::Kept;
use super::places::{Kind, RUN};
use super::{Machine, MachineError, etc_hosts};
use crate::agent;
use crate::node_network::Snapshot;

impl Machine {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When something that is there cannot be looked at.
    pub fn observe(&self) -> Result<ObservedNode, MachineError> {
        let kept = Kept::read()?;
        let mut node = ObservedNode {
            role: Some(self.claimed.owner.role),
            service: self.observe_service(&kept)?,
            agent: self.observe_agent()?,
            ..ObservedNode::default()
        };
        Snapshot::take()?.describe(&mut node);
        for name in [OUTSIDE_INTERFACE, SEGMENT_INTERFACE] {
            if let Some(interface) = node.interfaces.get_mut(name) {
                interface.cable = Cable::Given;
            }
        }
        self.claimed.before.hide(&mut node, &kept);
        let hosts = fs::read(etc_hosts::PATH).unwrap_or_default();
        node.hosts = etc_hosts::names_in(&String::from_utf8_lossy(&hosts));
        Ok(node)
    }

    fn observe_agent(&self) -> Result<Option<ObservedAgent>, MachineError> {
        if !self.claimed.owner.role.runs_pods() {
            return Ok(None);
        }
        let runs = !self.places.cgroup(Kind::Agent).own_pids()?.is_empty();
        let observed = agent::observe(Path::new(RUN), runs);
        observed.map_err(MachineError::file("read", Path::new(RUN)))
    }
}
