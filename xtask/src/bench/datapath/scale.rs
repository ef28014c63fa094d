//! How connections per second change with the number of services, and of NAT entries.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::Result;

use super::super::lab::Lab;
use super::super::sample::Sample;
use super::measures::{Way, figure, start_servers};
use super::services::{CLUSTER_IP, SERVER, lab};
use super::variant::Variant;
use crate::table::Table;

const SERVICES: [usize; 3] = [10, 1_000, 10_000];
const NAT_ENTRIES: [u32; 3] = [1, 10_000, 200_000];
/// Of the map with room for all of them.
const NAT_MAX: &str =
    "bpf: {masquerade: true, natMax: 1048576, ctTcpMax: 262144, ctAnyMax: 524288}";
const BPF: &str = "bpf: {masquerade: true}";
const ROUTER: &str = "192.168.10.200";
const CLIENT: &str = "curl-pod";

/// As many as one manifest may have.
const IN_ONE_FILE: usize = 5_000;

/// The study lab with so many services of the one pod that is measured, in one file or more.
fn with_services(name: &str, count: usize) -> Result<Variant> {
    let mut variant = Variant::new(name)?;
    for first in (0..count).step_by(IN_ONE_FILE) {
        let services = manifest(first..count.min(first + IN_ONE_FILE));
        variant = variant.with_manifest(&format!("from-{first}.yaml"), services)?;
    }
    Ok(variant)
}

fn manifest(services: Range<usize>) -> String {
    let mut manifest = String::new();
    for number in services {
        write!(
            manifest,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: filler-{number}}}\n\
             spec:\n  selector: {{app: {SERVER}}}\n  ports:\n  - {{port: 80}}\n"
        )
        .expect("writing to a String");
    }
    manifest
}

fn connections(lab: &Lab, to: &str, traffic: &str) -> Result<f64> {
    let to = to.to_owned();
    let way = Way {
        lab,
        from: CLIENT,
        to,
        traffic,
    };
    way.connections()
}

/// Connections to one service among many, at the socket and by kube-proxy's rules.
pub(super) fn services(rounds: usize, traffic: &str) -> Result<Table> {
    let mut table = Table::new(&[
        "services",
        "at the socket, connections/s",
        "kube-proxy's rules",
        "ratio",
    ]);
    for count in SERVICES {
        eprintln!("bench: {count} services");
        let ebpf = lab(with_services("bench-many-socket", count)?, traffic)?;
        let rules = with_services("bench-many-rules", count)?.with_kube_proxy()?;
        let rules = lab(rules, traffic)?;
        let (mut ours, mut theirs) = (Sample::new(), Sample::new());
        for _ in 0..rounds {
            ours.push(connections(&ebpf, CLUSTER_IP, traffic)?);
            theirs.push(connections(&rules, CLUSTER_IP, traffic)?);
        }
        table.row(vec![
            count.to_string(),
            figure(ours.median()),
            figure(theirs.median()),
            format!("{:.2}", ours.ratio_to(&theirs)),
        ]);
    }
    Ok(table)
}

/// Connections that are masqueraded while so many other flows are.
pub(super) fn nat_entries(rounds: usize, traffic: &str) -> Result<Table> {
    let mut table = Table::new(&["other flows masqueraded", "connections/s", "ratio"]);
    let lab = Variant::new("bench-nat")?.with(BPF, NAT_MAX)?.up(&[])?;
    start_servers(&lab, "router", ROUTER, traffic)?;
    let mut samples: Vec<Sample> = Vec::new();
    for count in NAT_ENTRIES {
        eprintln!("bench: {count} flows masqueraded");
        let mut sample = Sample::new();
        for _ in 0..rounds {
            // Again in each round: datagrams are forgotten after a minute.
            let flows = count.to_string();
            lab.exec(CLIENT, &[traffic, "flows", ROUTER, "--count", &flows])?;
            sample.push(connections(&lab, ROUTER, traffic)?);
        }
        samples.push(sample);
    }
    for (count, sample) in NAT_ENTRIES.iter().zip(&samples) {
        table.row(vec![
            count.to_string(),
            figure(sample.median()),
            format!("{:.2}", sample.ratio_to(&samples[0])),
        ]);
    }
    Ok(table)
}
