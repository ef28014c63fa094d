//! What is there of a lab on machines.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use lab_model::plan::{Observed, ObservedNode, ObservedSegment, Plan, plan};
use lab_node::machine::api::ClientError;

use super::Machines;
use super::backend::Presence;
use super::execute::Run;
use crate::error::{ExecuteError, ProviderError};
use crate::execute::{self, Event};
use crate::lab_folder::LabFolder;
use crate::lock::LabLock;
use crate::parallel::at_once;
use crate::record::Record;

impl Machines {
    /// Looks at everything of the lab. Changes nothing and takes no lock.
    ///
    /// # Errors
    /// When something that is there cannot be looked at. A machine that is broken or
    /// does not answer is no error, but part of what is observed.
    pub fn observe(&self, lab: &str) -> Result<Observed, ProviderError> {
        let folder = self.lab_folder(lab)?;
        let mut observed = Observed {
            lab: lab.to_owned(),
            exists: !folder.is_bare(),
            ..Observed::default()
        };
        if !observed.exists {
            // Machines without a cable of labctl's come with their segment.
            observed.segment = self.backend().segment(&folder)?;
            return Ok(observed);
        }
        observed.segment = self.backend().segment(&folder)?;
        let machines: Vec<_> = self.backend().machines(&folder)?.into_iter().collect();
        let seen = at_once(machines, |(name, presence)| {
            let node = match presence {
                Presence::Fault(fault) => ObservedNode {
                    fault: Some(fault),
                    ..ObservedNode::default()
                },
                Presence::Running => self.look(&folder, &name)?,
            };
            Ok((name, node))
        });
        observed.nodes = seen.into_iter().collect::<Result<_, ProviderError>>()?;
        Ok(observed)
    }

    /// What a machine says of itself. One that says nothing is beyond repair.
    fn look(&self, folder: &LabFolder, name: &str) -> Result<ObservedNode, ProviderError> {
        let never = AtomicBool::new(false);
        let seen = self.with_link(folder, name, &never, |link| {
            link.ask(|client| client.observe())
        });
        match seen {
            Ok(Ok(node)) => Ok(node),
            Ok(Err(ClientError::Failed(failure))) => Ok(faulty(failure.message)),
            Ok(Err(error)) => Ok(faulty(format!("failed to {error}"))),
            Err(error @ ProviderError::Taken { .. }) => Err(error),
            Err(error) => Ok(faulty(format!("failed to {error}"))),
        }
    }

    /// The plan by which the lab goes down: of what is there, and however broken.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn plan_down(&self, lab: &str) -> Result<Plan, ProviderError> {
        let folder = self.lab_folder(lab)?;
        let machines = self.backend().machines(&folder)?;
        let nodes: BTreeMap<_, _> = machines
            .into_keys()
            .map(|name| (name, ObservedNode::default()))
            .collect();
        let observed = Observed {
            lab: lab.to_owned(),
            exists: folder.path().exists(),
            segment: Some(ObservedSegment::default()),
            nodes,
        };
        Ok(plan(None, &observed))
    }

    /// Takes the lab down. What cannot be removed does not keep the rest from
    /// being removed.
    ///
    /// # Errors
    /// What remains, a sentence each.
    pub fn down(
        &self,
        lock: &LabLock,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        let plan = self.plan_down(lock.lab()).map_err(ExecuteError::bare)?;
        let record = Record::read(&lock.folder).unwrap_or_default();
        let mut run = Run {
            machines: self,
            folder: &lock.folder,
            record: record.as_ref(),
        };
        execute::remove(&plan, &mut run, interrupt, events)
    }
}

fn faulty(fault: String) -> ObservedNode {
    ObservedNode {
        fault: Some(fault),
        ..ObservedNode::default()
    }
}
