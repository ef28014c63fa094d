//! The steps of a check: what can be done, and what can be expected of it.

use lab_model::values::ValuesPatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// A step: a map with one key, which says what is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepFile {
    /// Send echo requests.
    Ping(PingFile),
    /// Fetch over HTTP.
    Curl(CurlFile),
    /// Open a TCP connection and close it.
    Tcp(TcpFile),
    /// Run a command.
    Exec(ExecFile),
    /// Add, delete or judge a route; changes are reverted after the check.
    Route(RouteFile),
    /// Set an interface up or down; reverted after the check.
    Link(LinkFile),
    /// Lay Helm values over the lab's, live; reverted after the check.
    Set(ValuesPatch),
    /// Add or replace an API object; reverted after the check.
    Apply(ManifestFile),
    /// Delete an API object; reverted after the check.
    Delete(DeleteFile),
    /// Give a Deployment another number of pods; reverted after the check.
    Scale(ScaleFile),
}

impl StepFile {
    /// Which kind of step it is.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Ping(_) => StepKind::Ping,
            Self::Curl(_) => StepKind::Curl,
            Self::Tcp(_) => StepKind::Tcp,
            Self::Exec(_) => StepKind::Exec,
            Self::Route(_) => StepKind::Route,
            Self::Link(_) => StepKind::Link,
            Self::Set(_) => StepKind::Set,
            Self::Apply(_) => StepKind::Apply,
            Self::Delete(_) => StepKind::Delete,
            Self::Scale(_) => StepKind::Scale,
        }
    }
}

/// The kinds of steps, as a twin's `omit` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// `ping`
    Ping,
    /// `curl`
    Curl,
    /// `tcp`
    Tcp,
    /// `exec`
    Exec,
    /// `route`
    Route,
    /// `link`
    Link,
    /// `set`
    Set,
    /// `apply`
    Apply,
    /// `delete`
    Delete,
    /// `scale`
    Scale,
}

/// `apply`: an object as a manifest has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ManifestFile(pub serde_json::Map<String, serde_json::Value>);

/// `delete`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteFile {
    /// Kind of the object, such as `Service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace (default `default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `scale`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleFile {
    /// Name of the Deployment.
    pub deployment: String,
    /// Its namespace (default `default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many pods.
    pub replicas: u32,
}

/// `ping`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PingFile {
    /// Node or pod that sends.
    pub from: String,
    /// Address or name.
    pub to: String,
    /// Echo requests to send.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// Payload in bytes (default 56).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 65507))]
    pub size: Option<u16>,
    /// Set the Don't Fragment bit.
    #[serde(default)]
    pub dont_fragment: bool,
    /// What must come back; every reply once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<PingExpectFile>,
}

const fn three() -> u32 {
    3
}

/// What must come back to a ping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PingExpectFile {
    /// How many replies (default: one for each request); 0 when the ping must fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u32>,
    /// The TTL that each reply must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
}

/// `curl`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurlFile {
    /// Node or pod that asks.
    pub from: String,
    /// What to fetch.
    pub url: String,
    /// How long the whole may take (default 3s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// Source port to ask from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// What must come back; status 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<CurlExpectFile>,
}

/// What must come back to a curl.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurlExpectFile {
    /// HTTP status (default 200).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<TextFile>,
    /// That it fails, and how; excludes the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<CurlFailure>,
}

/// How a curl may be expected to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CurlFailure {
    /// Nothing came back in time (exit code 28).
    Timeout,
    /// The connection was refused, or there is no route (exit code 7).
    Connect,
    /// The name was not resolved (exit code 6).
    Resolve,
}

/// What a text must be. Text alone must be contained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextFile {
    /// Contained in it.
    Contains(String),
    /// Every rule given must hold.
    Rules(TextRulesFile),
}

/// Rules for a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TextRulesFile {
    /// Contained in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Not contained in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// All of it, but for white space at its ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
}

/// `tcp`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpFile {
    /// Node or pod that connects.
    pub from: String,
    /// IPv4 address.
    pub to: String,
    /// Port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Source port to connect from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// How long to wait for an answer (default 2s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// What must become of it.
    #[serde(default)]
    pub expect: TcpOutcome,
}

/// What becomes of a TCP connection attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TcpOutcome {
    /// SYN-ACK.
    #[default]
    Connected,
    /// RST.
    Refused,
    /// Nothing.
    Timeout,
    /// No route, or an ICMP error.
    Unreachable,
}

/// `exec`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecFile {
    /// Node or pod.
    pub on: String,
    /// Command and arguments; no shell reads them.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// How long it may take (default 10s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// What must come out; exit code 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<ExecExpectFile>,
}

/// What must come out of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecExpectFile {
    /// Exit code (default 0).
    #[serde(default)]
    pub exit: i32,
    /// Standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<TextFile>,
    /// Standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<TextFile>,
}

/// `route`: exactly one of `add`, `del` and `expect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteFile {
    /// Node or pod.
    pub on: String,
    /// Add this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<RouteAddFile>,
    /// Delete this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub del: Option<RouteDelFile>,
    /// This route must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<RouteExpectFile>,
}

/// A route to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteAddFile {
    /// Destination with prefix length.
    pub to: String,
    /// Address of the next hop.
    pub via: String,
}

/// A route to delete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteDelFile {
    /// Destination with prefix length.
    pub to: String,
}

/// A route that must be there, or must not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteExpectFile {
    /// Destination: with prefix length, or an address for a route to that host alone.
    pub to: String,
    /// Address of the next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Interface that the route leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// That no such route is there.
    #[serde(default)]
    pub absent: bool,
}

/// `link`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkFile {
    /// Node or pod.
    pub on: String,
    /// Interface there.
    pub interface: String,
    /// What it is set to.
    pub state: LinkState,
}

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    /// Administratively up.
    Up,
    /// Administratively down.
    Down,
}
