//! The way back after a failure.

use std::sync::atomic::AtomicBool;

use lab_model::plan::{Action, Step, Undo, undo};

use super::error::{ExecuteError, ProviderError};
use super::execute::{Event, Run, StepFault};
use super::record::{self, Record};

/// Takes back what `run` has begun of `steps`, backwards, and returns the error
/// to report. Steps that were begun but perhaps not done are taken back as well:
/// removing what is not there is no fault.
pub(super) fn after(
    run: Run<'_>,
    steps: &[Step],
    fault: StepFault,
    before: Option<&Record>,
    events: &mut dyn FnMut(Event<'_>),
) -> ExecuteError {
    let begun: Vec<Action> = steps[..run.begun]
        .iter()
        .map(|step| step.action.clone())
        .collect();
    // A second interrupt ends the process; the first must not end the undoing.
    let never = AtomicBool::new(false);
    let places = run.places;
    let mut run = run.undisturbed(&never);
    let mut remains = Vec::new();
    for way in undo(&begun) {
        match way {
            Undo::By(action) => {
                events(Event::Undoing(&action));
                if let Err(StepFault { cause, .. }) = run.stage(vec![(0, &action)]) {
                    remains.push(left_by(&action, &cause));
                }
            }
            Undo::Nothing => {}
            Undo::Lost(what) => remains.push(what),
        }
    }
    if let Err(cause) = record::restore(places, before) {
        remains.push(format!("failed to {cause}"));
    }
    let interrupted = matches!(fault.cause, ProviderError::Interrupted);
    let step = steps.get(fault.position).filter(|_| !interrupted);
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
