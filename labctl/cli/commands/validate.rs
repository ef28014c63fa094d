//! `validate`: every fault of lab files and of all that they name.

use std::path::Path;

use lab_cluster::Allocations;
use lab_model::diagnostic::Diagnostics;

use crate::args::ValidateArgs;
use crate::exit::{Exit, Failure};
use crate::output::{count, print_line};
use crate::sources;

pub(crate) fn run(args: &ValidateArgs, quiet: bool) -> Result<Exit, Failure> {
    let mut faults = Diagnostics::new();
    for file in &args.files {
        match examine(file) {
            Ok(_) if quiet => {}
            Ok(summary) => print_line(summary)?,
            Err(Failure::Faults(more)) => faults.extend(more),
            Err(other) => return Err(other),
        }
    }
    faults.or(Exit::Success).map_err(Failure::Faults)
}

fn examine(file: &Path) -> Result<String, Failure> {
    let sources = sources::read(file, None)?;
    let cluster = sources.cluster(&Allocations::default())?;
    let checks: usize = sources.suites.iter().map(|suite| suite.checks.len()).sum();
    Ok(format!(
        "{} is valid: lab {}, {}, {}, {}",
        file.display(),
        sources.lab.name,
        count(sources.lab.nodes.len(), "node"),
        count(cluster.pods.len(), "pod"),
        count(checks, "check"),
    ))
}
