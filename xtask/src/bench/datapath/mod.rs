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

use super::lab::release;
use crate::command::{command, run};

/// Measures and prints one table after the other.
pub(super) fn measure(rounds: usize) -> Result<()> {
    let traffic = release("examples/traffic").to_string_lossy().into_owned();
    println!("{}\n", masquerade::table(rounds, &traffic)?.render());
    println!("{}\n", services::table(rounds, &traffic)?.render());
    println!("{}\n", tunnel::table(rounds, &traffic)?.render());
    println!("{}\n", scale::services(rounds, &traffic)?.render());
    println!("{}\n", scale::nat_entries(rounds, &traffic)?.render());
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
