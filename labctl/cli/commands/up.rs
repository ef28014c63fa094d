//! `up`: whatever is there becomes what the lab file says.

use std::time::Instant;

use super::check;
use crate::args::UpArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::live::{LiveLab, provider};
use crate::output::{count, print_line};
use crate::progress::Progress;
use crate::sources;

pub(crate) fn run(args: UpArgs, quiet: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let sources = sources::read(&args.lab.file, args.lab.name.as_deref())?;
    let netns = provider(args.datapath.datapath_object)?;
    let interrupt = Interrupt::listen()?;
    interrupt.would_leave(format!(
        "`labctl down --lab {}` removes what is left",
        sources.lab.name
    ));
    let live = LiveLab::lock(netns, sources, &interrupt)?;
    let plan = live.plan()?;
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

fn summary(live: &LiveLab, nothing: bool, began: Instant) -> String {
    let lab = &live.sources.lab;
    if nothing {
        return format!("lab {} is up to date: nothing to do", lab.name);
    }
    let (nodes, pods) = (
        count(lab.nodes.len(), "node"),
        count(live.cluster.pods.len(), "pod"),
    );
    format!(
        "lab {} is up: {nodes}, {pods}, {} ms",
        lab.name,
        began.elapsed().as_millis()
    )
}
