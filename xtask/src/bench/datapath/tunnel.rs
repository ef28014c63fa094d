//! Pods of two nodes, natively and through VXLAN.

use anyhow::Result;

use super::measures::{self, Figures, Way};
use super::services::{SERVER, address_of, lab};
use super::variant::Variant;
use crate::table::Table;

/// How packets travel.
pub(super) fn table(rounds: usize, traffic: &str) -> Result<Table> {
    let native = lab(Variant::new("bench-native")?, traffic)?;
    let vxlan = Variant::new("bench-vxlan")?
        .with("routingMode: native", "routingMode: tunnel")?
        .with("  autoDirectNodeRoutes: true\n", "")?;
    let vxlan = lab(vxlan, traffic)?;
    let way = |lab| -> Result<Way<'_>> {
        Ok(Way {
            lab,
            from: "curl-pod",
            to: address_of(lab, SERVER)?,
            traffic,
        })
    };
    let ways = [("native routing", way(&native)?), ("VXLAN", way(&vxlan)?)];
    let mut figures = vec![Figures::default(); ways.len()];
    for round in 0..rounds {
        eprintln!("bench: tunnel: round {} of {rounds}", round + 1);
        for ((_, way), figures) in ways.iter().zip(&mut figures) {
            figures.add(way)?;
        }
    }
    let names = ways.iter().map(|(name, _)| *name);
    Ok(measures::table("between nodes", names.zip(&figures)))
}
