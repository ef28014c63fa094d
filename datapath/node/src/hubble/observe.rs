//! `hubble observe`: from flags to a request, and from records to lines.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use ipnet::Ipv4Net;

use super::HubbleError;
use super::arguments::{Filters, Given, ObserveArguments, Output};
use super::client::Nodes;
use super::merge::{DRAIN, merged};
use super::printer::{POINTS, Printer, XLATE_POINTS};
use crate::api::FlowsRequest;
use crate::flows::{
    Condition, FlowFilter, Now as _, Record, Side, TcpFlags, TypeFilter, Verdict, reserved_name,
};

/// How many flows are shown unless asked otherwise.
const FLOWS: usize = 20;

pub(super) fn run(
    arguments: &ObserveArguments,
    folder: &Path,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), HubbleError> {
    let request = request(arguments, DateTime::<Utc>::now_at())?;
    if arguments.output == Output::Table && arguments.follow {
        let text = "table output format is not compatible with follow mode";
        return Err(HubbleError::Usage(text.to_owned()));
    }
    let mut sink = Sink {
        printer: Printer {
            output: arguments.output,
            time_format: arguments.time_format,
            node_name: arguments.print_node_name,
            numeric: arguments.numeric,
        },
        line: 0,
        rows: Vec::new(),
        out,
        err,
    };
    if let Some(path) = &arguments.from_file {
        for record in choose(read_file(path)?, &request) {
            sink.take(record)?;
        }
        return sink.end();
    }
    let nodes = Nodes::of(folder)?;
    for name in nodes.unreachable() {
        // As Relay says it of nodes that do not answer.
        writeln!(sink.err, "1 nodes are unavailable: {name}").map_err(HubbleError::Write)?;
    }
    let count = request.number;
    let (nodes, records) = nodes.observe(&request)?;
    if request.follow {
        for record in merged(nodes, records, Some(DRAIN)) {
            sink.take(record)?;
        }
    } else {
        // Every node sends its own last (or first) so many: of all these it is as many.
        let records: Vec<_> = merged(nodes, records, None).collect();
        let skip = match count {
            Some(count) if !request.first => records.len().saturating_sub(count),
            _ => 0,
        };
        let take = count.unwrap_or(usize::MAX);
        for record in records.into_iter().skip(skip).take(take) {
            sink.take(record)?;
        }
    }
    sink.end()
}

/// Where lines go.
struct Sink<'w, O, E> {
    printer: Printer,
    line: usize,
    /// Of a table, whose widths all rows decide.
    rows: Vec<Record>,
    out: &'w mut O,
    err: &'w mut E,
}

impl<O: Write, E: Write> Sink<'_, O, E> {
    fn take(&mut self, record: Record) -> Result<(), HubbleError> {
        let json = matches!(self.printer.output, Output::Json | Output::Jsonpb);
        if let Some(lost) = &record.lost_events
            && !json
        {
            let text = format!(
                "EVENTS LOST: {} CPU(0) {}\n",
                lost.source, lost.num_events_lost
            );
            return self
                .err
                .write_all(text.as_bytes())
                .map_err(HubbleError::Write);
        }
        if self.printer.output == Output::Table {
            self.rows.push(record);
            return Ok(());
        }
        let text = self.printer.flow(&record, self.line);
        self.line += 1;
        let written = self.out.write_all(text.as_bytes());
        written
            .and_then(|()| self.out.flush())
            .map_err(HubbleError::Write)
    }

    fn end(self) -> Result<(), HubbleError> {
        let rows: Vec<_> = self.rows.iter().collect();
        let table = self.printer.table(&rows);
        self.out
            .write_all(table.as_bytes())
            .map_err(HubbleError::Write)
    }
}

/// What the flags ask for, at `now`.
pub(super) fn request(
    arguments: &ObserveArguments,
    now: DateTime<Utc>,
) -> Result<FlowsRequest, HubbleError> {
    let time = |flag, text: &Option<String>| {
        let parse = |text: &String| {
            moment(text, now).ok_or_else(|| wrong(flag, text, "neither a duration nor a date"))
        };
        text.as_ref().map(parse).transpose()
    };
    let (since, until) = (
        time("--since", &arguments.since)?,
        time("--until", &arguments.until)?,
    );
    let is_bounded = since.is_some() || until.is_some() || arguments.from_file.is_some();
    let number = match (arguments.last, arguments.first) {
        (Some(count), _) | (_, Some(count)) => Some(count),
        (None, None) if arguments.all || is_bounded => None,
        (None, None) if arguments.follow => Some(0),
        (None, None) => Some(FLOWS),
    };
    Ok(FlowsRequest {
        filter: filter(&arguments.filters)?,
        number,
        first: arguments.first.is_some(),
        since,
        until,
        follow: arguments.follow,
    })
}

fn wrong(flag: &str, value: &str, reason: &str) -> HubbleError {
    HubbleError::Usage(format!("invalid value '{value}' for '{flag}': {reason}"))
}

type Make = fn(&str) -> Option<Condition>;

/// The flags, what each makes of a value, and what is wrong when it makes nothing.
fn flags(filters: &Filters) -> [(&'static str, &[Given], Make, &'static str); 30] {
    const NAME: &str = "no name";
    const IP: &str = "neither an IPv4 address nor a CIDR";
    const PORT: &str = "no port between 0 and 65535";
    const ID: &str = "neither a number nor a reserved identity";
    use Side::{Any, Destination, Source};
    [
        ("--pod", &filters.pod, |it| Some(pod(Any, it)), NAME),
        (
            "--from-pod",
            &filters.from_pod,
            |it| Some(pod(Source, it)),
            NAME,
        ),
        (
            "--to-pod",
            &filters.to_pod,
            |it| Some(pod(Destination, it)),
            NAME,
        ),
        (
            "--ip",
            &filters.ip,
            |it| Some(Condition::Ip(Any, range(it)?)),
            IP,
        ),
        (
            "--from-ip",
            &filters.from_ip,
            |it| Some(Condition::Ip(Source, range(it)?)),
            IP,
        ),
        (
            "--to-ip",
            &filters.to_ip,
            |it| Some(Condition::Ip(Destination, range(it)?)),
            IP,
        ),
        (
            "--snat-ip",
            &filters.snat_ip,
            |it| Some(Condition::SnatIp(range(it)?)),
            IP,
        ),
        (
            "--port",
            &filters.port,
            |it| Some(Condition::Port(Any, it.parse().ok()?)),
            PORT,
        ),
        (
            "--from-port",
            &filters.from_port,
            |it| Some(Condition::Port(Source, it.parse().ok()?)),
            PORT,
        ),
        (
            "--to-port",
            &filters.to_port,
            |it| Some(Condition::Port(Destination, it.parse().ok()?)),
            PORT,
        ),
        (
            "--namespace",
            &filters.namespace,
            |it| Some(Condition::Namespace(Any, it.into())),
            NAME,
        ),
        (
            "--from-namespace",
            &filters.from_namespace,
            |it| Some(Condition::Namespace(Source, it.into())),
            NAME,
        ),
        (
            "--to-namespace",
            &filters.to_namespace,
            |it| Some(Condition::Namespace(Destination, it.into())),
            NAME,
        ),
        (
            "--service",
            &filters.service,
            |it| Some(service(Any, it)),
            NAME,
        ),
        (
            "--from-service",
            &filters.from_service,
            |it| Some(service(Source, it)),
            NAME,
        ),
        (
            "--to-service",
            &filters.to_service,
            |it| Some(service(Destination, it)),
            NAME,
        ),
        (
            "--label",
            &filters.label,
            |it| Some(Condition::Label(Any, it.into())),
            NAME,
        ),
        (
            "--from-label",
            &filters.from_label,
            |it| Some(Condition::Label(Source, it.into())),
            NAME,
        ),
        (
            "--to-label",
            &filters.to_label,
            |it| Some(Condition::Label(Destination, it.into())),
            NAME,
        ),
        (
            "--identity",
            &filters.identity,
            |it| Some(Condition::Identity(Any, identity(it)?)),
            ID,
        ),
        (
            "--from-identity",
            &filters.from_identity,
            |it| Some(Condition::Identity(Source, identity(it)?)),
            ID,
        ),
        (
            "--to-identity",
            &filters.to_identity,
            |it| Some(Condition::Identity(Destination, identity(it)?)),
            ID,
        ),
        (
            "--fqdn",
            &filters.fqdn,
            |it| Some(Condition::Fqdn(Any, it.into())),
            NAME,
        ),
        (
            "--from-fqdn",
            &filters.from_fqdn,
            |it| Some(Condition::Fqdn(Source, it.into())),
            NAME,
        ),
        (
            "--to-fqdn",
            &filters.to_fqdn,
            |it| Some(Condition::Fqdn(Destination, it.into())),
            NAME,
        ),
        (
            "--protocol",
            &filters.protocol,
            protocol,
            "known are tcp, udp, sctp, icmp, ipv4",
        ),
        (
            "--verdict",
            &filters.verdict,
            verdict,
            "known are FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED, TRANSLATED",
        ),
        (
            "--type",
            &filters.r#type,
            event_type,
            "known are drop, trace, trace-sock, capture, l7, policy-verdict, and their subtypes",
        ),
        (
            "--tcp-flags",
            &filters.tcp_flags,
            tcp_flags,
            "known are SYN, ACK, RST, FIN, PSH, URG, ECE, CWR, NS",
        ),
        (
            "--node-name",
            &filters.node_name,
            |it| Some(Condition::Node(it.into())),
            NAME,
        ),
    ]
}

fn filter(filters: &Filters) -> Result<FlowFilter, HubbleError> {
    let mut filter = FlowFilter::default();
    for (flag, given, make, reason) in flags(filters) {
        let mut only = Vec::new();
        for given in given {
            let condition = make(&given.value).ok_or_else(|| wrong(flag, &given.value, reason))?;
            if given.negated {
                filter.not.push(condition);
            } else {
                only.push(condition);
            }
        }
        if !only.is_empty() {
            filter.only.push(only);
        }
    }
    Ok(filter)
}

fn named(text: &str) -> (String, String) {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    (namespace.to_owned(), name.to_owned())
}

fn pod(side: Side, text: &str) -> Condition {
    let (namespace, name) = named(text);
    Condition::Pod(side, namespace, name)
}

fn service(side: Side, text: &str) -> Condition {
    let (namespace, name) = named(text);
    Condition::Service(side, namespace, name)
}

fn range(text: &str) -> Option<Ipv4Net> {
    let address = || text.parse().ok().map(|it: std::net::Ipv4Addr| it.into());
    text.parse().ok().or_else(address)
}

fn identity(text: &str) -> Option<u32> {
    let bare = text.strip_prefix("reserved:").unwrap_or(text);
    let reserved = || (0..=u32::from(u8::MAX)).find(|id| reserved_name(*id) == Some(bare));
    text.parse().ok().or_else(reserved)
}

fn protocol(text: &str) -> Option<Condition> {
    let name = text.to_ascii_lowercase();
    let known = ["tcp", "udp", "sctp", "icmp", "icmpv4", "ipv4"].contains(&name.as_str());
    known.then_some(Condition::Protocol(name))
}

fn verdict(text: &str) -> Option<Condition> {
    let known = Verdict::ALL
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, verdict)| Condition::Verdict(verdict))
}

fn event_type(text: &str) -> Option<Condition> {
    let (kind, sub_type) = match text.split_once(':') {
        Some((kind, sub_type)) => (kind, Some(sub_type)),
        None => (text, None),
    };
    // `pkg/monitor/api/types.go`
    let kind = match kind {
        "drop" => 1,
        "capture" => 3,
        "trace" => 4,
        "policy-verdict" => 5,
        "l7" => 6,
        "trace-sock" => 7,
        number => number.parse().ok()?,
    };
    let names: &[(u8, &str)] = match kind {
        4 => &POINTS,
        7 => &XLATE_POINTS,
        _ => &[],
    };
    let number = |text: &str| {
        let named = names.iter().find(|(_, name)| *name == text);
        named
            .map(|(number, _)| *number)
            .or_else(|| text.parse().ok())
    };
    let sub_type = match sub_type {
        Some(text) => Some(number(text)?),
        None => None,
    };
    Some(Condition::Type(TypeFilter { kind, sub_type }))
}

fn tcp_flags(text: &str) -> Option<Condition> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    TcpFlags::named(names.iter().map(String::as_str))?;
    Some(Condition::TcpFlags(names))
}

/// A duration before now, or a date.
fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Some(ago) = duration(text) {
        return now.checked_sub_signed(ago);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}

/// As Go's `time.ParseDuration`: numbers with units, such as `1h30m` or `1.5s`.
fn duration(text: &str) -> Option<TimeDelta> {
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit())?;
        let (number, behind) = rest.split_at(end);
        let end = behind
            .find(|letter: char| letter == '.' || letter.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = behind;
    }
    TimeDelta::from_std(std::time::Duration::try_from_secs_f64(seconds).ok()?).ok()
}

/// Saved flows: of each line a record, or a flow alone (`-o json` of old).
fn read_file(path: &Path) -> Result<Vec<Record>, HubbleError> {
    let fault = |source| HubbleError::File {
        path: path.to_owned(),
        source,
    };
    let input: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(fault)?)
    };
    let mut records = Vec::new();
    for (number, line) in BufReader::new(input).lines().enumerate() {
        let line = line.map_err(fault)?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line)
            .map_err(|error| fault(io::Error::other(format!("line {}: {error}", number + 1))))?;
        records.push(record);
    }
    Ok(records)
}

/// As the node does it.
fn choose(records: Vec<Record>, request: &FlowsRequest) -> Vec<Record> {
    let wanted = |record: &Record| {
        let time = record.time;
        let in_time = request.since.is_none_or(|since| time >= since)
            && request.until.is_none_or(|until| time <= until);
        in_time
            && record
                .flow
                .as_ref()
                .is_none_or(|flow| request.filter.matches(flow))
    };
    let mut records: Vec<_> = records.into_iter().filter(wanted).collect();
    let count = request.number.unwrap_or(usize::MAX);
    if request.first {
        records.truncate(count);
    } else {
        let surplus = records.len().saturating_sub(count);
        records.drain(..surplus);
    }
    records
}
