//! `cargo xtask bench up`: how long a lab takes to come up, to be found unchanged,
//! and to go; beside the bare netlink calls for the same objects with the same
//! programs loaded, and beside `ip` commands.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lab::{labctl, release};
use super::sample::{Sample, milliseconds};
use crate::command::{command, output, root, run};
use crate::table::Table;

/// Nodes of the labs that show how the cost grows.
const SIZES: [usize; 4] = [4, 100, 300, 1000];

pub(super) fn measure(rounds: usize) -> Result<()> {
    run(command("cargo").args([
        "build",
        "--release",
        "--locked",
        "--package",
        "lab-providers",
        "--example",
        "bare_up",
    ]))?;
    println!("{}\n", study(rounds)?.render());
    println!("{}", growth(rounds.min(3))?.render());
    Ok(())
}

/// The study lab beside its peers.
fn study(rounds: usize) -> Result<Table> {
    let [mut bare, mut attached, mut up, mut again, mut down, mut ip] =
        [const { Sample::new() }; 6];
    let file = root().join("labs/study.yaml");
    for round in 0..rounds {
        eprintln!("bench: round {} of {rounds}", round + 1);
        let (loaded_at, attached_at) = bare_milliseconds()?;
        bare.push(loaded_at);
        attached.push(attached_at);
        let timing = cycle(&file, "bench-up")?;
        up.push(timing.up);
        again.push(timing.again);
        down.push(timing.down);
        ip.push(milliseconds(ip_commands)?);
    }
    let mut table = Table::new(&["study lab", "ms", "ratio", "to"]);
    let mut row = |what: &str, sample: &Sample, base: &Sample, to: &str| {
        let (median, ratio) = (sample.median(), sample.ratio_to(base));
        table.row(vec![
            what.into(),
            format!("{median:.1}"),
            format!("{ratio:.2}"),
            to.into(),
        ]);
    };
    row(
        "bare netlink calls, programs loaded",
        &bare,
        &bare,
        "itself",
    );
    row(
        "the same, programs attached too",
        &attached,
        &bare,
        "loaded",
    );
    row("labctl up", &up, &bare, "loaded");
    row("labctl up", &up, &attached, "attached");
    row("labctl up, nothing to do", &again, &up, "labctl up");
    row("labctl down", &down, &up, "labctl up");
    row("`ip` commands, 4 hosts and a bridge", &ip, &up, "labctl up");
    Ok(table)
}

/// `up` of ever more nodes; routers, so that the cost of a node is not that of its programs.
fn growth(rounds: usize) -> Result<Table> {
    let mut table = Table::new(&["nodes", "up, ms", "ms a node", "again, ms", "down, ms"]);
    for size in SIZES {
        let file = write_lab(size)?;
        let (mut up, mut again, mut down) =
            (Sample::default(), Sample::default(), Sample::default());
        for _ in 0..rounds {
            let timing = cycle(&file, "bench-size")?;
            up.push(timing.up);
            again.push(timing.again);
            down.push(timing.down);
        }
        std::fs::remove_file(&file)
            .with_context(|| format!("failed to remove {}", file.display()))?;
        table.row(vec![
            size.to_string(),
            format!("{:.1}", up.median()),
            format!("{:.2}", up.median() / size as f64),
            format!("{:.1}", again.median()),
            format!("{:.1}", down.median()),
        ]);
    }
    Ok(table)
}

/// Milliseconds of one life of a lab.
struct Cycle {
    up: f64,
    again: f64,
    down: f64,
}

fn cycle(file: &Path, name: &str) -> Result<Cycle> {
    let name = format!("{name}-{}", std::process::id());
    let up = || output(labctl().arg("up").arg(file).args(["--name", &name])).map(drop);
    let cycle = (|| Ok((milliseconds(up)?, milliseconds(up)?)))();
    let down = milliseconds(|| output(labctl().args(["down", "--lab", &name])).map(drop))?;
    cycle.map(|(up, again)| Cycle { up, again, down })
}

/// Until the programs are loaded, and until they are attached. The example
/// measures itself, without its own start and clean-up.
fn bare_milliseconds() -> Result<(f64, f64)> {
    let text = output(&mut command(release("examples/bare_up")))?;
    text.split_once(' ')
        .and_then(|(loaded, attached)| Some((loaded.parse().ok()?, attached.trim().parse().ok()?)))
        .with_context(|| format!("bare_up printed {text:?}, not two numbers"))
}

fn write_lab(size: usize) -> Result<PathBuf> {
    let mut text = format!("name: size-{size}\nnetwork: 172.16.0.0/16\nnodes:\n");
    text.push_str("  ctr: {role: control-plane, address: 172.16.0.1}\n");
    for index in 2..=size {
        let (high, low) = (index / 250, index % 250 + 1);
        writeln!(
            text,
            "  r{index}: {{role: router, address: 172.16.{}.{low}}}",
            high + 1
        )?;
    }
    let file =
        std::env::temp_dir().join(format!("labctl-bench-{}-{size}.yaml", std::process::id()));
    std::fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

/// Four hosts on a bridge with one process for each command, as scripts do it.
fn ip_commands() -> Result<()> {
    let prefix = format!("bip{}", std::process::id());
    let bridge = format!("{prefix}-br");
    let hosts: Vec<String> = (1..=4).map(|host| format!("{prefix}-{host}")).collect();
    let ip = |words: &[&str]| output(command("ip").args(words)).map(drop);
    let made = (|| {
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "lab", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "lab", "up"])?;
        for (index, host) in hosts.iter().enumerate() {
            let (port, address) = (format!("p{index}"), format!("192.168.10.{}/24", index + 1));
            ip(&["netns", "add", host])?;
            ip(&[
                "-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth1",
                "netns", host,
            ])?;
            ip(&["-n", &bridge, "link", "set", &port, "master", "lab", "up"])?;
            ip(&["-n", host, "link", "set", "eth1", "up"])?;
            ip(&["-n", host, "addr", "add", &address, "dev", "eth1"])?;
            ip(&[
                "-n",
                host,
                "route",
                "add",
                "10.10.0.0/16",
                "via",
                "192.168.10.200",
            ])?;
        }
        Ok(())
    })();
    for name in hosts.iter().chain([&bridge]) {
        ip(&["netns", "del", name])?;
    }
    made
}
