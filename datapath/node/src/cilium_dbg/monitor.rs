//! `cilium-dbg monitor`: this node's packets as they pass, in the lines of Cilium's
//! `pkg/monitor` (`datapath_trace.go`, `datapath_drop.go`, `dissect.go`) without `-v`. They
//! come from the store that `hubble observe -f` reads.
//!
//! The packet's hash is not known here and printed as none, `0x0`; of a drop, the line of
//! Cilium's source is left out.

use std::io::{BufRead as _, BufReader, Write};

use clap::{Args, ValueEnum};
use lab_datapath_common::DropReason;
use lab_datapath_common::trace::{Point, kind};

use super::CiliumDbgError;
use crate::api::{Client, ClientError, FlowsEnd, FlowsRequest, Request};
use crate::flows::{Flow, Layer4, Record, reserved_name};

/// What is shown, and how.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Arguments {
    /// Filter by event types
    #[arg(short, long = "type", value_delimiter = ',')]
    types: Vec<Type>,
    /// Filter by either source or destination endpoint id
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    related_to: Vec<u16>,
    /// Filter by source endpoint id
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    from: Vec<u16>,
    /// Filter by destination endpoint id
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    to: Vec<u16>,
    /// Display all security identities as numeric values
    #[arg(short, long)]
    numeric: bool,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Packets that were dropped
    Drop,
    /// Packets that passed
    Trace,
}

/// The events of a node, from when it is read on.
pub struct Monitor {
    arguments: Arguments,
    client: Client,
}

impl Monitor {
    pub(super) const fn new(arguments: Arguments, client: Client) -> Self {
        Self { arguments, client }
    }

    /// Writes a line for each event until `out` is closed.
    ///
    /// # Errors
    /// When the agent ends, or `out` cannot be written.
    pub fn write_to(self, out: &mut impl Write) -> Result<(), CiliumDbgError> {
        let request = FlowsRequest {
            number: Some(0),
            follow: true,
            ..FlowsRequest::default()
        };
        let mut stream = self.client.into_stream();
        let mut line =
            serde_json::to_vec(&Request::Flows(Box::new(request))).map_err(ClientError::from)?;
        line.push(b'\n');
        stream.write_all(&line).map_err(ClientError::from)?;
        say(out, "Press Ctrl-C to quit\n")?;
        for line in BufReader::new(stream).lines() {
            let line = line.map_err(ClientError::from)?;
            if serde_json::from_str::<FlowsEnd>(&line).is_ok() {
                break;
            }
            let record: Record = serde_json::from_str(&line).map_err(ClientError::from)?;
            if let Some(text) = self.arguments.line(&record) {
                say(out, &text)?;
            }
        }
        // It follows for as long as the agent is there.
        Err(ClientError::Closed.into())
    }
}

fn say(out: &mut impl Write, text: &str) -> Result<(), CiliumDbgError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CiliumDbgError::Write)
}

impl Arguments {
    /// With its line break; `None` for what is not asked for.
    pub(super) fn line(&self, record: &Record) -> Option<String> {
        if let Some(lost) = &record.lost_events {
            return Some(format!("Lost {} events\n", lost.num_events_lost));
        }
        let flow = record.flow.as_deref()?;
        let (line, kind): (fn(&Flow, String) -> String, _) = match flow.event_type.kind {
            kind::DROP => (drop_line, Type::Drop),
            kind::TRACE => (trace_line, Type::Trace),
            _ => return None,
        };
        let (from, to) = (flow.source.id, flow.destination.id);
        let is_asked = |ids: &[u16], id| ids.is_empty() || ids.contains(&id);
        let is_wanted = (self.types.is_empty() || self.types.contains(&kind))
            && is_asked(&self.from, from)
            && is_asked(&self.to, to)
            && (is_asked(&self.related_to, from) || is_asked(&self.related_to, to));
        is_wanted.then(|| line(flow, self.identities(flow)))
    }

    fn identities(&self, flow: &Flow) -> String {
        let name = |id: u32| match reserved_name(id) {
            Some(name) if !self.numeric => name.to_owned(),
            _ => id.to_string(),
        };
        let (from, to) = (flow.source.identity, flow.destination.identity);
        format!(", identity {}->{}", name(from), name(to))
    }
}

fn trace_line(flow: &Flow, identities: String) -> String {
    let interface = flow.interface.as_ref();
    let interface = interface.map_or_else(
        || "0".to_owned(),
        |it| it.name.clone().unwrap_or_else(|| it.index.to_string()),
    );
    let original = flow.ip.as_ref().map(|ip| ip.source);
    format!(
        "{} flow 0x0 {identities} state {} ifindex {interface} orig-ip {}: {}\n",
        point(flow),
        state(flow),
        original.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        connection(flow),
    )
}

fn drop_line(flow: &Flow, identities: String) -> String {
    let reason = flow.event_type.sub_type;
    let reason = DropReason::from_code(reason)
        .map_or_else(|| reason.to_string(), |reason| reason.text().to_owned());
    let interface = flow.interface.as_ref().map_or(0, |it| it.index);
    format!(
        "xx drop ({reason}) flow 0x0 to endpoint {}, ifindex {interface}, {identities}: {}\n",
        flow.destination.id,
        connection(flow),
    )
}

/// `traceSummary`.
fn point(flow: &Flow) -> String {
    const TO_ENDPOINT: u8 = Point::ToEndpoint as u8;
    const TO_HOST: u8 = Point::ToHost as u8;
    const TO_STACK: u8 = Point::ToStack as u8;
    const TO_OVERLAY: u8 = Point::ToOverlay as u8;
    const TO_NETWORK: u8 = Point::ToNetwork as u8;
    const FROM_ENDPOINT: u8 = Point::FromEndpoint as u8;
    const FROM_OVERLAY: u8 = Point::FromOverlay as u8;
    const FROM_NETWORK: u8 = Point::FromNetwork as u8;
    let words = match flow.event_type.sub_type {
        TO_ENDPOINT => return format!("-> endpoint {}", flow.destination.id),
        FROM_ENDPOINT => return format!("<- endpoint {}", flow.source.id),
        TO_HOST => "-> host from",
        TO_STACK => "-> stack",
        TO_OVERLAY => "-> overlay",
        TO_NETWORK => "-> network",
        FROM_OVERLAY => "<- overlay",
        FROM_NETWORK => "<- network",
        _ => "unknown trace",
    };
    words.to_owned()
}

/// `traceReasonString`.
fn state(flow: &Flow) -> String {
    match flow.trace_reason.as_deref() {
        None | Some("TRACE_REASON_UNKNOWN") => "unknown".to_owned(),
        Some(reason) => reason.to_lowercase(),
    }
}

/// `GetConnectionSummary`: of the packet as it is, whatever its address was before.
fn connection(flow: &Flow) -> String {
    let Some(ip) = &flow.ip else {
        return flow.ethernet.as_ref().map_or_else(
            || "[unknown]".to_owned(),
            |it| format!("{} -> {}", it.source, it.destination),
        );
    };
    let (from, to) = (ip.source_xlated.unwrap_or(ip.source), ip.destination);
    let Some(l4) = &flow.l4 else {
        return format!("{from} -> {to}");
    };
    let (from_port, to_port) = l4.ports();
    let between = format!("{from}:{from_port} -> {to}:{to_port}");
    match l4 {
        Layer4::Tcp(tcp) => {
            const SHOWN: [&str; 4] = ["SYN", "ACK", "RST", "FIN"];
            let names = tcp.flags.iter().flat_map(|flags| flags.names());
            let names: Vec<_> = names.filter(|name| SHOWN.contains(name)).collect();
            format!("{between} tcp {}", names.join(", "))
        }
        Layer4::Udp(_) => format!("{between} udp"),
        Layer4::Sctp(_) => format!("{between} sctp"),
        Layer4::Icmp(_) => {
            let words = flow.summary.strip_prefix("ICMPv4 ");
            format!("{from} -> {to} {}", words.unwrap_or(&flow.summary))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(words: &str) -> Arguments {
        let words = std::iter::once("monitor").chain(words.split_whitespace());
        Line::try_parse_from(words).expect("flags").arguments
    }

    /// A record as `hubble observe -o jsonpb` prints it.
    fn record(event: (u8, u8), rest: &str) -> Record {
        let (kind, sub_type) = event;
        let json = format!(
            r#"{{"flow": {{"time": "2026-11-21T10:57:46.188Z", "verdict": "FORWARDED", "Type": "L3_L4",
            "node_name": "k8s-ctr", "event_type": {{"type": {kind}, "sub_type": {sub_type}}},
            "IP": {{"source": "10.244.0.2", "source_xlated": "192.168.10.100", "destination": "192.168.10.200", "ipVersion": "IPv4"}},
            "source": {{"ID": 12, "identity": 58196}}, "destination": {{"identity": 2}}, {rest}}},
            "node_name": "k8s-ctr", "time": "2026-11-21T10:57:46.188Z"}}"#
        );
        serde_json::from_str(&json).expect("a record")
    }

    fn syn() -> Record {
        record(
            (4, 11),
            r#""l4": {"TCP": {"source_port": 53884, "destination_port": 80, "flags": {"SYN": true, "ECE": true}}},
            "trace_reason": "NEW", "interface": {"index": 3, "name": "eth1"}, "Summary": "TCP Flags: SYN, ECE""#,
        )
    }

    fn refused() -> Record {
        record(
            (1, 158),
            r#""l4": {"UDP": {"source_port": 40000, "destination_port": 53}},
            "interface": {"index": 7}, "Summary": "UDP""#,
        )
    }

    fn echo() -> Record {
        record(
            (4, 0),
            r#""l4": {"ICMPv4": {"type": 8}}, "trace_reason": "REPLY", "Summary": "ICMPv4 EchoRequest""#,
        )
    }

    #[test]
    fn lines_are_the_originals() {
        let lines = |words: &str| {
            let arguments = arguments(words);
            let records = [syn(), refused(), echo()];
            let lines = records.iter().filter_map(|record| arguments.line(record));
            lines.collect::<String>()
        };
        assert_eq!(
            lines(""),
            "\
-> network flow 0x0 , identity 58196->world state new ifindex eth1 orig-ip 10.244.0.2: 192.168.10.100:53884 -> 192.168.10.200:80 tcp SYN
xx drop (Service backend not found) flow 0x0 to endpoint 0, ifindex 7, , identity 58196->world: 192.168.10.100:40000 -> 192.168.10.200:53 udp
-> endpoint 0 flow 0x0 , identity 58196->world state reply ifindex 0 orig-ip 10.244.0.2: 192.168.10.100 -> 192.168.10.200 EchoRequest
"
        );
        let numeric = lines("--type drop -n");
        assert!(numeric.contains(", identity 58196->2: "), "{numeric}");
        assert_eq!(numeric.lines().count(), 1);
    }

    #[test]
    fn events_are_filtered_by_type_and_endpoint() {
        let shown = |words: &str| {
            let arguments = arguments(words);
            let records = [syn(), refused(), echo()];
            records.map(|record| arguments.line(&record).is_some())
        };
        assert_eq!(shown("--type trace"), [true, false, true]);
        assert_eq!(shown("-t drop,trace --from 12"), [true; 3]);
        assert_eq!(shown("--related-to 12"), [true; 3]);
        assert_eq!(shown("--related-to 13,14"), [false; 3]);
        assert_eq!(shown("--to 12"), [false; 3]);
    }
}
