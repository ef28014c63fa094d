//! `plan`: what `up` would do, and why.

use lab_model::plan::{Plan, Wiring};
use serde::Serialize;

use crate::args::PlanArgs;
use crate::exit::{Exit, Failure};
use crate::labs::provider_for;
use crate::live::{allocations, plan_for};
use crate::output::{count, print_as};
use crate::sources;

pub(crate) fn run(args: PlanArgs) -> Result<Exit, Failure> {
    let sources = sources::read(&args.lab.file, args.lab.name.as_deref())?;
    let provider = provider_for(&sources.lab, &args.provider, args.datapath)?;
    let cluster = sources.cluster(&allocations(&provider, &sources.lab.name)?)?;
    let plan = plan_for(&provider, &sources.lab, &cluster.node_states)?;
    let lab = &sources.lab.name;
    let wiring = provider.wiring();
    print_as(args.format.output, &document(lab, &plan, wiring), || {
        text(lab, &plan, wiring)
    })?;
    let pending = args.detailed_exitcode && !plan.is_empty();
    Ok(if pending {
        Exit::ChangesPending
    } else {
        Exit::Success
    })
}

/// A plan as `-o json` writes it.
#[derive(Serialize)]
struct PlanDocument<'a> {
    lab: &'a str,
    steps: Vec<StepDocument<'a>>,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    /// The node that is changed; absent for the lab as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    /// What is done, as a shell would do about the same.
    action: String,
    reason: &'a str,
}

fn document<'a>(lab: &'a str, plan: &'a Plan, wiring: Wiring) -> PlanDocument<'a> {
    let steps = plan.steps.iter().map(|step| StepDocument {
        node: step.action.node(),
        action: step.action.shell(wiring).to_string(),
        reason: &step.reason,
    });
    PlanDocument {
        lab,
        steps: steps.collect(),
    }
}

/// One line for each step: the action, and behind it the reason, in a column as far
/// as actions are short.
fn text(lab: &str, plan: &Plan, wiring: Wiring) -> String {
    const WIDEST: usize = 72;
    if plan.is_empty() {
        return format!("lab {lab} is up to date: nothing to do\n");
    }
    let actions: Vec<String> = plan
        .steps
        .iter()
        .map(|step| step.action.shell(wiring).to_string())
        .collect();
    let short = actions
        .iter()
        .map(|action| action.chars().count())
        .filter(|width| *width <= WIDEST);
    let width = short.max().unwrap_or(0);
    let mut text = String::new();
    for (action, step) in actions.iter().zip(&plan.steps) {
        text.push_str(&format!("{action:<width$}  # {}\n", step.reason));
    }
    text.push_str(&format!("{} to do\n", count(plan.steps.len(), "step")));
    text
}
