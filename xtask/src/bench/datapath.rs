//! `cargo xtask bench datapath`: a pod talks to the router through its node, which
//! forwards plainly, masquerades with our datapath, with iptables, or with nft.
//!
//! All four are the study lab. The plain one and the two peers run without our
//! programs on the node that is measured, and the kernel's stack forwards there.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lab::{Lab, release};
use super::sample::Sample;
use crate::command::{command, run};
use crate::table::Table;

const LAB: &str = "labs/study.yaml";
const PASSTHROUGH: &str = "datapath/prebuilt/passthrough.bpf.o";
const NODE: &str = "k8s-ctr";
const POD: &str = "curl-pod";
const ROUTER: &str = "router";
const ROUTER_ADDRESS: &str = "192.168.10.200";
const RATE_PORT: &str = "9100";

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Plain,
    Labctl,
    Iptables,
    Nft,
}

impl Contestant {
    const ALL: [Self; 4] = [Self::Plain, Self::Labctl, Self::Iptables, Self::Nft];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain forwarding",
            Self::Labctl => "labctl masquerade",
            Self::Iptables => "iptables MASQUERADE",
            Self::Nft => "nft masquerade",
        }
    }

    fn lab_name(self) -> &'static str {
        match self {
            Self::Plain => "bench-plain",
            Self::Labctl => "bench-labctl",
            Self::Iptables => "bench-ipt",
            Self::Nft => "bench-nft",
        }
    }

    fn bring_up(self) -> Result<Lab> {
        if self == Self::Labctl {
            return Lab::up(LAB, self.lab_name(), &[]);
        }
        let lab = Lab::up(LAB, self.lab_name(), &["--datapath-object", PASSTHROUGH])?;
        // Unpinning a TCX link detaches it: from here on the node's stack is alone.
        lab.exec(NODE, &["rm", "-r", "/sys/fs/bpf/cilium/links"])?;
        let rules: &[&[&str]] = match self {
            Self::Plain | Self::Labctl => &[],
            Self::Iptables => &[&[
                "iptables",
                "-t",
                "nat",
                "-A",
                "POSTROUTING",
                "-s",
                "10.244.0.0/16",
                "-o",
                "eth1",
                "-j",
                "MASQUERADE",
            ]],
            Self::Nft => &[
                &["nft", "add table ip lab"],
                &[
                    "nft",
                    "add chain ip lab post { type nat hook postrouting priority 100 ; }",
                ],
                &[
                    "nft",
                    "add rule ip lab post ip saddr 10.244.0.0/16 oifname eth1 masquerade",
                ],
            ],
        };
        for rule in rules {
            lab.exec(NODE, rule)?;
        }
        if self == Self::Plain {
            let back = [
                "ip",
                "route",
                "add",
                "10.244.0.0/24",
                "via",
                "192.168.10.100",
            ];
            lab.exec(ROUTER, &back)?;
        }
        Ok(lab)
    }
}

/// What is measured; all are rates, so more is better.
const MEASURES: [&str; 3] = ["TCP stream, Gbit/s", "UDP 64 B, packets/s", "connections/s"];

pub(super) fn measure(rounds: usize) -> Result<()> {
    run(command("cargo").args(["build", "--release", "--locked", "--example", "traffic"]))?;
    let traffic = release("examples/traffic").to_string_lossy().into_owned();
    let mut labs = Vec::new();
    for contestant in Contestant::ALL {
        let lab = contestant.bring_up().with_context(|| contestant.name())?;
        start_servers(&lab, &traffic)?;
        labs.push(lab);
    }
    let mut samples = vec![vec![Sample::default(); MEASURES.len()]; labs.len()];
    for round in 0..rounds {
        eprintln!("bench: round {} of {rounds}", round + 1);
        for (lab, samples) in labs.iter().zip(&mut samples) {
            samples[0].push(tcp_gigabits(lab)?);
            samples[1].push(udp_packets(lab)?);
            samples[2].push(connections(lab, &traffic)?);
        }
    }
    drop(labs);
    println!("{}", table(&samples).render());
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

fn table(samples: &[Vec<Sample>]) -> Table {
    let mut header = vec!["who forwards"];
    for measure in MEASURES {
        header.extend([measure, "ratio"]);
    }
    let mut table = Table::new(&header);
    for (contestant, ours) in Contestant::ALL.iter().zip(samples) {
        let mut cells = vec![contestant.name().to_owned()];
        for (sample, plain) in ours.iter().zip(&samples[0]) {
            let median = sample.median();
            cells.push(if median < 1000.0 {
                format!("{median:.2}")
            } else {
                format!("{median:.0}")
            });
            cells.push(format!("{:.2}", sample.ratio_to(plain)));
        }
        table.row(cells);
    }
    table
}

/// An iperf3 and a token server on the router; waits until both listen.
fn start_servers(lab: &Lab, traffic: &str) -> Result<()> {
    let listen = format!("{ROUTER_ADDRESS}:{RATE_PORT}");
    for words in [
        &["iperf3", "--server", "--forceflush"][..],
        &[traffic, "serve", &listen],
    ] {
        let mut server = lab.spawn(ROUTER, words)?;
        let output = server
            .stdout
            .take()
            .context("stdout was asked to be piped")?;
        let mut lines = BufReader::new(output).lines();
        let ready = |line: &str| line.contains("listening") || line == "ready";
        if !lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| ready(&line))
        {
            bail!("{} ended before it listened", words.join(" "));
        }
        // Keep the pipe open and empty: a server whose pipe is closed or full stops.
        std::thread::spawn(move || lines.for_each(drop));
    }
    Ok(())
}

fn iperf3(lab: &Lab, options: &[&str]) -> Result<Value> {
    let words = [
        &[
            "iperf3",
            "--client",
            ROUTER_ADDRESS,
            "--time",
            "3",
            "--json",
        ],
        options,
    ]
    .concat();
    let text = lab.exec(POD, &words)?;
    serde_json::from_str(&text).context("failed to read iperf3's JSON")
}

fn tcp_gigabits(lab: &Lab) -> Result<f64> {
    let report = iperf3(lab, &[])?;
    number(&report["end"]["sum_received"]["bits_per_second"]).map(|bits| bits / 1e9)
}

/// Packets that arrived, per second.
fn udp_packets(lab: &Lab) -> Result<f64> {
    let report = iperf3(lab, &["--udp", "--length", "64", "--bandwidth", "0"])?;
    let sum = &report["end"]["sum"];
    let arrived = number(&sum["packets"])? - number(&sum["lost_packets"])?;
    Ok(arrived / number(&sum["seconds"])?)
}

fn connections(lab: &Lab, traffic: &str) -> Result<f64> {
    let to = format!("{ROUTER_ADDRESS}:{RATE_PORT}");
    let text = lab.exec(
        POD,
        &[traffic, "rate", &to, "--seconds", "3", "--parallel", "8"],
    )?;
    text.trim()
        .parse()
        .with_context(|| format!("traffic printed {text:?}, not a number"))
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("iperf3's JSON lacks a figure")
}
