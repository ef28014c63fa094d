//! `cargo xtask`: what the project does to itself. Each subcommand is a module;
//! this file only names them.

mod artifacts;
mod bench;
mod command;
mod demo;
#[cfg(test)]
mod dependency_rule;
mod ebpf;
mod libtest;
mod setup;
mod table;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, build, test and bench commands of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what a fresh Debian or Ubuntu lacks, saying what and why.
    Setup(setup::Options),
    /// Set up, build, bring up the study lab and run its checks; the lab stays up.
    Demo,
    /// Compile the kernel programs into datapath/prebuilt.
    Ebpf(ebpf::Options),
    /// Set up and run every test, those that need root too; or, with --vm, on other kernels.
    Test(test::Options),
    /// Measure, beside the peers that are installed.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup(options) => setup::install_missing(&options),
        Task::Demo => demo::bring_up(),
        Task::Ebpf(options) => ebpf::build(&options),
        Task::Test(options) => test::run_tests(&options),
        Task::Bench(options) => bench::measure(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
