//! `logs`: what a node's services, or a pod, have written.

use lab_providers::Log;

use super::exec::find;
use crate::args::LogsArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::output::print;

pub(crate) fn run(args: &LogsArgs) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let target = find(&provider, &lab, &args.target)?;
    let logs = provider.logs(&lab, &target).or_exit(Exit::LabFailed)?;
    // As tail(1) does, a head only where there are several.
    let several = logs.len() > 1;
    for Log { name, text } in logs {
        let head = if several {
            format!("==> {name} <==\n")
        } else {
            String::new()
        };
        print(&format!("{head}{text}"))?;
    }
    Ok(Exit::Success)
}
