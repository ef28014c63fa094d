//! `service list`, `bpf lb list` and what `status --verbose` says of services, as in
//! Cilium's `cilium-dbg/cmd/{service_list,bpf_lb_list,status}.go` and, for the words of
//! flags, `pkg/loadbalancer`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lab_datapath_common::service::{flag, flag2, scope};
use lab_model::node_state::{NodeState, ServiceHandling};

use super::columns;
use crate::api::{DeviceStatus, ServiceRecord};

/// `cilium-dbg service list`.
pub(super) fn list(records: &[ServiceRecord]) -> String {
    let mut rows = vec![row(["ID", "Frontend", "Service Type", "Backend"])];
    for record in records.iter().filter(|it| it.scope != scope::UNREDIRECTED) {
        let mut backends = record.backends.iter().enumerate().map(|(index, backend)| {
            let (address, port) = backend;
            let (number, protocol) = (index + 1, record.protocol);
            format!("{number} => {address}:{port}/{protocol} (active)")
        });
        rows.push(row([
            &record.id.to_string(),
            &frontend(record),
            kind(record),
            &backends.next().unwrap_or_default(),
        ]));
        rows.extend(backends.map(|backend| row(["", "", "", &backend])));
    }
    columns::padded(&rows)
}

/// `cilium-dbg bpf lb list`.
pub(super) fn maps(records: &[ServiceRecord]) -> String {
    let title = ["SERVICE ADDRESS", "BACKEND ADDRESS (REVNAT_ID) (SLOT)"];
    let mut entries = Vec::new();
    for record in records {
        let (key, id) = (frontend(record), record.id);
        let flags = flags(record);
        entries.push([
            format!("{key} (0)"),
            format!("0.0.0.0:0 ({id}) (0) [{flags}]"),
        ]);
        for (slot, (address, port)) in (1..).zip(&record.backends) {
            let protocol = record.protocol;
            let backend = format!("{address}:{port}/{protocol} ({id}) ({slot})");
            entries.push([format!("{key} ({slot})"), backend]);
        }
    }
    entries.sort();
    let mut rows = vec![row(title)];
    rows.extend(entries.iter().map(|[key, value]| row([key, value])));
    columns::padded(&rows)
}

/// `cilium-dbg bpf lb list --source-ranges`.
pub(super) fn source_ranges(records: &[ServiceRecord]) -> String {
    let entries: BTreeSet<String> = records
        .iter()
        .flat_map(|record| {
            let ranges = record.source_ranges.iter();
            ranges.map(|range| format!("{range} ({})", record.id))
        })
        .collect();
    let mut rows = vec![row(["SOURCE RANGE (REVNAT_ID)", ""])];
    rows.extend(entries.iter().map(|entry| row([entry, ""])));
    columns::padded(&rows)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `/i` marks what is for the cluster alone (`L3n4Addr.String`).
fn frontend(record: &ServiceRecord) -> String {
    let inner = if record.scope == scope::INT { "/i" } else { "" };
    let (address, port, protocol) = (record.address, record.port, record.protocol);
    format!("{address}:{port}/{protocol}{inner}")
}

const fn kind(record: &ServiceRecord) -> &'static str {
    if record.flags2 & flag2::LOCAL_REDIRECT != 0 {
        "LocalRedirect"
    } else if record.flags & flag::NODE_PORT != 0 {
        "NodePort"
    } else if record.flags & flag::LOAD_BALANCER != 0 {
        "LoadBalancer"
    } else if record.flags & flag::EXTERNAL_IP != 0 {
        "ExternalIPs"
    } else {
        "ClusterIP"
    }
}

/// In the order of `ServiceFlags.String`.
fn flags(record: &ServiceRecord) -> String {
    let words = [
        (true, kind(record)),
        (record.flags & flag::EXT_LOCAL_SCOPE != 0, "Local"),
        (record.flags2 & flag2::INT_LOCAL_SCOPE != 0, "InternalLocal"),
        (record.flags2 & flag2::TWO_SCOPES != 0, "two-scopes"),
        (record.flags & flag::AFFINITY != 0, "sessionAffinity"),
        (record.flags & flag::ROUTABLE == 0, "non-routable"),
        (record.flags & flag::SOURCE_RANGE != 0, "check source-range"),
        (record.flags2 & flag2::SOURCE_RANGE_DENY != 0, "deny"),
    ];
    let set = words.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

/// `True   [eth0   10.0.2.15, eth1   192.168.10.100 (Direct Routing)]`
pub(super) fn replacement(state: &NodeState, devices: &[DeviceStatus]) -> String {
    match state.datapath.services {
        ServiceHandling::Ebpf => format!("True   [{}]", named(state, devices)),
        ServiceHandling::KubeProxy => "False".to_owned(),
    }
}

/// The device with the node's own address is the one of direct routes.
fn named(state: &NodeState, devices: &[DeviceStatus]) -> String {
    let each = devices.iter().map(|device| {
        let Some(address) = device.address else {
            return device.name.clone();
        };
        let is_direct = address == state.node.address;
        let direct = if is_direct { " (Direct Routing)" } else { "" };
        format!("{}   {address}{direct}", device.name)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The section `KubeProxyReplacement Details` of `cilium-dbg status --verbose`: what of
/// it labctl does.
pub(super) fn details(state: &NodeState, devices: &[DeviceStatus]) -> String {
    let mut text = "KubeProxyReplacement Details:\n".to_owned();
    let is_on = state.datapath.services == ServiceHandling::Ebpf;
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<22}{value}");
    };
    if !is_on {
        line("Status:", "False");
        line("Socket LB:", "Disabled");
        return text;
    }
    line("Status:", "True");
    line("Socket LB:", "Enabled");
    line("Socket LB Coverage:", "Full");
    line("Devices:", &named(state, devices));
    line("Mode:", "SNAT");
    line("Backend Selection:", "Random");
    line("Session Affinity:", "Enabled");
    line("XDP Acceleration:", "Disabled");
    let (first, last) = state.datapath.node_ports;
    text.push_str("  Services:\n");
    let services = [
        ("ClusterIP:", "Enabled".to_owned()),
        ("NodePort:", format!("Enabled (Range: {first}-{last}) ")),
        ("LoadBalancer:", "Enabled ".to_owned()),
        ("externalIPs:", "Enabled ".to_owned()),
    ];
    for (label, value) in services {
        let _ = writeln!(text, "  - {label:<16}{value}");
    }
    text
}
