//! One module for each command: call what does the work, render what it returns.

mod check;
mod check_report;
pub(crate) mod cilium;
mod cp;
mod dns;
mod doctor;
mod down;
mod exec;
mod generate;
pub(crate) mod hubble;
mod image;
mod inspect;
mod logs;
mod node;
mod plan;
mod rollout;
mod ssh;
mod status;
mod up;
mod validate;

use crate::app;
use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::print_line;

/// Runs the command and returns what the process ends with.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let quiet = cli.quiet;
    match cli.command {
        Command::Validate(args) => validate::run(&args, quiet),
        Command::Plan(args) => plan::run(args),
        Command::Up(args) => up::run(args, quiet),
        Command::Down(args) => down::run(&args, quiet),
        Command::Status(args) => status::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Check(args) => check::run(&args, quiet),
        Command::Exec(args) => exec::run(&args),
        Command::Shell(args) => exec::shell(&args),
        Command::Ssh(args) => ssh::run(&args),
        Command::SshConfig(args) => ssh::config(&args),
        Command::Cp(args) => cp::run(&args, quiet),
        Command::Image(command) => image::run(command, quiet),
        Command::Observe(args) => hubble::observe(*args),
        Command::Logs(args) => logs::run(&args),
        Command::Rollout(command) => rollout::run(&command, quiet),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { folder } => generate::man(&folder),
        Command::Node(args) => node::run(args),
        Command::Dns(args) => dns::run(args),
        Command::App(app) => match app::run(app) {
            Ok(()) => Ok(Exit::Success),
            Err(error) => Err(Failure::new(Exit::LabFailed, format_args!("{error:#}"))),
        },
        Command::Probe(probe) => print_line(probe.run()).map(|()| Exit::Success),
    }
}
