//! `cargo xtask bench`: figures as ratios, measured side by side in one run.
//!
//! Nothing here is a test: machines are noisy, so each figure is the median of
//! several rounds in which the contestants take turns.

mod capture_file;
mod checks;
mod datapath;
mod lab;
mod sample;
mod table;
mod up;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::command::{command, is_root, run};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds, each contestant once a round.
    #[arg(long, default_value_t = 5, global = true)]
    rounds: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// `up`, second `up` and `down`, beside the bare netlink calls and `ip`.
    Up,
    /// Masquerading beside plain forwarding, iptables and nft.
    Datapath,
    /// Reading and filtering a capture of a million packets, beside tcpdump and tshark.
    Checks,
}

/// Builds in release mode, measures, prints a table.
pub(crate) fn measure(options: &Options) -> Result<()> {
    if !is_root() {
        bail!("benchmarks make namespaces: run as root");
    }
    run(command("cargo").args(["build", "--release", "--locked", "--bin", "labctl"]))?;
    match options.what {
        What::Up => up::measure(options.rounds),
        What::Datapath => datapath::measure(options.rounds),
        What::Checks => checks::measure(options.rounds),
    }
}
