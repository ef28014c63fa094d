//! The types of a check file's text, one to one.
//!
//! Strings are not interpreted here: every text under `capture`, `run`, `expect` and
//! `twin` may be a template, so addresses are known only once a lab is up.

mod steps;

use std::time::Duration;

use indexmap::IndexMap;
use lab_model::values::ValuesPatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use steps::*;

/// A check file: `suite:` and its checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuiteFile {
    /// Name of the suite, in kebab-case.
    pub suite: String,
    /// The checks, run in this order.
    pub checks: Vec<CheckFile>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckFile {
    /// Name, in kebab-case, unique in the suite.
    pub name: String,
    /// One sentence: why what is checked should be so.
    pub why: String,
    /// How long expected packets may take to arrive once the steps have ended (default 2s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// Where packets are captured, in the order in which a packet passes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub capture: IndexMap<String, CaptureFile>,
    /// What is done, in this order.
    pub run: Vec<StepFile>,
    /// Which packets must have been seen, in the order in which they pass, there and back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<ExpectFile>,
    /// The change under which this check must fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinFile>,
}

/// A capture: one interface of one node or pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaptureFile {
    /// Node or pod.
    pub on: String,
    /// Interface there.
    #[serde(default = "eth0")]
    pub interface: String,
    /// tcpdump's filter (pcap-filter(7)); everything when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
}

fn eth0() -> String {
    "eth0".to_owned()
}

/// Packets that must have been seen at a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectFile {
    /// Name of the capture.
    pub at: String,
    /// How many.
    pub count: CountFile,
    /// Which: a display filter.
    #[serde(rename = "where")]
    pub filter: String,
}

/// A number of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CountFile {
    /// Exactly so many.
    Exactly(u64),
    /// Between two bounds.
    Between(BoundsFile),
}

/// Bounds of a number of packets; one may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BoundsFile {
    /// At least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// The change under which a check must fail: at least one of its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TwinFile {
    /// Why the check must fail then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Helm values laid over the lab's, and over those that the check itself sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ValuesPatch>,
    /// Kinds of steps that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<StepKind>,
    /// Steps that are done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<StepFile>,
}

/// A length of time: `500ms`, `5s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => 0,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(milliseconds))
            .filter(|total| (1..=3_600_000).contains(total))
            .map(|total| Self(Duration::from_millis(total)))
            .ok_or_else(|| {
                format!("`{text}` is not a time between 1ms and 60m, such as 500ms, 5s or 2m")
            })
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        let milliseconds = time.0.as_millis();
        if milliseconds.is_multiple_of(1_000) {
            format!("{}s", milliseconds / 1_000)
        } else {
            format!("{milliseconds}ms")
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A length of time: `500ms`, `5s`, `2m`.",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m)$",
        })
    }
}
