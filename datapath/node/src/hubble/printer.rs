//! Flows as text: compact, dict, table, JSON. Character by character what
//! `hubble/pkg/printer/printer.go` prints, without its colours. Pure.

use chrono::{DateTime, Utc};
use lab_datapath_common::DropReason;

use super::arguments::{Output, TimeFormat};
use crate::flows::{Endpoint, Flow, Record, ServiceName, reserved_name};

/// Between two flows of the dict output.
const SEPARATOR: &str = "------------";
/// Blanks behind the widest cell of a column, and the least width of one.
const TABLE_PADDING: usize = 3;
const TABLE_MINIMUM: usize = 2;

/// How flows are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    pub(super) output: Output,
    pub(super) time_format: TimeFormat,
    /// The name of the node that saw it, too (`--print-node-name`).
    pub(super) node_name: bool,
    /// Addresses rather than names (`--numeric`, `--ip-translation=false`).
    pub(super) numeric: bool,
}

impl Printer {
    /// One flow; `line` counts from 0. Not for tables, whose columns all rows decide.
    pub(super) fn flow(&self, record: &Record, line: usize) -> String {
        let Some(flow) = &record.flow else {
            return String::new();
        };
        match self.output {
            Output::Compact => self.compact(flow),
            Output::Dict => self.dict(flow, line),
            Output::Json | Output::Jsonpb => json(record),
            Output::Table => self.table(&[record]),
        }
    }

    fn compact(&self, flow: &Flow) -> String {
        let node = if self.node_name {
            format!(" [{}]", flow.node_name)
        } else {
            String::new()
        };
        let (mut left, mut right) = self.hosts(flow);
        left = format!("{left} {}", identity(&flow.source));
        right = format!("{right} {}", identity(&flow.destination));
        let arrow = match flow.is_reply {
            None => "<>",
            Some(false) => "->",
            Some(true) => {
                std::mem::swap(&mut left, &mut right);
                "<-"
            }
        };
        format!(
            "{}{node}: {left} {arrow} {right} {} {} ({})\n",
            self.time(flow.time),
            kind(flow),
            flow.verdict.name(),
            flow.summary
        )
    }

    fn dict(&self, flow: &Flow, line: usize) -> String {
        let (source, destination) = self.hosts(flow);
        let separator = if line > 0 {
            format!("{SEPARATOR}\n")
        } else {
            String::new()
        };
        let node = if self.node_name {
            format!("       NODE: {}\n", flow.node_name)
        } else {
            String::new()
        };
        format!(
            "{separator}  TIMESTAMP: {}\n{node}     SOURCE: {source}\nDESTINATION: {destination}\n       \
             TYPE: {}\n    VERDICT: {}\n    SUMMARY: {}\n",
            self.time(flow.time),
            kind(flow),
            flow.verdict.name(),
            flow.summary
        )
    }

    /// All flows, in columns as Go's tabwriter lays them out.
    pub(super) fn table(&self, records: &[&Record]) -> String {
        let mut head = vec![
            "TIMESTAMP",
            "SOURCE",
            "DESTINATION",
            "TYPE",
            "VERDICT",
            "SUMMARY",
        ];
        if self.node_name {
            head.insert(1, "NODE");
        }
        let mut rows = vec![head.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()];
        for flow in records.iter().filter_map(|record| record.flow.as_ref()) {
            let (source, destination) = self.hosts(flow);
            let mut row = vec![
                self.time(flow.time),
                source,
                destination,
                kind(flow),
                flow.verdict.name().to_owned(),
                flow.summary.clone(),
            ];
            if self.node_name {
                row.insert(1, flow.node_name.clone());
            }
            rows.push(row);
        }
        if rows.len() == 1 {
            return String::new();
        }
        columns(&rows)
    }

    /// `StampMilli` unless asked otherwise; in UTC, as the original.
    fn time(&self, time: DateTime<Utc>) -> String {
        self.time_format.render(time)
    }

    fn hosts(&self, flow: &Flow) -> (String, String) {
        let Some(ip) = &flow.ip else {
            return flow.ethernet.as_ref().map_or_else(Default::default, |it| {
                (it.source.clone(), it.destination.clone())
            });
        };
        let (source_port, destination_port) = flow.l4.as_ref().map_or((0, 0), |l4| l4.ports());
        let host =
            |address: std::net::Ipv4Addr, port, end: &Endpoint, service: &Option<ServiceName>| {
                let name = match service {
                    _ if self.numeric => address.to_string(),
                    _ if !end.pod_name.is_empty() => join(&end.namespace, &end.pod_name),
                    Some(service) => join(&service.namespace, &service.name),
                    None => address.to_string(),
                };
                match port {
                    0 => name,
                    port => format!("{name}:{port}"),
                }
            };
        (
            host(ip.source, source_port, &flow.source, &flow.source_service),
            host(
                ip.destination,
                destination_port,
                &flow.destination,
                &flow.destination_service,
            ),
        )
    }
}

fn join(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

fn identity(end: &Endpoint) -> String {
    match reserved_name(end.identity) {
        Some(name) => format!("({name})"),
        None => format!("(ID:{})", end.identity),
    }
}

/// The point, or why it was dropped: numbers of `pkg/monitor/api`.
fn kind(flow: &Flow) -> String {
    let sub_type = flow.event_type.sub_type;
    match flow.event_type.kind {
        1 => DropReason::from_code(sub_type)
            .map_or_else(|| sub_type.to_string(), |reason| reason.text().to_owned()),
        4 => POINTS
            .into_iter()
            .find(|(number, _)| *number == sub_type)
            .map_or_else(|| sub_type.to_string(), |(_, name)| name.to_owned()),
        7 => XLATE_POINTS
            .into_iter()
            .find(|(number, _)| *number == sub_type)
            .map_or_else(
                || "SOCK_XLATE_POINT_UNKNOWN".to_owned(),
                |(_, name)| name.to_owned(),
            ),
        _ => "UNKNOWN".to_owned(),
    }
}

/// Observation points by number (`pkg/monitor/api/types.go`).
pub(super) const POINTS: [(u8, &str); 14] = [
    (0, "to-endpoint"),
    (1, "to-proxy"),
    (2, "to-host"),
    (3, "to-stack"),
    (4, "to-overlay"),
    (5, "from-endpoint"),
    (6, "from-proxy"),
    (7, "from-host"),
    (8, "from-stack"),
    (9, "from-overlay"),
    (10, "from-network"),
    (11, "to-network"),
    (12, "from-crypto"),
    (13, "to-crypto"),
];

/// Translation points of sockets by number.
pub(super) const XLATE_POINTS: [(u8, &str); 4] = [
    (1, "pre-xlate-fwd"),
    (2, "post-xlate-fwd"),
    (3, "pre-xlate-rev"),
    (4, "post-xlate-rev"),
];

fn json(record: &Record) -> String {
    // A record is names, numbers and text: nothing that JSON could not say.
    serde_json::to_string(record).map_or_else(|_| String::new(), |line| line + "\n")
}

/// `tabwriter.NewWriter(w, 2, 0, 3, ' ', 0)`: the last cell is not padded.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (widest + TABLE_PADDING).max(TABLE_MINIMUM)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let blanks = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}
