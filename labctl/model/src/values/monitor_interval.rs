//! `bpf.monitorInterval`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A time in whole seconds, as Go writes it: `5s`, `1m30s`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MonitorInterval {
    seconds: u32,
}

/// A text is not such a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time in seconds, minutes and hours like 5s or 1m30s")]
pub struct MonitorIntervalError(String);

impl MonitorInterval {
    /// How many seconds it is.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.seconds
    }
}

impl Default for MonitorInterval {
    /// Cilium's default.
    fn default() -> Self {
        Self { seconds: 5 }
    }
}

impl FromStr for MonitorInterval {
    type Err = MonitorIntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .map(|seconds| Self { seconds })
            .ok_or_else(|| MonitorIntervalError(text.to_owned()))
    }
}

fn parse(mut rest: &str) -> Option<u32> {
    let mut seconds = 0_u32;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    Some(seconds)
}

impl TryFrom<String> for MonitorInterval {
    type Error = MonitorIntervalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MonitorInterval> for String {
    fn from(interval: MonitorInterval) -> Self {
        interval.to_string()
    }
}

impl fmt::Display for MonitorInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds)
    }
}

impl JsonSchema for MonitorInterval {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MonitorInterval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "seconds",
            "pattern": "^([0-9]+[smh])+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (text, seconds) in [("5s", 5), ("1m30s", 90), ("2h", 7200), ("0s", 0)] {
            let read: MonitorInterval = text.parse().unwrap();
            assert_eq!(read.seconds(), seconds, "{text}");
        }
        for bad in ["", "5", "s", "5d", "500ms", "-1s", "9999999999s"] {
            assert!(bad.parse::<MonitorInterval>().is_err(), "{bad}");
        }
    }
}
