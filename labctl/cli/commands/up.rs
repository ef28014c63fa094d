//! `up`: whatever is there becomes what the lab file says.

use std::time::Instant;

use lab_model::lab::Role;
use lab_model::plan::{Action, Plan, Step, Wiring};

use super::check;
use crate::args::UpArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::labs::provider_for;
use crate::live::LiveLab;
use crate::output::{count, print_line};
use crate::progress::Progress;
use crate::sources;

pub(crate) fn run(args: UpArgs, quiet: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let sources = sources::read(&args.lab.file, args.lab.name.as_deref())?;
    let given = args.datapath.datapath_object.is_some();
    let provider = provider_for(&sources.lab, &args.provider, args.datapath)?;
    let interrupt = Interrupt::listen()?;
    interrupt.would_leave(format!(
        "`labctl down --lab {}` removes what is left",
        sources.lab.name
    ));
    let live = LiveLab::lock(provider, sources, &interrupt)?;
    let plan = live.plan()?;
    if given && !starts_agents(&plan) {
        eprintln!(
            "warning: every node agent runs already, so --datapath-object changes nothing; \
             take the lab down first"
        );
    }
    let progress = Progress::new(plan.steps.len(), quiet);
    live.execute(&plan, &interrupt, &progress)?;
    drop(progress);
    if !quiet {
        print_line(summary(&live, plan.is_empty(), began))?;
    }
    if args.check {
        check::run_all(&live, &interrupt, quiet)
    } else {
        Ok(Exit::Success)
    }
}

/// Programs are loaded by an agent when it starts.
fn starts_agents(plan: &Plan) -> bool {
    let starts = |step: &Step| matches!(step.action, Action::StartAgent { .. });
    plan.steps.iter().any(starts)
}

fn summary(live: &LiveLab, nothing: bool, began: Instant) -> String {
    let lab = &live.sources.lab;
    let wiring = live.provider.wiring();
    // On machines, no node plays the world.
    let nodes = lab
        .nodes
        .iter()
        .filter(|node| wiring == Wiring::Cables || node.role != Role::World);
    if nothing {
        return format!("lab {} is up to date: nothing to do", lab.name);
    }
    let (nodes, pods) = (
        count(nodes.count(), "node"),
        count(live.cluster.pods.len(), "pod"),
    );
    format!(
        "lab {} is up: {nodes}, {pods}, {} ms",
        lab.name,
        began.elapsed().as_millis()
    )
}
