//! `hubble observe`: from flags to a request, and from records to lines.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::HubbleError;
use super::arguments::{ObserveArguments, Output};
use super::client::Nodes;
use super::filter::{filter, wrong};
use super::merge::{DRAIN, merged};
use super::printer::Printer;
use crate::api::FlowsRequest;
use crate::flows::{Now as _, Record};

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
