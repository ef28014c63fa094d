//! `hubble status` and `hubble list nodes`. Pure.

use super::printer::columns;
use crate::api::FlowStatus;

/// `hubble status`, of those nodes that answered and those that did not.
pub(super) fn status(via: &str, nodes: &[(String, Option<FlowStatus>)]) -> String {
    let there: Vec<_> = nodes
        .iter()
        .filter_map(|(_, status)| status.as_ref())
        .collect();
    let flows: u64 = there.iter().map(|status| status.flows).sum();
    let capacity: u64 = there.iter().map(|status| status.capacity).sum();
    let rate: f64 = there.iter().map(|status| status.rate).sum();
    let missing = nodes.len() - there.len();
    let mut text = format!(
        "Healthcheck (via {via}): Ok\nCurrent/Max Flows: {}/{} ({:.2}%)\nFlows/s: {rate:.2}\n\
         Connected Nodes: {}/{}\n",
        grouped(flows),
        grouped(capacity),
        percent(flows, capacity),
        there.len(),
        nodes.len(),
    );
    if missing > 0 {
        text.push_str(&format!("Unavailable Nodes: {missing}\n"));
        let names = nodes.iter().filter(|(_, status)| status.is_none());
        for (name, _) in names {
            text.push_str(&format!("  - {name}\n"));
        }
    }
    text
}

/// `hubble list nodes`.
pub(super) fn nodes(nodes: &[(String, Option<FlowStatus>)]) -> String {
    let head = ["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS"];
    let mut rows = vec![head.map(ToOwned::to_owned).to_vec()];
    for (name, status) in nodes {
        rows.push(match status {
            Some(status) => vec![
                name.clone(),
                "Connected".to_owned(),
                age(status.uptime),
                format!("{:.2}", status.rate),
                format!(
                    "{}/{} ({:6.2}%)",
                    status.flows,
                    status.capacity,
                    percent(status.flows, status.capacity)
                ),
            ],
            None => {
                let unknown = || "N/A".to_owned();
                vec![
                    name.clone(),
                    "Unavailable".to_owned(),
                    unknown(),
                    unknown(),
                    unknown(),
                ]
            }
        });
    }
    columns(&rows)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// `16048` as `16,048`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As Go's `time.Duration` prints whole seconds: `1h2m3s`.
fn age(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}
