//! What makes, finds and removes machines; all else about them is the same.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use lab_model::lab::MachineSpec;
use lab_model::plan::ObservedSegment;
use lab_ssh::Destination;

use crate::error::ProviderError;
use crate::lab_folder::LabFolder;

/// A machine, seen from outside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It runs, as far as can be seen.
    Running,
    /// It does not, or is only half there; why.
    Fault(String),
}

/// A machine that is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth<'a> {
    /// Position in the plan.
    pub(super) position: usize,
    /// Name of the node.
    pub(super) node: &'a str,
    /// What it is made with.
    pub(super) spec: &'a MachineSpec,
}

/// One outcome for each machine asked for, in that order.
pub(super) type Outcomes = Vec<Result<(), ProviderError>>;

/// One kind of machines.
pub(super) trait Backend: Send + Sync {
    /// Prepares the lab's folder, which is there, for machines.
    fn create_lab(&self, _folder: &LabFolder) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Every machine of the lab of which anything is there.
    fn machines(&self, folder: &LabFolder) -> Result<BTreeMap<String, Presence>, ProviderError>;

    /// The L2 segment, if it works. Backends whose machines bring one say that it does.
    fn segment(&self, _folder: &LabFolder) -> Result<Option<ObservedSegment>, ProviderError> {
        Ok(Some(ObservedSegment::default()))
    }

    /// Makes the segment; there may be remains of one.
    fn create_segment(&self, _folder: &LabFolder) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Removes what is there of the segment.
    fn delete_segment(&self, _folder: &LabFolder) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Makes machines, all at once, and returns when each takes SSH connections
    /// or will not.
    fn create(&self, folder: &LabFolder, births: &[Birth<'_>], interrupt: &AtomicBool) -> Outcomes;

    /// Removes machines with all that is on them. What is not there is no fault.
    fn delete(&self, folder: &LabFolder, nodes: &[&str]) -> Outcomes;

    /// Whether a machine outlives its lab, so that labctl must be removed from it.
    fn outlives_lab(&self) -> bool {
        false
    }

    /// Where and how a machine is reached.
    fn destination(&self, folder: &LabFolder, node: &str) -> Result<Destination, ProviderError>;

    /// Waits for a machine that may be on its way up again; at once when it is not.
    fn await_up(
        &self,
        _folder: &LabFolder,
        _node: &str,
        _interrupt: &AtomicBool,
    ) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Ends whatever of the lab is left when its machines are gone.
    fn remove_lab(&self, _folder: &LabFolder) -> Result<(), ProviderError> {
        Ok(())
    }
}
