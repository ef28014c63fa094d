//! One way through a lab, and what is measured along it.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::lab::Lab;
use super::super::sample::Sample;
use crate::table::Table;

/// iperf3's own port.
pub(super) const STREAM_PORT: u16 = 5201;
/// Where `traffic serve` listens.
pub(super) const TOKEN_PORT: u16 = 9100;

/// From a pod to an address.
pub(super) struct Way<'a> {
    /// The lab.
    pub(super) lab: &'a Lab,
    /// The pod that sends.
    pub(super) from: &'a str,
    /// The address that it sends to.
    pub(super) to: String,
    /// The program of `tests/traffic`.
    pub(super) traffic: &'a str,
}

/// What is measured, and whether more of it is better.
const MEASURES: [&str; 4] = [
    "TCP stream, Gbit/s",
    "UDP 64 B, packets/s",
    "connections/s",
    "round trip p50, µs",
];

/// What one contestant showed, measure by measure.
#[derive(Clone, Default)]
pub(super) struct Figures([Sample; MEASURES.len()]);

impl Figures {
    /// Measures once more.
    pub(super) fn add(&mut self, way: &Way<'_>) -> Result<()> {
        self.0[0].push(way.tcp_gigabits()?);
        self.0[1].push(way.udp_packets()?);
        self.0[2].push(way.connections()?);
        self.0[3].push(way.round_trip()?);
        Ok(())
    }
}

/// A row for each contestant; ratios are to the first.
pub(super) fn table<'a>(
    who: &str,
    contestants: impl IntoIterator<Item = (&'a str, &'a Figures)>,
) -> Table {
    let mut header = vec![who];
    for measure in MEASURES {
        header.extend([measure, "ratio"]);
    }
    let mut table = Table::new(&header);
    let mut base: Option<&Figures> = None;
    for (name, figures) in contestants {
        let base = base.get_or_insert(figures);
        let mut cells = vec![name.to_owned()];
        for (sample, base) in figures.0.iter().zip(&base.0) {
            cells.push(figure(sample.median()));
            cells.push(format!("{:.2}", sample.ratio_to(base)));
        }
        table.row(cells);
    }
    table
}

/// As many digits as mean something.
pub(super) fn figure(median: f64) -> String {
    if median < 1000.0 {
        format!("{median:.2}")
    } else {
        format!("{median:.0}")
    }
}

/// An iperf3 and a token server in a node or pod; waits until both listen.
pub(super) fn start_servers(lab: &Lab, on: &str, address: &str, traffic: &str) -> Result<()> {
    let listen = format!("{address}:{TOKEN_PORT}");
    for words in [
        &["iperf3", "--server", "--forceflush"][..],
        &[traffic, "serve", &listen],
    ] {
        let mut server = lab.spawn(on, words)?;
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

impl Way<'_> {
    fn iperf3(&self, options: &[&str]) -> Result<Value> {
        let words = [
            &["iperf3", "--client", &self.to, "--time", "3", "--json"],
            options,
        ]
        .concat();
        let text = self.lab.exec(self.from, &words)?;
        serde_json::from_str(&text).context("failed to read iperf3's JSON")
    }

    fn tcp_gigabits(&self) -> Result<f64> {
        let report = self.iperf3(&[])?;
        number(&report["end"]["sum_received"]["bits_per_second"]).map(|bits| bits / 1e9)
    }

    /// Packets that arrived, per second.
    fn udp_packets(&self) -> Result<f64> {
        let report = self.iperf3(&["--udp", "--length", "64", "--bandwidth", "0"])?;
        let sum = &report["end"]["sum"];
        let arrived = number(&sum["packets"])? - number(&sum["lost_packets"])?;
        Ok(arrived / number(&sum["seconds"])?)
    }

    /// Connections opened, used once and closed, per second.
    pub(super) fn connections(&self) -> Result<f64> {
        self.traffic(&["rate", "--seconds", "3", "--parallel", "8"])
    }

    /// The middle of the times that a question and its answer take, in microseconds.
    fn round_trip(&self) -> Result<f64> {
        self.traffic(&["rtt", "--seconds", "2"])
    }

    fn traffic(&self, words: &[&str]) -> Result<f64> {
        let to = format!("{}:{TOKEN_PORT}", self.to);
        let words = [&[self.traffic][..], words, &[&to]].concat();
        let text = self.lab.exec(self.from, &words)?;
        text.trim()
            .parse()
            .with_context(|| format!("traffic printed {text:?}, not a number"))
    }
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("iperf3's JSON lacks a figure")
}
