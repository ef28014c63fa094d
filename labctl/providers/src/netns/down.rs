//! The end of a lab: everything that carries its name goes. Needs neither lab
//! file nor state, only the name.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lab_model::plan::{Observed, ObservedNode, ObservedSegment, Plan, plan};
use lab_node::namespace;

use super::Netns;
use super::execute::Run;
use super::node::{DEATH, unmount};
use super::places::{Places, mounts_below};
use crate::error::{ExecuteError, ProviderError};
use crate::execute::{self, Event};
use crate::lock::LabLock;

impl Netns {
    /// The plan by which the lab goes down: of what is there, and however broken.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn plan_down(&self, lab: &str) -> Result<Plan, ProviderError> {
        let places = self.places(lab)?;
        let names = places.node_names()?;
        let nodes: BTreeMap<_, _> = names
            .into_iter()
            .map(|name| (name, ObservedNode::default()))
            .collect();
        let segment = places.fabric().exists().then(ObservedSegment::default);
        let exists = places.exist() || places.folder().path().exists();
        let observed = Observed {
            lab: lab.to_owned(),
            exists,
            segment,
            nodes,
        };
        Ok(plan(None, &observed))
    }

    /// Takes the lab down. What cannot be removed does not keep the rest from
    /// being removed.
    ///
    /// # Errors
    /// [`ProviderError::NoLab`] is the cause when nothing of that name is there;
    /// else what remains, a sentence each.
    pub fn down(
        &self,
        lock: &LabLock,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        let plan = self.plan_down(lock.lab()).map_err(ExecuteError::bare)?;
        let places = self.places(lock.lab()).map_err(ExecuteError::bare)?;
        // One unmount for all namespaces: each waits for an RCU grace period. What
        // cannot be let go of here is named when its node is removed.
        let _ = namespace::remove_folder(&places.netns_folder());
        let mut run = Run::new(self, &places);
        execute::remove(&plan, &mut run, interrupt, events)
    }
}

/// Removes what is the lab's and no node's.
pub(super) fn remove_lab(places: &Places) -> Result<(), ProviderError> {
    let cgroup = places.cgroup();
    cgroup.kill()?;
    cgroup.wait_empty(Instant::now() + DEATH)?;
    cgroup.remove()?;
    namespace::remove_folder(&places.netns_folder())?;
    unmount(&mounts_below(places.folder().path())?)?;
    places.folder().remove()?;
    places.roots().remove_cgroup_if_empty()
}
