//! `nodePort.range`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Ports from the first to the last, written `30000,32767`. The last is below
/// 65535, so that masqueraded flows, which get the ports above, have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A text is not a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a range of ports like 30000,32767, which begins after 0 and ends before 65535"
)]
pub struct PortRangeError(String);

impl PortRange {
    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port; below 65535.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether the port is one of the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl Default for PortRange {
    /// Kubernetes' and Cilium's default.
    fn default() -> Self {
        Self {
            first: 30000,
            last: 32767,
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ports = text.split_once(',').and_then(|(first, last)| {
            Some((
                first.trim().parse::<u16>().ok()?,
                last.trim().parse::<u16>().ok()?,
            ))
        });
        match ports {
            Some((first, last)) if 0 < first && first <= last && last < u16::MAX => {
                Ok(Self { first, last })
            }
            _ => Err(PortRangeError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.first, self.last)
    }
}

impl JsonSchema for PortRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "port-range",
            "pattern": "^ *[0-9]{1,5} *, *[0-9]{1,5} *$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_ports_for_masquerading() {
        let range: PortRange = "30000, 64535".parse().unwrap();
        assert_eq!((range.first(), range.last()), (30000, 64535));
        assert_eq!(range.to_string(), "30000,64535");
        assert!(range.contains(30000) && range.contains(64535) && !range.contains(64536));
        for wrong in [
            "",
            "30000",
            "30000-32767",
            "0,5",
            "5,4",
            "30000,65535",
            "1,70000",
            "a,b",
        ] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
