//! Plans carried out, and taken back: the same for every provider.
//!
//! ```text
//! plan ── stages: steps that may be done together ──► executor
//!            │ journal, events                           │ a fault, an interrupt
//!            ▼                                           ▼
//!          done                            undo backwards, name what remains
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use lab_model::plan::{Action, Phase, Plan, Step, Undo, undo};

use crate::error::{ExecuteError, ProviderError};
use crate::lab_folder::LabFolder;
use crate::record::{self, Journal, Record};

/// What happens while a plan is carried out.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins.
    Doing(&'a Step),
    /// A step is done.
    Done(&'a Step),
    /// Something went wrong, and a step is taken back by this action.
    Undoing(&'a Action),
}

/// Actions of a run, with their places in the plan.
pub(crate) type Staged<'p> = Vec<(usize, &'p Action)>;

/// A failure, and the position of the step in the plan.
#[derive(Debug)]
pub(crate) struct StepFault {
    pub(crate) position: usize,
    pub(crate) cause: ProviderError,
}

impl StepFault {
    pub(crate) fn at(position: usize) -> impl Fn(ProviderError) -> Self {
        move |cause| Self { position, cause }
    }
}

/// Does what a plan says.
pub(crate) trait Executor {
    /// Carries out actions that may be done together. Removing what is not there
    /// is no fault.
    fn stage(&mut self, actions: Staged<'_>, interrupt: &AtomicBool) -> Result<(), StepFault>;

    /// Phases with the same answer are done together.
    fn together(&self, phase: Phase) -> Phase {
        phase
    }
}

/// Who is told of events.
pub(crate) type Listener<'l> = &'l mut dyn FnMut(Event<'_>);

/// Carries out `plan`, after writing `record` down: should this process be killed,
/// the next run finds in it what this one gave out. When a step fails, or
/// `interrupt` is set, takes back what was done.
pub(crate) fn execute(
    folder: &LabFolder,
    plan: &Plan,
    record: &Record,
    executor: &mut dyn Executor,
    interrupt: &AtomicBool,
    events: Listener<'_>,
) -> Result<(), ExecuteError> {
    let before = Record::read(folder).unwrap_or_default();
    if before.as_ref() != Some(record) {
        record.write(folder).map_err(ExecuteError::bare)?;
    }
    if plan.is_empty() {
        return Ok(());
    }
    let mut journal = Journal::open(folder);
    let mut begun = 0;
    match forward(
        &plan.steps,
        &mut begun,
        executor,
        interrupt,
        &mut journal,
        events,
    ) {
        Ok(()) => {
            journal.ended("done");
            Ok(())
        }
        Err(fault) => {
            journal.ended(&fault.cause.to_string());
            let remains = back(&plan.steps[..begun], executor, events);
            Err(report(folder, plan, fault, before.as_ref(), remains))
        }
    }
}

fn forward(
    steps: &[Step],
    begun: &mut usize,
    executor: &mut dyn Executor,
    interrupt: &AtomicBool,
    journal: &mut Journal,
    events: Listener<'_>,
) -> Result<(), StepFault> {
    let stage = |step: &Step| executor.together(step.action.phase());
    let stages: Vec<&[Step]> = steps.chunk_by(|a, b| stage(a) == stage(b)).collect();
    for steps in stages {
        let first = *begun;
        if interrupt.load(Ordering::SeqCst) {
            return Err(StepFault::at(first)(ProviderError::Interrupted));
        }
        journal.doing(steps);
        steps.iter().for_each(|step| events(Event::Doing(step)));
        *begun += steps.len();
        let staged = steps.iter().enumerate();
        let staged = staged.map(|(offset, step)| (first + offset, &step.action));
        executor.stage(staged.collect(), interrupt)?;
        steps.iter().for_each(|step| events(Event::Done(step)));
    }
    Ok(())
}

/// Takes back what was begun, backwards, and returns what remains. Steps that were
/// begun but perhaps not done are taken back as well.
fn back(begun: &[Step], executor: &mut dyn Executor, events: Listener<'_>) -> Vec<String> {
    let begun: Vec<Action> = begun.iter().map(|step| step.action.clone()).collect();
    // A second interrupt ends the process; the first must not end the undoing.
    let never = AtomicBool::new(false);
    let mut remains = Vec::new();
    for way in undo(&begun) {
        match way {
            Undo::By(action) => {
                events(Event::Undoing(&action));
                if let Err(StepFault { cause, .. }) = executor.stage(vec![(0, &action)], &never) {
                    remains.push(left_by(&action, &cause));
                }
            }
            Undo::Nothing => {}
            Undo::Lost(what) => remains.push(what),
        }
    }
    remains
}

fn report(
    folder: &LabFolder,
    plan: &Plan,
    fault: StepFault,
    before: Option<&Record>,
    mut remains: Vec<String>,
) -> ExecuteError {
    if let Err(cause) = record::restore(folder, before) {
        remains.push(format!("failed to {cause}"));
    }
    let interrupted = matches!(fault.cause, ProviderError::Interrupted);
    let step = plan.steps.get(fault.position).filter(|_| !interrupted);
    ExecuteError {
        step: step.cloned().map(Box::new),
        cause: fault.cause.into(),
        remains,
    }
}

fn left_by(action: &Action, cause: &ProviderError) -> String {
    let hint = "`labctl down` removes the lab with all that is left of it";
    format!("failed to undo with `{action}`: {cause}; {hint}")
}

/// Carries out a plan towards nothing. What cannot be removed does not keep the
/// rest from being removed.
pub(crate) fn remove(
    plan: &Plan,
    executor: &mut dyn Executor,
    interrupt: &AtomicBool,
    events: Listener<'_>,
) -> Result<(), ExecuteError> {
    let mut faults: Vec<(Step, ProviderError)> = Vec::new();
    for steps in plan
        .steps
        .chunk_by(|a, b| a.action.phase() == b.action.phase())
    {
        if interrupt.load(Ordering::SeqCst) {
            return Err(ExecuteError::bare(ProviderError::Interrupted));
        }
        let last = matches!(steps, [Step { action, .. }] if action.node().is_none());
        if last && !faults.is_empty() {
            // The folder is what the next `down` finds the rest by.
            break;
        }
        remove_stage(steps, executor, interrupt, &mut faults, events);
    }
    let mut faults = faults.into_iter();
    let Some((step, cause)) = faults.next() else {
        return Ok(());
    };
    let remains = faults
        .map(|(_, cause)| format!("failed to {cause}"))
        .collect();
    Err(ExecuteError {
        step: Some(Box::new(step)),
        cause: cause.into(),
        remains,
    })
}

/// Does steps of one phase, at once if that goes well, else one by one, to learn
/// which of them fail: each may be repeated.
fn remove_stage(
    steps: &[Step],
    executor: &mut dyn Executor,
    interrupt: &AtomicBool,
    faults: &mut Vec<(Step, ProviderError)>,
    events: Listener<'_>,
) {
    steps.iter().for_each(|step| events(Event::Doing(step)));
    let all = steps.iter().enumerate();
    let all = all.map(|(at, step)| (at, &step.action)).collect();
    if executor.stage(all, interrupt).is_ok() {
        steps.iter().for_each(|step| events(Event::Done(step)));
        return;
    }
    for step in steps {
        match executor.stage(vec![(0, &step.action)], interrupt) {
            Ok(()) => events(Event::Done(step)),
            Err(StepFault { cause, .. }) => faults.push((step.clone(), cause)),
        }
    }
}
