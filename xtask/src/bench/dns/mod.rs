//! `cargo xtask bench dns`: what an answer costs, and how long it takes.
//!
//! All is in one network namespace: nsd as the upstream and the load generators on one core,
//! the server on the other. Servers take turns on 127.0.0.1:53. CPU time is that of the
//! server's cgroup. The kernel's receive path runs on the sender's core, and so do answers
//! that the kernel gives by itself: what all cores did is beside it.

mod contestant;
mod load;
mod names;
mod namespace;

use anyhow::{Context as _, Result};

use super::lab::release;
use super::sample::Sample;
use crate::table::Table;
use contestant::{Contestant, contestants};
use load::Load;
use names::Names;
use namespace::Namespace;

/// What is measured of one contestant under one load.
#[derive(Clone, Debug, Default)]
struct Figures {
    cpu_per_answer: Sample,
    /// Of all cores: generators, the kernel in whoever's name, and other work.
    machine_per_answer: Sample,
    answers_per_second: Sample,
    p50: Sample,
    p99: Sample,
    lost: Sample,
}

/// A contestant's figures, by load, and its memory after all of them.
struct Row {
    name: &'static str,
    loads: Vec<Figures>,
    resident: Sample,
}

/// Runs all, prints a table for each load.
pub(super) fn measure(rounds: usize) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("labctl-bench-dns-{}", std::process::id()));
    std::fs::create_dir(&folder).context("make a folder for configurations")?;
    let measured = measure_in(&folder, rounds);
    std::fs::remove_dir_all(&folder).context("remove the folder of configurations")?;
    for table in measured? {
        println!("{table}\n");
    }
    Ok(())
}

fn measure_in(folder: &std::path::Path, rounds: usize) -> Result<Vec<String>> {
    let traffic = release("examples/traffic");
    let namespace = Namespace::new()?;
    let names = Names::write(folder)?;
    let _upstream = namespace.upstream(folder)?;
    let contestants = contestants(folder, &traffic)?;
    let loads = Load::all(&names, &traffic);
    let mut rows: Vec<Row> = contestants
        .iter()
        .map(|contestant| Row {
            name: contestant.name,
            loads: vec![Figures::default(); loads.len()],
            resident: Sample::new(),
        })
        .collect();
    for round in 0..rounds {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            eprintln!(
                "bench: dns: round {} of {rounds}: {}",
                round + 1,
                contestant.name
            );
            one_round(&namespace, contestant, &loads, &names, row)
                .with_context(|| contestant.name)?;
        }
    }
    Ok(loads
        .iter()
        .enumerate()
        .map(|(index, load)| table(load, index, &rows))
        .chain([memory(&rows)])
        .collect())
}

/// Starts a contestant, fills its cache, and takes it through the loads.
fn one_round(
    namespace: &Namespace,
    contestant: &Contestant,
    loads: &[Load],
    names: &Names,
    row: &mut Row,
) -> Result<()> {
    let server = namespace.start(contestant)?;
    load::fill(namespace, names)?;
    for (load, figures) in loads.iter().zip(&mut row.loads) {
        if load.over_tcp() && !contestant.tcp {
            continue;
        }
        load.run(namespace, &server, figures)
            .with_context(|| load.title.clone())?;
    }
    row.resident.push(server.resident_mib()?);
    Ok(())
}

fn table(load: &Load, index: usize, rows: &[Row]) -> String {
    let mut table = Table::new(&[
        &load.title,
        "CPU µs/answer",
        "it : labctl",
        "all cores µs/answer",
        "answers/s",
        "p50 µs",
        "p99 µs",
        "lost",
    ]);
    let labctl = rows.iter().find(|row| row.name == contestant::OURS);
    for row in rows {
        let figures = &row.loads[index];
        let ratio = labctl.map_or(f64::NAN, |ours| {
            figures
                .cpu_per_answer
                .ratio_to(&ours.loads[index].cpu_per_answer)
        });
        table.row(vec![
            row.name.to_owned(),
            shown(figures.cpu_per_answer.median(), 2),
            shown(ratio, 2),
            shown(figures.machine_per_answer.median(), 2),
            shown(figures.answers_per_second.median(), 0),
            shown(figures.p50.median(), 0),
            shown(figures.p99.median(), 0),
            shown(figures.lost.median(), 0),
        ]);
    }
    table.render()
}

fn memory(rows: &[Row]) -> String {
    let mut table = Table::new(&["after all that", "resident, MiB"]);
    for row in rows {
        table.row(vec![row.name.to_owned(), shown(row.resident.median(), 1)]);
    }
    table.render()
}

/// A figure, or a dash where there is none.
fn shown(figure: f64, digits: usize) -> String {
    if figure.is_nan() {
        return "–".to_owned();
    }
    format!("{figure:.digits$}")
}
