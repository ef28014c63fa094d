//! `status`: nodes, pods and services, in the columns that kubectl has.

mod services;

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use lab_model::node_state::Service;
use lab_node::api::{PodStatus, Status};
use lab_providers::Provider;
use serde::Serialize;

use crate::args::ListArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::live::record_of;
use crate::output::{Table, print_as};

pub(crate) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let status = LabStatus::read(&provider, &lab)?;
    print_as(args.format.output, &status, || {
        status.table(SystemTime::now())
    })?;
    Ok(Exit::Success)
}

/// A lab that is up, as `-o json` writes it.
#[derive(Serialize)]
struct LabStatus {
    lab: String,
    file: String,
    nodes: Vec<NodeStatus>,
    pods: Vec<PodLine>,
    services: Vec<Service>,
}

#[derive(Serialize)]
struct NodeStatus {
    name: String,
    role: String,
    /// `Ready`, or `NotReady` and why.
    status: String,
    address: Option<Ipv4Addr>,
    pod_cidr: Option<Ipv4Net>,
}

#[derive(Serialize)]
struct PodLine {
    #[serde(flatten)]
    pod: PodStatus,
    node: String,
}

impl LabStatus {
    fn read(provider: &Provider, lab: &str) -> Result<Self, Failure> {
        let record = record_of(provider, lab)?;
        let mut nodes = Vec::new();
        let mut pods = Vec::new();
        let mut services = None;
        let observed = provider.observe(lab).or_exit(Exit::LabFailed)?;
        for node in &record.nodes {
            let seen = observed.nodes.get(&node.name);
            let fault = match seen {
                None => Some("it is not there".to_owned()),
                Some(seen) => seen.fault.clone(),
            };
            let agent = seen
                .and_then(|seen| seen.agent.as_ref())
                .map(|_| agent(provider, lab, &node.name));
            let (status, agent) = match (fault, agent) {
                (Some(fault), _) => (format!("NotReady: {fault}"), None),
                (None, Some(Err(error))) => (format!("NotReady: {error}"), None),
                (None, Some(Ok(status))) => ("Ready".to_owned(), Some(status)),
                (None, None) => ("Ready".to_owned(), None),
            };
            let state = agent.as_ref().and_then(|status| status.applied.as_ref());
            nodes.push(NodeStatus {
                name: node.name.clone(),
                role: node.role.clone(),
                status,
                address: node.address,
                pod_cidr: state.map(|state| state.node.pod_cidr),
            });
            // Every node of the cluster is told of all of them.
            services = services.or_else(|| state.map(|state| state.services.clone()));
            let here = agent.into_iter().flat_map(|status| status.pods);
            pods.extend(here.map(|pod| PodLine {
                pod,
                node: node.name.clone(),
            }));
        }
        pods.sort_by(|a, b| (&a.pod.namespace, &a.pod.name).cmp(&(&b.pod.namespace, &b.pod.name)));
        let file = record.file.to_string_lossy().into_owned();
        Ok(Self {
            lab: lab.to_owned(),
            file,
            nodes,
            pods,
            services: services.unwrap_or_default(),
        })
    }

    fn table(&self, now: SystemTime) -> String {
        let mut nodes = Table::new(&["NAME", "ROLE", "STATUS", "ADDRESS", "POD-CIDR"]);
        for node in &self.nodes {
            let address = node.address.map(|address| address.to_string());
            let pod_cidr = node.pod_cidr.map(|cidr| cidr.to_string());
            nodes.row([
                node.name.clone(),
                node.role.clone(),
                node.status.clone(),
                address.unwrap_or_default(),
                pod_cidr.unwrap_or_default(),
            ]);
        }
        let mut text = format!("lab {} ({})\n\n{}", self.lab, self.file, nodes.render());
        if !self.pods.is_empty() {
            text.push_str(&format!("\n{}", pods(&self.pods, now)));
        }
        if !self.services.is_empty() {
            text.push_str(&format!("\n{}", services::table(&self.services)));
        }
        text
    }
}

/// As `kubectl get pod -owide` has them.
fn pods(pods: &[PodLine], now: SystemTime) -> String {
    let mut table = Table::new(&["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]);
    for PodLine { pod, node } in pods {
        table.row([
            in_namespace(&pod.namespace, &pod.name),
            if pod.ready { "1/1" } else { "0/1" }.to_owned(),
            status_word(pod).to_owned(),
            pod.restarts.to_string(),
            age(pod.started, now),
            pod.address.to_string(),
            node.clone(),
        ]);
    }
    table.render()
}

/// The namespace only where it isn't `default`.
fn in_namespace(namespace: &str, name: &str) -> String {
    match namespace {
        "default" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    }
}

const fn status_word(pod: &PodStatus) -> &'static str {
    match (pod.pid.is_some(), pod.restarts) {
        (true, _) => "Running",
        (false, 0) => "ContainerCreating",
        (false, _) => "CrashLoopBackOff",
    }
}

/// The age in kubectl's words: `57s`, `5m10s`, `57m`, `3h5m`, `23h`, `2d4h`, `12d`
/// (k8s.io/apimachinery `duration.HumanDuration`).
fn age(started: Option<u64>, now: SystemTime) -> String {
    let Some(started) = started else {
        return "<unknown>".to_owned();
    };
    let started = UNIX_EPOCH + Duration::from_secs(started);
    let seconds = now.duration_since(started).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |first: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{first}{unit}"),
        rest => format!("{first}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// What the node's agent answers, or why it does not.
fn agent(provider: &Provider, lab: &str, node: &str) -> Result<Status, String> {
    let seen = provider
        .agent(lab, node)
        .map_err(|error| format!("failed to {error}"))?;
    match seen.status {
        Some(status) => status.map_err(|error| format!("failed to {error}")),
        None => Err("its agent was never started".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (57 * 60, "57m"),
            (3 * 3600 + 5 * 60, "3h5m"),
            (23 * 3600, "23h"),
            (52 * 3600, "2d4h"),
            (9 * 86400, "9d"),
        ] {
            assert_eq!(age(Some(1_000_000 - seconds), now), expected);
        }
    }
}
