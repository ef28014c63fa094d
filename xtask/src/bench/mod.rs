//! `cargo xtask bench`: figures as ratios, measured side by side in one run.
//!
//! Nothing here is a test: machines are noisy, so each figure is the median of
//! several rounds in which the contestants take turns.

mod capture_file;
mod checks;
mod datapath;
mod dns;
mod lab;
#[cfg(feature = "vm")]
mod machines;
mod sample;
mod up;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

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
    /// `up`, second `up` and `down`, beside the bare netlink calls and `ip`, or beside
    /// machines without a lab.
    Up {
        /// Where labs are made.
        #[arg(long, value_enum, default_value_t)]
        provider: Provider,
    },
    /// Masquerading, services and tunnels, beside plain forwarding, iptables and nft.
    Datapath {
        /// These tables alone.
        #[arg(value_enum)]
        parts: Vec<datapath::Part>,
    },
    /// Reading and filtering a capture of a million packets, beside tcpdump and tshark.
    Checks,
    /// Answering DNS queries, beside unbound, dnsmasq, knot-resolver and pdns-recursor.
    Dns,
}

/// Where labs are made.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// In namespaces.
    #[default]
    Netns,
    /// On virtual machines.
    Qemu,
}

/// Builds in release mode, measures, prints a table.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let on_machines = matches!(options.what, What::Up { provider } if provider == Provider::Qemu);
    if !on_machines && !is_root() {
        bail!("benchmarks make namespaces: run as root");
    }
    // In one go: one after the other they have other features, and dependencies are built anew.
    let both = ["--bin", "labctl", "--example", "traffic"];
    run(command("cargo")
        .args(["build", "--release", "--locked"])
        .args(both))?;
    match &options.what {
        What::Up { .. } if on_machines => on_virtual_machines(options.rounds),
        What::Up { .. } => up::measure(options.rounds),
        What::Datapath { parts } => datapath::measure(options.rounds, parts),
        What::Checks => checks::measure(options.rounds),
        What::Dns => dns::measure(options.rounds),
    }
}

#[cfg(feature = "vm")]
fn on_virtual_machines(rounds: usize) -> Result<()> {
    machines::measure(rounds)
}

#[cfg(not(feature = "vm"))]
fn on_virtual_machines(rounds: usize) -> Result<()> {
    let rounds = rounds.to_string();
    crate::vm::with_machines(&["bench", "--rounds", &rounds, "up", "--provider", "qemu"])
}
