//! Plans carried out on machines. What is done to a machine as a whole is the
//! backend's; everything within one is asked of labctl on it, in one request for
//! all that may be done together, of all machines at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use lab_model::lab::Role;
use lab_model::plan::{Action, Phase, Plan};
use lab_node::machine::api::{Claim, ClientError, Failure};

use super::backend::Birth;
use super::{Machines, keys};
use crate::error::{ExecuteError, ProviderError};
use crate::execute::{self, Event, Executor, Staged, StepFault};
use crate::lab_folder::LabFolder;
use crate::lock::LabLock;
use crate::parallel::at_once;
use crate::record::Record;

impl Machines {
    /// Carries out `plan` on the lab that `lock` is for, after writing `record`
    /// down. When a step fails, or `interrupt` is set, takes back what was done.
    ///
    /// # Errors
    /// The step that failed, why, and what could not be taken back.
    pub fn execute(
        &self,
        lock: &LabLock,
        plan: &Plan,
        record: &Record,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        let mut run = Run {
            machines: self,
            folder: &lock.folder,
            record: Some(record),
        };
        execute::execute(&lock.folder, plan, record, &mut run, interrupt, events)
    }
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) machines: &'a Machines,
    pub(super) folder: &'a LabFolder,
    /// None when it is lost, and only removing is left to be done.
    pub(super) record: Option<&'a Record>,
}

impl Executor for Run<'_> {
    fn stage(&mut self, actions: Staged<'_>, interrupt: &AtomicBool) -> Result<(), StepFault> {
        let mut births = Vec::new();
        let mut deaths = Vec::new();
        let mut within: BTreeMap<&str, Staged<'_>> = BTreeMap::new();
        for (position, action) in actions {
            match action {
                Action::CreateNode { .. } => births.push((position, action)),
                Action::DeleteNode { node } => deaths.push((position, node.as_str())),
                other => match other.node() {
                    Some(node) => within.entry(node).or_default().push((position, action)),
                    None => self.of_lab(action).map_err(StepFault::at(position))?,
                },
            }
        }
        self.delete(&deaths)?;
        self.create(&births, interrupt)?;
        let outcomes = at_once(within.into_iter().collect(), |(node, actions)| {
            self.perform(node, &actions, interrupt)
        });
        outcomes.into_iter().collect()
    }

    /// A machine does its actions in the order of the plan; a phase of its own would
    /// be one more round trip.
    fn together(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Stop | Phase::Detach => Phase::Stop,
            Phase::Links
            | Phase::DeleteRoutes
            | Phase::DeleteAddresses
            | Phase::Addresses
            | Phase::Routes => Phase::Links,
            Phase::Processes | Phase::States => Phase::Processes,
            other => other,
        }
    }
}

impl Run<'_> {
    /// What is done to no node.
    fn of_lab(&self, action: &Action) -> Result<(), ProviderError> {
        let backend = self.machines.backend();
        match action {
            Action::CreateLab { .. } => {
                keys::create(self.folder)?;
                backend.create_lab(self.folder)
            }
            Action::RemoveLab { .. } => {
                backend.remove_lab(self.folder)?;
                self.folder.remove()
            }
            Action::CreateSegment => backend.create_segment(self.folder),
            Action::DeleteSegment => backend.delete_segment(self.folder),
            _ => Ok(()),
        }
    }

    fn create(&self, births: &[(usize, &Action)], interrupt: &AtomicBool) -> Result<(), StepFault> {
        let mut wanted = Vec::new();
        for (position, action) in births {
            if let Action::CreateNode { node, .. } = action {
                let nodes = self.record.iter().flat_map(|record| &record.nodes);
                let on_record = { nodes }.find(|it| it.name == *node);
                let on_record = on_record.ok_or_else(|| {
                    StepFault::at(*position)(ProviderError::NotRunning {
                        target: node.clone(),
                        why: "it is not on the lab's record".to_owned(),
                    })
                })?;
                wanted.push(Birth {
                    position: *position,
                    node,
                    spec: &on_record.machine,
                });
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let made = self
            .machines
            .backend()
            .create(self.folder, &wanted, interrupt);
        for (birth, outcome) in wanted.iter().zip(made) {
            outcome.map_err(StepFault::at(birth.position))?;
        }
        let claims = at_once(births.to_vec(), |(position, action)| {
            self.claim(action, interrupt)
                .map_err(StepFault::at(position))
        });
        claims.into_iter().collect()
    }

    /// Has a machine become the node.
    fn claim(&self, action: &Action, interrupt: &AtomicBool) -> Result<(), ProviderError> {
        let Action::CreateNode { node, role, hosts } = action else {
            return Ok(());
        };
        let claim = Claim {
            owner: self.machines.owner_of(self.folder, node, *role),
            hosts: hosts.clone(),
        };
        let executable = self.machines.executable()?;
        let asked = self
            .machines
            .with_link(self.folder, node, interrupt, |link| {
                link.install(&claim.owner, executable)?;
                link.ask(|client| client.claim(claim.clone()))
            })?;
        asked.map_err(at_node(node))
    }

    fn delete(&self, deaths: &[(usize, &str)]) -> Result<(), StepFault> {
        if deaths.is_empty() {
            return Ok(());
        }
        let backend = self.machines.backend();
        if backend.outlives_lab() {
            let released = at_once(deaths.to_vec(), |(position, node)| {
                self.release(node).map_err(StepFault::at(position))
            });
            released.into_iter().collect::<Result<(), _>>()?;
        }
        let names: Vec<_> = deaths.iter().map(|(_, node)| *node).collect();
        names
            .iter()
            .for_each(|node| self.machines.forget(self.folder, node));
        let mut outcomes = deaths.iter().zip(backend.delete(self.folder, &names));
        outcomes.try_for_each(|((at, _), outcome)| outcome.map_err(StepFault::at(*at)))
    }

    /// Removes labctl from a machine that outlives its lab.
    fn release(&self, node: &str) -> Result<(), ProviderError> {
        let never = AtomicBool::new(false);
        let owner = self.machines.owner_of(self.folder, node, Role::Worker);
        self.machines
            .with_link(self.folder, node, &never, |link| link.release(&owner))
    }

    fn perform(
        &self,
        node: &str,
        staged: &Staged<'_>,
        interrupt: &AtomicBool,
    ) -> Result<(), StepFault> {
        let first = staged.first().map_or(0, |(position, _)| *position);
        if interrupt.load(Ordering::SeqCst) {
            return Err(StepFault::at(first)(ProviderError::Interrupted));
        }
        let actions: Vec<Action> = staged.iter().map(|(_, action)| (*action).clone()).collect();
        let asked = self
            .machines
            .with_link(self.folder, node, interrupt, |link| {
                link.ask(|client| client.perform(actions.clone()))
            });
        let at = |error: &ClientError| match error {
            ClientError::Failed(Failure {
                position: Some(position),
                ..
            }) => staged.get(*position).map_or(first, |(at, _)| *at),
            _ => first,
        };
        match asked.map_err(StepFault::at(first))? {
            Ok(()) => Ok(()),
            Err(error) => Err(StepFault::at(at(&error))(at_node(node)(error))),
        }
    }
}

fn at_node(node: &str) -> impl FnOnce(ClientError) -> ProviderError {
    let node = node.to_owned();
    move |source| ProviderError::Node { node, source }
}
