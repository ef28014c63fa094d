//! `cargo xtask bench datapath`: what the datapath costs, beside what does the same otherwise.
//!
//! All tables are of the study lab, in several variants that are up side by side; in each round
//! every variant is measured once.

mod masquerade;
mod measures;
mod scale;
mod services;
mod tunnel;
mod variant;

use anyhow::Result;
use clap::ValueEnum;

use super::lab::release;
use crate::command::{command, run};

/// What is measured, a table each.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Masquerading, beside plain forwarding, iptables and nft.
    Masquerade,
    /// Services at the socket, beside kube-proxy's rules.
    Services,
    /// VXLAN, beside native routing.
    Tunnel,
    /// 10, 1000 and 10 000 services.
    ManyServices,
    /// 1, 10 000 and 200 000 flows masqueraded.
    NatEntries,
    /// Nanoseconds a packet of each program.
    Programs,
}

/// Measures and prints one table after the other: these, or all if there are none.
pub(super) fn measure(rounds: usize, parts: &[Part]) -> Result<()> {
    let parts = if parts.is_empty() {
        Part::value_variants()
    } else {
        parts
    };
    let traffic = release("examples/traffic").to_string_lossy().into_owned();
    for part in parts {
        let table = match part {
            Part::Masquerade => masquerade::table(rounds, &traffic)?,
            Part::Services => services::table(rounds, &traffic)?,
            Part::Tunnel => tunnel::table(rounds, &traffic)?,
            Part::ManyServices => scale::services(rounds, &traffic)?,
            Part::NatEntries => scale::nat_entries(rounds, &traffic)?,
            Part::Programs => {
                nanoseconds_per_packet()?;
                continue;
            }
        };
        println!("{}\n", table.render());
    }
    Ok(())
}

/// By an example of the crate that has the programs, which prints its table.
fn nanoseconds_per_packet() -> Result<()> {
    run(command("cargo").args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "lab-datapath-common",
        "--example",
        "ns_per_packet",
    ]))
}
