//! Formats of text that [`Document::read`](super::Document::read) checks, so that
//! a bad address is reported at its place together with every other fault.
//!
//! A format is named in the schema: schemars does so for [`std::net::Ipv4Addr`],
//! and `#[schemars(schema_with = "…")]` with a function of this module does so
//! for others. The same names are in the JSON Schema that editors read.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::values::{MonitorInterval, PortRange};

/// A format that text can have.
pub(super) struct Format {
    /// Its name in schemas.
    name: &'static str,
    /// What such text is, for messages.
    pub(super) expects: &'static str,
    /// Whether a text has the format.
    pub(super) accepts: fn(&str) -> bool,
}

const FORMATS: [Format; 4] = [
    Format {
        name: "ipv4",
        expects: "an IPv4 address like 192.168.10.100",
        accepts: |text| text.parse::<Ipv4Addr>().is_ok(),
    },
    Format {
        name: "ipv4-prefix",
        expects: "an IPv4 address with a prefix length like 10.10.0.0/16",
        accepts: |text| text.parse::<Ipv4Net>().is_ok(),
    },
    Format {
        name: "port-range",
        expects: "a range of ports below 65535 like 30000,32767",
        accepts: |text| text.parse::<PortRange>().is_ok(),
    },
    Format {
        name: "seconds",
        expects: "a time in seconds, minutes and hours like 5s or 1m30s",
        accepts: |text| text.parse::<MonitorInterval>().is_ok(),
    },
];

/// The format of that name, when it is one that is checked.
pub(super) fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Schema of an [`Ipv4Net`].
pub fn ipv4_prefix(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "ipv4-prefix",
        "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$",
    })
}

/// Schema of an `Option<Ipv4Net>`.
pub fn optional_ipv4_prefix(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ipv4_prefix(generator);
    schema.insert("type".to_owned(), serde_json::json!(["string", "null"]));
    schema
}

/// Schema of a `Vec<Ipv4Net>`.
pub fn ipv4_prefixes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": ipv4_prefix(generator) })
}

/// Schema of a map from names to [`Ipv4Net`].
pub fn ipv4_prefixes_by_name(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": ipv4_prefix(generator) })
}
