//! Status, endpoints, settings, and maps that print as tables.

use std::fmt::Write as _;

use ipnet::Ipv4Net;
use lab_datapath_common::DropReason;
use lab_model::node_state::{Masquerade, NodeState, Pod, Routing};

use super::{columns, services};
use crate::api::{AttachMode, MetricRecord, PodStatus, Status};

/// Column of the values in `cilium-dbg status`: three blanks behind
/// `Global Identity Range:`, the original's longest label.
const STATUS_LABEL: usize = 25;
/// Column of the values in `cilium config view`.
const CONFIG_LABEL: usize = 50;

/// `cilium-dbg status`: the original's lines of which labctl knows the contents.
pub(super) fn status(status: &Status) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<STATUS_LABEL$}{value}");
    };
    // Neither is there: the agent is given its document by labctl.
    line("KVStore:", "Disabled   ");
    line("Kubernetes:", "Disabled   ");
    if let Some(state) = &status.applied {
        let devices = &status.devices;
        line(
            "KubeProxyReplacement:",
            &services::replacement(state, devices),
        );
    }
    let health = if status.applied.is_some() {
        "Ok"
    } else {
        "Nothing applied"
    };
    line("Cilium:", &format!("{health}   labctl {version}"));
    if let Some(state) = &status.applied {
        line("IPAM:", &ipam(state));
        let host = if state.datapath.host_legacy_routing {
            "Legacy"
        } else {
            "BPF"
        };
        let network = match &state.datapath.routing {
            Routing::Native { .. } => "Native".to_owned(),
            Routing::Tunnel { protocol, .. } => format!("Tunnel [{protocol}]"),
        };
        line("Routing:", &format!("Network: {network}   Host: {host}"));
        match status.attach_mode {
            Some(AttachMode::Tcx) => line("Attach Mode:", "TCX"),
            Some(AttachMode::Clsact) => line("Attach Mode:", "Legacy TC"),
            None => {}
        }
        line("Device Mode:", "veth");
        line("Masquerading:", &masquerading(status, state));
        if let Some(error) = status
            .ip_masq_agent
            .as_ref()
            .and_then(|it| it.error.as_deref())
        {
            line("ip-masq-agent:", &format!("failed to {error}"));
        }
        if let Some(error) = &status.garbage_collection.error {
            line("ct-map GC:", &format!("failed to {error}"));
        }
    }
    text
}

/// `IPv4: 4/254 allocated from 10.244.0.0/24, `: pods and the router address, of
/// all but the range's first and last.
fn ipam(state: &NodeState) -> String {
    let cidr = state.node.pod_cidr;
    let capacity = (1_u64 << (32 - cidr.prefix_len())).saturating_sub(2);
    format!(
        "IPv4: {}/{capacity} allocated from {cidr}, ",
        state.pods.len() + 1
    )
}

fn masquerading(status: &Status, state: &NodeState) -> String {
    if state.datapath.masquerade != Masquerade::Ebpf {
        return "Disabled".to_owned();
    }
    let mode = if state.datapath.ip_masq_agent.is_some() {
        "BPF (ip-masq-agent)"
    } else {
        "BPF"
    };
    let devices: Vec<_> = status
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    let cidr = state
        .datapath
        .native_routing_cidr
        .map(|cidr| cidr.to_string());
    format!(
        "{mode}   [{}]   {}  [IPv4: Enabled, IPv6: Disabled]",
        devices.join(", "),
        cidr.unwrap_or_default()
    )
}

/// `cilium-dbg endpoint list`, in the order of endpoint ids.
pub(super) fn endpoints(state: &NodeState, pods: &[PodStatus]) -> String {
    let cells = |cells: [&str; 8]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![
        cells([
            "ENDPOINT",
            "POLICY (ingress)",
            "POLICY (egress)",
            "IDENTITY",
            "LABELS (source:key[=value])",
            "IPv6",
            "IPv4",
            "STATUS",
        ]),
        cells(["", "ENFORCEMENT", "ENFORCEMENT", "", "", "", "", ""]),
    ];
    let mut endpoints: Vec<&Pod> = state.pods.iter().collect();
    endpoints.sort_by_key(|pod| pod.endpoint_id);
    for pod in endpoints {
        let ready = pods
            .iter()
            .any(|it| (&it.namespace, &it.name) == (&pod.namespace, &pod.name) && it.ready);
        let status = if ready { "ready" } else { "not-ready" };
        let mut labels = pod.labels.iter().map(String::as_str);
        rows.push(cells([
            &pod.endpoint_id.to_string(),
            "Disabled",
            "Disabled",
            &pod.identity.to_string(),
            labels.next().unwrap_or(""),
            "",
            &pod.address.to_string(),
            status,
        ]));
        rows.extend(labels.map(|label| cells(["", "", "", "", label, "", "", ""])));
    }
    columns::padded(&rows)
}

/// `cilium config view`: the settings that labctl obeys.
pub(super) fn configuration(state: &NodeState) -> String {
    let datapath = &state.datapath;
    let mut settings = vec![
        ("bpf-ct-global-any-max", datapath.ct_any_max.to_string()),
        ("bpf-ct-global-tcp-max", datapath.ct_tcp_max.to_string()),
        ("bpf-nat-global-max", datapath.nat_max.to_string()),
        ("devices", datapath.devices.join(" ")),
        (
            "enable-bpf-masquerade",
            (datapath.masquerade == Masquerade::Ebpf).to_string(),
        ),
        (
            "enable-host-legacy-routing",
            datapath.host_legacy_routing.to_string(),
        ),
        (
            "enable-ip-masq-agent",
            datapath.ip_masq_agent.is_some().to_string(),
        ),
        (
            "enable-ipv4-fragment-tracking",
            datapath.fragment_tracking.to_string(),
        ),
        ("routing-mode", "native".to_owned()),
    ];
    let cidr = datapath.native_routing_cidr;
    settings.extend(cidr.map(|cidr| ("ipv4-native-routing-cidr", cidr.to_string())));
    settings.sort();
    let mut text = String::new();
    for (name, value) in settings {
        let _ = writeln!(text, "{name:<CONFIG_LABEL$}{value}");
    }
    text
}

/// `cilium-dbg bpf ipmasq list`. The original's rows have an empty second column,
/// its header has not.
pub(super) fn ip_masq(cidrs: &[Ipv4Net]) -> String {
    let mut rows = vec![vec!["IP PREFIX/ADDRESS".to_owned()]];
    rows.extend(
        cidrs
            .iter()
            .map(|cidr| vec![cidr.to_string(), String::new()]),
    );
    columns::padded(&rows)
}

/// `cilium-dbg bpf metrics list`.
pub(super) fn metrics(entries: &[MetricRecord]) -> String {
    let header = ["REASON", "DIRECTION", "PACKETS", "BYTES"].map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    for entry in entries {
        let reason = match DropReason::from_code(entry.reason) {
            Some(reason) => reason.text().to_owned(),
            None => entry.reason.to_string(),
        };
        let direction = if entry.egress { "EGRESS" } else { "INGRESS" };
        rows.push(vec![
            reason,
            direction.to_owned(),
            entry.packets.to_string(),
            entry.bytes.to_string(),
        ]);
    }
    columns::ragged(&rows)
}
