//! A lab and the right to change it: what `up`, `plan` and the check runner share.

use std::path::PathBuf;

use lab_cluster::{Allocations, Cluster};
use lab_model::lab::Lab;
use lab_model::node_state::NodeStates;
use lab_model::plan::{Action, Desired, Plan, plan};
use lab_providers::{Event, ExecuteError, LabLock, Provider, ProviderError, Record, Target, Wait};

use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::sources::{self, Sources};

/// What the last `up` wrote down about a lab that is up.
pub(crate) fn record_of(provider: &Provider, lab: &str) -> Result<Record, Failure> {
    provider
        .record(lab)
        .or_exit(Exit::LabFailed)?
        .ok_or_else(|| {
            Failure::new(
                Exit::LabFailed,
                format_args!("lab {lab} is only half there: it has no record"),
            )
            .help(format!(
                "`labctl up FILE --name {lab}` makes it whole; `labctl down` removes it"
            ))
        })
}

/// The files of a lab that is up, read again.
pub(crate) fn sources_of(provider: &Provider, lab: &str) -> Result<Sources, Failure> {
    let record = record_of(provider, lab)?;
    sources::read(&record.file, Some(&record.lab))
}

/// Takes a lab's lock, waiting for whoever has it.
pub(crate) fn lock(
    provider: &Provider,
    lab: &str,
    interrupt: &Interrupt,
) -> Result<LabLock, Failure> {
    let mut waiting = |pid: Option<i32>| {
        let who = pid.map_or_else(
            || "another process".to_owned(),
            |pid| format!("process {pid}"),
        );
        eprintln!("waiting for {who}, which changes lab {lab}");
    };
    let wait = Wait::Until {
        interrupt: interrupt.flag(),
        waiting: &mut waiting,
    };
    provider.lock(lab, wait).map_err(|error| match error {
        ProviderError::Interrupted => Failure::interrupted(),
        error => Failure::new(Exit::LabFailed, format_args!("failed to {error}")),
    })
}

/// A plan that was not carried out, and what to do about what remains.
pub(crate) fn failed(lab: &str, error: &ExecuteError) -> Failure {
    let exit = if error.interrupted() {
        Exit::Interrupted
    } else {
        Exit::LabFailed
    };
    let failure = Failure::new(exit, format_args!("failed to {error}"));
    if error.remains.is_empty() {
        failure
    } else {
        failure.help(format!("`labctl down --lab {lab}` removes what remains"))
    }
}

/// What was given out to the lab before, so that it stays where it is.
pub(crate) fn allocations(provider: &Provider, lab: &str) -> Result<Allocations, Failure> {
    let Some(record) = provider.record(lab).or_exit(Exit::LabFailed)? else {
        return Ok(Allocations::default());
    };
    serde_json::from_value(record.allocations).map_err(|error| {
        let message = format!("failed to read what lab {lab} was given before: {error}");
        Failure::new(Exit::LabFailed, message).help(format!(
            "`labctl down --lab {lab}`, then up again, starts afresh"
        ))
    })
}

/// What leads from what is there to what the files say.
pub(crate) fn plan_for(
    provider: &Provider,
    lab: &Lab,
    node_states: &NodeStates,
) -> Result<Plan, Failure> {
    let observed = provider.observe(&lab.name).or_exit(Exit::LabFailed)?;
    let desired = Desired {
        lab,
        node_states,
        wiring: provider.wiring(),
    };
    Ok(plan(Some(desired), &observed))
}

/// A lab, its files, and its lock.
pub(crate) struct LiveLab {
    pub(crate) provider: Provider,
    pub(crate) sources: Sources,
    pub(crate) cluster: Cluster,
    lock: LabLock,
}

impl LiveLab {
    /// Takes the lab's lock, waiting for whoever has it. Faults that only the
    /// cluster shows come first, so that nothing is made when there are any.
    pub(crate) fn lock(
        provider: Provider,
        sources: Sources,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let name = &sources.lab.name;
        let before = allocations(&provider, name)?;
        let mut cluster = sources.cluster(&before)?;
        let lock = lock(&provider, name, interrupt)?;
        let now = allocations(&provider, name)?;
        if now != before {
            cluster = sources.cluster(&now)?;
        }
        Ok(Self {
            provider,
            sources,
            cluster,
            lock,
        })
    }

    /// What leads to what the files say.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        plan_for(&self.provider, &self.sources.lab, &self.cluster.node_states)
    }

    /// Carries a plan out.
    pub(crate) fn execute(
        &self,
        plan: &Plan,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let record = self.record()?;
        let mut events = |event: Event<'_>| match event {
            Event::Doing(step) => progress.doing(step.action.to_string()),
            Event::Done(_) => progress.done(),
            Event::Undoing(action) => progress.doing(format!("undoing: {action}")),
        };
        let outcome =
            self.provider
                .execute(&self.lock, plan, &record, interrupt.flag(), &mut events);
        outcome.map_err(|error| failed(&self.sources.lab.name, &error))
    }

    /// Has the node agents apply other states than the files' own, and nothing else.
    pub(crate) fn apply_states(
        &self,
        lab: &Lab,
        states: &NodeStates,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let mut plan = plan_for(&self.provider, lab, states)?;
        plan.steps
            .retain(|step| matches!(step.action, Action::ApplyState { .. }));
        self.execute(&plan, interrupt, &Progress::new(plan.steps.len(), true))
    }

    fn record(&self) -> Result<Record, Failure> {
        let allocations = serde_json::to_value(&self.cluster.allocations).map_err(|error| {
            Failure::new(
                Exit::LabFailed,
                format_args!("failed to write allocations: {error}"),
            )
        })?;
        let pods = self.cluster.pods.iter().map(|pod| Target::Pod {
            node: pod.node.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
        });
        Ok(Record::new(
            &self.sources.lab,
            &self.sources.file,
            self.provider.kind(),
            pods.collect(),
            allocations,
        ))
    }

    /// Folder of kept captures; goes with the lab.
    pub(crate) fn captures(&self) -> Result<PathBuf, Failure> {
        let folder = self
            .provider
            .folder(&self.sources.lab.name)
            .or_exit(Exit::LabFailed)?;
        Ok(folder.join("captures"))
    }
}
