//! A check ready to be run: no template left, every name and address a value of its type.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use lab_model::values::ValuesPatch;

use super::file::{CurlFailure, DeleteFile, LinkState, ManifestFile, ScaleFile, TcpOutcome};
use crate::filter::Filter;

/// A check, ready to be run.
#[derive(Clone, Debug)]
pub struct Check {
    /// Name.
    pub name: String,
    /// One sentence.
    pub why: String,
    /// How long expected packets may take to arrive once the steps have ended.
    pub timeout: Duration,
    /// Captures in the order of the packet's path.
    pub captures: Vec<Capture>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Expected packets in the order of the file.
    pub expectations: Vec<Expectation>,
}

/// Where something is done or seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A node, by name.
    Node(String),
    /// A pod.
    Pod {
        /// Kubernetes namespace.
        namespace: String,
        /// Pod name.
        name: String,
        /// Node that it runs on.
        node: String,
    },
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(name) => f.write_str(name),
            Self::Pod { name, .. } => f.write_str(name),
        }
    }
}

/// A capture to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Its name in the check.
    pub name: String,
    /// Where.
    pub on: Target,
    /// Interface there.
    pub interface: String,
    /// tcpdump's filter; empty for everything.
    pub filter: String,
}

/// Packets expected at a capture.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Index of the capture in [`Check::captures`].
    pub capture: usize,
    /// How many.
    pub count: Count,
    /// Which.
    pub filter: Filter,
}

/// A number of packets, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: Option<u64>,
}

impl Count {
    /// Whether `number` is within the bounds.
    #[must_use]
    pub fn contains(self, number: u64) -> bool {
        number >= self.min && self.max.is_none_or(|max| number <= max)
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            (0, Some(0)) => f.write_str("no packet"),
            (min, Some(max)) if min == max => write!(f, "{min} {}", packets(min)),
            (0, Some(max)) => write!(f, "at most {max} {}", packets(max)),
            (min, Some(max)) => write!(f, "{min} to {max} packets"),
            (min, None) => write!(f, "at least {min} {}", packets(min)),
        }
    }
}

fn packets(number: u64) -> &'static str {
    if number == 1 { "packet" } else { "packets" }
}

/// A step to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send echo requests.
    Ping(Ping),
    /// Fetch over HTTP.
    Curl(Curl),
    /// Open a TCP connection and close it.
    Tcp(Tcp),
    /// Run a command.
    Exec(Exec),
    /// Change a route; to be reverted.
    Route {
        /// Where.
        on: Target,
        /// The change.
        change: RouteChange,
    },
    /// Judge the routes of a node or pod.
    ExpectRoute {
        /// Where.
        on: Target,
        /// The route.
        route: Route,
        /// Whether it must be missing.
        absent: bool,
    },
    /// Set an interface up or down; to be reverted.
    Link {
        /// Where.
        on: Target,
        /// Interface there.
        interface: String,
        /// Up or down.
        state: LinkState,
    },
    /// Lay values over the lab's; to be reverted.
    Set(ValuesPatch),
    /// Add or replace an API object; to be reverted.
    Apply(ManifestFile),
    /// Delete an API object; to be reverted.
    Delete(DeleteFile),
    /// Give a Deployment another number of pods; to be reverted.
    Scale(ScaleFile),
}

/// Echo requests to send, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Sender.
    pub from: Target,
    /// Address or name.
    pub to: String,
    /// Requests.
    pub count: u32,
    /// Payload in bytes.
    pub size: Option<u16>,
    /// Whether the Don't Fragment bit is set.
    pub dont_fragment: bool,
    /// Replies that must come.
    pub received: u32,
    /// TTL that they must have.
    pub ttl: Option<u8>,
}

/// A request over HTTP, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curl {
    /// Who asks.
    pub from: Target,
    /// What for.
    pub url: String,
    /// How long the whole may take.
    pub timeout: Duration,
    /// Source port.
    pub local_port: Option<u16>,
    /// Status and body that must come, or how it must fail.
    pub expect: Result<(u16, Option<Text>), CurlFailure>,
}

/// A TCP connection to open, and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Who connects.
    pub from: Target,
    /// Where to.
    pub to: Ipv4Addr,
    /// Port there.
    pub port: u16,
    /// Source port.
    pub local_port: Option<u16>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// What must become of it.
    pub expect: TcpOutcome,
}

/// A command to run, and what must come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Where.
    pub on: Target,
    /// Command and arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Exit code.
    pub exit: i32,
    /// Standard output.
    pub stdout: Option<Text>,
    /// Standard error.
    pub stderr: Option<Text>,
}

/// What a text must be; every rule given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Contained in it.
    pub contains: Option<String>,
    /// Not contained in it.
    pub lacks: Option<String>,
    /// All of it, but for white space at its ends.
    pub equals: Option<String>,
}

/// A change of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Add a route.
    Add {
        /// Destination.
        to: Ipv4Net,
        /// Next hop.
        via: Ipv4Addr,
    },
    /// Delete a route.
    Del {
        /// Destination.
        to: Ipv4Net,
    },
}

/// A route that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub to: Ipv4Net,
    /// Next hop, where that matters.
    pub via: Option<Ipv4Addr>,
    /// Interface, where that matters.
    pub dev: Option<String>,
}

impl Step {
    /// The node or pod at which the step is done; values and API objects are the whole
    /// lab's.
    #[must_use]
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Ping(ping) => Some(&ping.from),
            Self::Curl(curl) => Some(&curl.from),
            Self::Tcp(tcp) => Some(&tcp.from),
            Self::Exec(exec) => Some(&exec.on),
            Self::Route { on, .. } | Self::ExpectRoute { on, .. } | Self::Link { on, .. } => {
                Some(on)
            }
            Self::Set(_) | Self::Apply(_) | Self::Delete(_) | Self::Scale(_) => None,
        }
    }

    /// How long a command may take before it is killed, with what its own limits leave over.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match self {
            // A second for the last reply, and as much again for a slow machine.
            Self::Ping(ping) => Duration::from_millis(5_000 + 50 * u64::from(ping.count)),
            Self::Curl(curl) => curl.timeout + Duration::from_secs(5),
            Self::Tcp(tcp) => tcp.timeout + Duration::from_secs(5),
            Self::Exec(exec) => exec.timeout,
            Self::Route { .. }
            | Self::ExpectRoute { .. }
            | Self::Link { .. }
            | Self::Set(_)
            | Self::Apply(_)
            | Self::Delete(_)
            | Self::Scale(_) => Duration::from_secs(10),
        }
    }
}
