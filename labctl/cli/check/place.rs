//! Where a check's commands run, in the provider's terms.

use std::time::Duration;

use lab_checks::check_file::Target;
use lab_providers::{self as providers, Process};

use super::command::{CommandError, Ended, run};
use crate::interrupt::Interrupt;
use crate::live::LiveLab;

/// Starts `argv` on a node or in a pod of the lab.
pub(super) fn start_in(
    live: &LiveLab,
    on: &Target,
    argv: &[String],
) -> Result<Process, CommandError> {
    let target = match on {
        Target::Node(name) => providers::Target::Node { name: name.clone() },
        Target::Pod {
            namespace,
            name,
            node,
        } => providers::Target::Pod {
            node: node.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
        },
    };
    let lab = &live.sources.lab.name;
    Ok(live.provider.start(lab, &target, argv)?)
}

/// Runs `argv` on a node or in a pod to its end, or for `limit`.
pub(super) fn run_in(
    live: &LiveLab,
    on: &Target,
    argv: &[String],
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Ended, CommandError> {
    let program = argv.first().map(String::as_str).unwrap_or_default();
    run(program, start_in(live, on, argv)?, limit, interrupt)
}
