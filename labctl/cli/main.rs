//! `labctl`: Kubernetes networking labs from one YAML file.
//!
//! The only code that prints. It parses the command line, calls the crates that do
//! the work, renders what they return, and ends with an exit code of
//! `docs/exit-codes.md`. Called as `cilium`, `cilium-dbg` or `hubble` it is that
//! command.

mod app;
mod args;
mod check;
mod commands;
mod doctor;
mod exit;
mod interrupt;
mod labs;
mod live;
mod output;
mod probe;
mod progress;
mod sources;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::exit::Failure;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or("labctl");
    let outcome = match called {
        "cilium" | "cilium-dbg" => commands::cilium::run(called),
        "hubble" => commands::hubble::run(),
        _ => commands::run(Cli::parse_from(args::typed())),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&failure);
            failure.code().into()
        }
    }
}

/// The one place where failures are told.
fn report(failure: &Failure) {
    let mut err = std::io::stderr().lock();
    // Nobody is left to tell when standard error is closed.
    let _ = match failure {
        Failure::Faults(faults) => {
            let count = faults.len();
            let plural = if count == 1 { "fault" } else { "faults" };
            write!(err, "{}", faults.render(output::color_on_stderr()))
                .and_then(|()| writeln!(err, "\nerror: {count} {plural}; nothing was made"))
        }
        Failure::Because { message, help, .. } => {
            let told = writeln!(err, "error: {message}");
            match help {
                Some(help) => told.and_then(|()| writeln!(err, "  {help}")),
                None => told,
            }
        }
        Failure::Usage(text) => write!(err, "{text}"),
        Failure::NotExecuted { message, .. } => writeln!(err, "error: {message}"),
    };
}
