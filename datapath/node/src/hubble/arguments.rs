//! The command line of `hubble`, as typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Hubble is a utility to observe and inspect recent Cilium routed traffic in a cluster.
#[derive(Debug, Parser)]
#[command(name = "hubble", disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe flows of all nodes
    Observe(Box<ObserveArguments>),
    /// Display status of Hubble server
    Status,
    /// List Hubble objects
    List {
        /// Which.
        #[command(subcommand)]
        what: List,
    },
}

/// What `hubble list` lists.
#[derive(Debug, Subcommand)]
pub enum List {
    /// List Hubble nodes
    #[command(alias = "node")]
    Nodes,
}

/// How flows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line a flow
    #[default]
    Compact,
    /// A block a flow
    Dict,
    /// A JSON document a line
    Json,
    /// As json
    Jsonpb,
    /// Columns
    #[value(alias = "tab")]
    Table,
}

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeFormat {
    /// `Jan _2 15:04:05.000`
    #[default]
    #[value(name = "StampMilli")]
    StampMilli,
    /// Seconds
    #[value(name = "RFC3339")]
    Rfc3339,
    /// Milliseconds
    #[value(name = "RFC3339Milli")]
    Rfc3339Milli,
    /// Microseconds
    #[value(name = "RFC3339Micro")]
    Rfc3339Micro,
    /// Nanoseconds
    #[value(name = "RFC3339Nano")]
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 -0700`
    #[value(name = "RFC1123Z")]
    Rfc1123Z,
}

impl TimeFormat {
    pub(super) fn render(self, time: DateTime<Utc>) -> String {
        let rfc3339 = |format| time.to_rfc3339_opts(format, true);
        match self {
            Self::StampMilli => time.format("%b %e %H:%M:%S%.3f").to_string(),
            Self::Rfc3339 => rfc3339(SecondsFormat::Secs),
            Self::Rfc3339Milli => rfc3339(SecondsFormat::Millis),
            Self::Rfc3339Micro => rfc3339(SecondsFormat::Micros),
            Self::Rfc3339Nano => rfc3339(SecondsFormat::Nanos),
            Self::Rfc1123Z => time.format("%a, %d %b %Y %H:%M:%S %z").to_string(),
        }
    }
}

/// Marks the value of a flag behind `--not`. No argument of a process can hold it.
const NEGATED: char = '\0';

/// The value of a filter's flag, and whether `--not` stood before the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) negated: bool,
    pub(super) value: String,
}

impl FromStr for Given {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = text.strip_prefix(NEGATED);
        Ok(Self {
            negated: value.is_some(),
            value: value.unwrap_or(text).to_owned(),
        })
    }
}

/// Takes each `--not` out of a command line, and marks the value of the flag behind it:
/// `--not` is about the next flag, and clap knows no order of flags. What is behind `--`
/// is left alone.
pub fn mark_negated(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut marked = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            marked.push(arg);
            marked.extend(args);
            break;
        }
        if arg != "--not" {
            marked.push(arg);
            continue;
        }
        let Some(flag) = args.next() else {
            // clap says that there is no such flag alone.
            marked.push(arg);
            break;
        };
        let mark = |value: &str| OsString::from(format!("{NEGATED}{value}"));
        match flag.to_str().and_then(|flag| flag.split_once('=')) {
            Some((name, value)) => {
                let mut joined = OsString::from(name);
                joined.push("=");
                joined.push(mark(value));
                marked.push(joined);
            }
            None => {
                marked.push(flag);
                let value = args.next();
                marked.extend(value.map(|value| mark(&value.to_string_lossy())));
            }
        }
    }
    marked
}

/// `observe`.
#[derive(Debug, Default, Args)]
pub struct ObserveArguments {
    /// Follow flows output
    #[arg(short, long)]
    pub(super) follow: bool,

    /// Get last N flows [default: 20]
    #[arg(long, value_name = "N", conflicts_with_all = ["first", "all"])]
    pub(super) last: Option<usize>,

    /// Get first N flows
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "follow"])]
    pub(super) first: Option<usize>,

    /// Get all flows that the nodes remember
    #[arg(long)]
    pub(super) all: bool,

    /// Filter flows since a specific date: 10m, 1h30m, 2006-01-02, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,

    /// Filter flows until a specific date, as --since
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,

    /// Reverses the next filter to be blacklist, e.g. --not --from-ip 2.2.2.2
    #[arg(long = "not")]
    pub(super) negated: bool,

    /// Specify the output format; table waits for the end, so not with --follow
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,

    /// Specify the time format for printing
    #[arg(long, value_enum, default_value_t)]
    pub(super) time_format: TimeFormat,

    /// Print node name in output
    #[arg(long)]
    pub(super) print_node_name: bool,

    /// Display all information in numeric form
    #[arg(long)]
    pub(super) numeric: bool,

    /// Read flows, as -o jsonpb writes them, from this file, or from `-`, instead of the nodes
    #[arg(
        long,
        visible_alias = "input-file",
        value_name = "FILE",
        conflicts_with = "follow"
    )]
    pub(super) from_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) filters: Filters,
}

impl ObserveArguments {
    /// Whether this is about a file, and no node is asked.
    #[must_use]
    pub const fn reads_file(&self) -> bool {
        self.from_file.is_some()
    }
}

macro_rules! filters {
    ($($(#[$doc:meta])* $name:ident $value:literal $($option:ident = $setting:expr)?;)+) => {
        /// Filters: of one flag any value, of different flags all must fit.
        #[derive(Debug, Default, Args)]
        pub(super) struct Filters {$(
            $(#[$doc])*
            #[arg(long, value_name = $value $(, $option = $setting)?)]
            pub(super) $name: Vec<Given>,
        )+}
    };
}

filters! {
    /// Show all flows from or to pods whose name begins so ([NAMESPACE/]PREFIX, namespace
    /// `default`; NAMESPACE/ for all of one)
    pod "POD";
    /// Show all flows originating in such pods
    from_pod "POD";
    /// Show all flows terminating in such pods
    to_pod "POD";
    /// Show all flows from or to an IP address or CIDR
    ip "IP";
    /// Show all flows originating at it
    from_ip "IP";
    /// Show all flows terminating at it
    to_ip "IP";
    /// Show all flows masqueraded to it
    snat_ip "IP";
    /// Show all flows from or to a port
    port "PORT";
    /// Show all flows originating at a port
    from_port "PORT";
    /// Show all flows terminating at a port
    to_port "PORT";
    /// Show all flows from or to pods of a namespace
    namespace "NAMESPACE" short = 'n';
    /// Show all flows originating in a namespace
    from_namespace "NAMESPACE";
    /// Show all flows terminating in a namespace
    to_namespace "NAMESPACE";
    /// Show all flows from or to the address of a service ([NAMESPACE/]PREFIX)
    service "SERVICE";
    /// Show all flows originating at it
    from_service "SERVICE";
    /// Show all flows terminating at it
    to_service "SERVICE";
    /// Show all flows from or to what has a label (KEY or KEY=VALUE)
    label "LABEL" short = 'l';
    /// Show all flows originating there
    from_label "LABEL";
    /// Show all flows terminating there
    to_label "LABEL";
    /// Show all flows from or to a security identity (number or reserved name)
    identity "ID";
    /// Show all flows originating there
    from_identity "ID";
    /// Show all flows terminating there
    to_identity "ID";
    /// Show all flows from or to a DNS name; none has one without a DNS proxy
    fqdn "NAME";
    /// Show all flows originating there
    from_fqdn "NAME";
    /// Show all flows terminating there
    to_fqdn "NAME";
    /// Show only flows of a protocol (tcp, udp, sctp, icmp, ipv4)
    protocol "PROTOCOL";
    /// Show only flows with this verdict (FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED,
    /// TRANSLATED)
    verdict "VERDICT";
    /// Show only events of a type: drop, trace, trace-sock, with or without a subtype, such as
    /// trace:to-network
    r#type "TYPE[:SUBTYPE]" short = 't';
    /// Show only flows with all these TCP flags (SYN,ACK)
    tcp_flags "FLAGS";
    /// Show only flows that nodes saw whose name begins so
    node_name "NODE";
}
