//! Loads, and what is read off their generators.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Figures;
use super::names::Names;
use super::namespace::{Namespace, Server};
use crate::command::output;

const SECONDS: &str = "3";
const DNSPERF: &str = "/usr/bin/dnsperf";
/// Queries in a second at which latency is measured: no server here has a queue then.
const STEADY: &str = "5000";
/// `USER_HZ`, the unit of /proc/stat.
const TICKS: f64 = 100.0;

/// One load.
pub(super) struct Load {
    pub(super) title: String,
    names: PathBuf,
    transport: Transport,
    /// The program that sends at a steady rate.
    traffic: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Load {
    pub(super) fn all(names: &Names, traffic: &Path) -> Vec<Self> {
        let load = |title: &str, names: &Path, transport| Self {
            title: title.to_owned(),
            names: names.to_owned(),
            transport,
            traffic: traffic.to_owned(),
        };
        vec![
            load("1000 names, cached", &names.few, Transport::Udp),
            load("10 000 names, cached", &names.many, Transport::Udp),
            load("1000 names, cached, TCP", &names.few, Transport::Tcp),
            // Last: it puts the others out of the cache.
            load("names asked for once", &names.unknown, Transport::Udp),
        ]
    }

    pub(super) fn over_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// As many queries as the server takes, and then a few at a steady rate.
    pub(super) fn run(
        &self,
        namespace: &Namespace,
        server: &Server,
        figures: &mut Figures,
    ) -> Result<()> {
        let before = (server.cpu_seconds()?, machine_seconds()?);
        let report = self.dnsperf(namespace)?;
        let cpu = server.cpu_seconds()? - before.0;
        let machine = machine_seconds()? - before.1;
        let answers = figure(&report, "Queries completed:")?;
        figures.cpu_per_answer.push(cpu * 1e6 / answers);
        figures.machine_per_answer.push(machine * 1e6 / answers);
        figures
            .answers_per_second
            .push(figure(&report, "Queries per second:")?);
        figures.lost.push(figure(&report, "Queries lost:")?);
        if self.transport == Transport::Udp {
            let counts = self.steady(namespace)?;
            figures.p50.push(counts["p50_us"].as_f64().context("p50")?);
            figures.p99.push(counts["p99_us"].as_f64().context("p99")?);
        }
        Ok(())
    }

    fn dnsperf(&self, namespace: &Namespace) -> Result<String> {
        let (mode, clients) = match self.transport {
            Transport::Udp => ("udp", "8"),
            Transport::Tcp => ("tcp", "20"),
        };
        output(
            namespace
                .client(Path::new(DNSPERF))
                .args(["-s", "127.0.0.1", "-m", mode, "-c", clients, "-T", "1"])
                .args(["-q", "200", "-l", SECONDS, "-t", "2", "-d"])
                .arg(&self.names),
        )
    }

    fn steady(&self, namespace: &Namespace) -> Result<Value> {
        let printed = output(
            namespace
                .client(&self.traffic)
                .args(["dns", "127.0.0.1:53", "--per-second", STEADY])
                .args(["--seconds", "2", "--names"])
                .arg(&self.names),
        )?;
        serde_json::from_str(&printed).context("counts of the steady sender")
    }
}

/// Has every name asked for, so that it is cached, twice for those that were lost.
pub(super) fn fill(namespace: &Namespace, names: &Names) -> Result<()> {
    output(
        namespace
            .client(Path::new(DNSPERF))
            .args(["-s", "127.0.0.1", "-c", "1", "-q", "20", "-n", "2", "-d"])
            .arg(&names.many),
    )
    .map(drop)
}

/// CPU time of all cores so far, whoever's it is, seconds.
fn machine_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    busy_ticks(&stat).map(|ticks| ticks / TICKS)
}

/// User, nice, system, irq and softirq of the line of all cores (proc_stat(5)).
fn busy_ticks(stat: &str) -> Result<f64> {
    let line = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let fields = line.context("/proc/stat has no line of all cores")?;
    let fields: Result<Vec<f64>, _> = fields.split_whitespace().map(str::parse).collect();
    let fields = fields.context("/proc/stat")?;
    Ok([0, 1, 2, 5, 6]
        .iter()
        .filter_map(|at| fields.get(*at))
        .sum())
}

/// The number after `label` in dnsperf's report.
fn figure(report: &str, label: &str) -> Result<f64> {
    let rest = report
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .with_context(|| format!("dnsperf printed no `{label}`"))?;
    let number = rest.split_whitespace().next().context("no figure")?;
    number.parse().with_context(|| format!("{label} {number}"))
}

#[cfg(test)]
mod tests {
    use super::{busy_ticks, figure};

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let stat = "cpu  1 2 4 800 1600 8 16 3200 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy_ticks(stat).unwrap(), 31.0);
        assert!(busy_ticks("intr 1\n").is_err());
    }

    #[test]
    fn figures_are_read_from_the_report() {
        let report = "Statistics:\n\n  Queries sent:         10\n  Queries completed:    9 (90.00%)\n  Queries per second:   3.5\n";
        assert_eq!(figure(report, "Queries completed:").unwrap(), 9.0);
        assert_eq!(figure(report, "Queries per second:").unwrap(), 3.5);
        assert!(figure(report, "Queries lost:").is_err());
    }
}
