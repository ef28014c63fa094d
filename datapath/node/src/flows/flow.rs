//! A flow as Hubble's API has it (`api/v1/flow/flow.proto`), in the JSON that `hubble
//! observe -o json` prints: proto field names, defaults left out, 64-bit numbers as text.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One line of the stream (`observer.GetFlowsResponse`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Something that was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<Box<Flow>>,
    /// Something that was missed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_events: Option<LostEvents>,
    /// The node that saw it.
    pub node_name: String,
    /// When.
    pub time: DateTime<Utc>,
}

/// Events that nobody will see any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// `PERF_EVENT_RING_BUFFER` (the datapath's) or `HUBBLE_RING_BUFFER` (the store).
    pub source: String,
    /// How many.
    #[serde(with = "text")]
    pub num_events_lost: u64,
}

impl LostEvents {
    /// So many found no room in the datapath's ring buffer.
    pub(super) fn in_the_datapath(count: u64) -> Self {
        Self {
            source: "PERF_EVENT_RING_BUFFER".to_owned(),
            num_events_lost: count,
        }
    }

    /// So many left the store before a reader came to them.
    pub(super) fn in_the_store(count: u64) -> Self {
        Self {
            source: "HUBBLE_RING_BUFFER".to_owned(),
            num_events_lost: count,
        }
    }
}

/// What was decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It went on.
    Forwarded,
    /// It did not.
    Dropped,
    /// It would not have, under a policy that only audits.
    Audit,
    /// It was handed to a proxy.
    Redirected,
    /// A proxy failed.
    Error,
    /// A socket's address was looked at.
    Traced,
    /// A socket's address was changed.
    Translated,
}

impl Verdict {
    /// Every verdict, by its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("FORWARDED", Self::Forwarded),
        ("DROPPED", Self::Dropped),
        ("AUDIT", Self::Audit),
        ("REDIRECTED", Self::Redirected),
        ("ERROR", Self::Error),
        ("TRACED", Self::Traced),
        ("TRANSLATED", Self::Translated),
    ];

    /// Its name, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, verdict)| *verdict == self)
            .map_or("", |(name, _)| name)
    }
}

/// A packet, or a socket's call, that a program saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// When.
    pub time: DateTime<Utc>,
    /// What was decided.
    pub verdict: Verdict,
    /// Number of the drop reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop_reason: Option<u8>,
    /// MAC addresses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ethernet: Option<Ethernet>,
    /// Addresses; with masquerading, the pod's.
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<Ip>,
    /// Ports, flags.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub l4: Option<Layer4>,
    /// Who sent it.
    pub source: Endpoint,
    /// Who gets it.
    pub destination: Endpoint,
    /// `L3_L4` or `SOCK`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The node that saw it.
    pub node_name: String,
    /// Message type and subtype of the monitor's.
    pub event_type: EventType,
    /// Service whose address the source has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_service: Option<ServiceName>,
    /// Service whose address the destination has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination_service: Option<ServiceName>,
    /// `INGRESS` or `EGRESS`, seen from the pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic_direction: Option<String>,
    /// Where, such as `TO_NETWORK`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_observation_point: Option<String>,
    /// What conntrack said, such as `ESTABLISHED`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_reason: Option<String>,
    /// The drop reason's name, such as `POLICY_DENIED`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop_reason_desc: Option<String>,
    /// Whether it answers; `None` when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_reply: Option<bool>,
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<Interface>,
    /// Where at the socket, such as `SOCK_XLATE_POINT_PRE_DIRECTION_FWD`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sock_xlate_point: Option<String>,
    /// The socket.
    #[serde(
        with = "text::optional",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub socket_cookie: Option<u64>,
    /// The process's cgroup.
    #[serde(
        with = "text::optional",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub cgroup_id: Option<u64>,
    /// As the compact output has it in parentheses.
    #[serde(rename = "Summary")]
    pub summary: String,
}

/// MAC addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ethernet {
    /// Sender.
    pub source: String,
    /// Receiver.
    pub destination: String,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// Sender.
    pub source: Ipv4Addr,
    /// What the packet itself has, when `source` is from before masquerading.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_xlated: Option<Ipv4Addr>,
    /// Receiver.
    pub destination: Ipv4Addr,
    /// `IPv4`.
    #[serde(rename = "ipVersion")]
    pub version: String,
}

/// The transport header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Tcp),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(Ports),
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp(Ports),
    /// ICMP.
    #[serde(rename = "ICMPv4")]
    Icmp(Icmp),
}

impl Layer4 {
    /// Source and destination port; zeros for ICMP.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self {
            Self::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Self::Udp(ports) | Self::Sctp(ports) => (ports.source_port, ports.destination_port),
            Self::Icmp(_) => (0, 0),
        }
    }
}

/// TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Sender's.
    #[serde(skip_serializing_if = "is_default", default)]
    pub source_port: u16,
    /// Receiver's.
    #[serde(skip_serializing_if = "is_default", default)]
    pub destination_port: u16,
    /// Flags; none of a socket's call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flags: Option<TcpFlags>,
}

/// UDP, SCTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Sender's.
    #[serde(skip_serializing_if = "is_default", default)]
    pub source_port: u16,
    /// Receiver's.
    #[serde(skip_serializing_if = "is_default", default)]
    pub destination_port: u16,
}

/// ICMP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "is_default", default)]
    pub kind: u8,
    /// Code.
    #[serde(skip_serializing_if = "is_default", default)]
    pub code: u8,
}

/// TCP flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(u16);

impl TcpFlags {
    /// In the order in which Hubble names them, with their bit in the header's 13th byte
    /// (NS: the lowest bit of the 12th).
    pub const NAMES: [(&'static str, u16); 9] = [
        ("SYN", 0x02),
        ("ACK", 0x10),
        ("RST", 0x04),
        ("FIN", 0x01),
        ("PSH", 0x08),
        ("URG", 0x20),
        ("ECE", 0x40),
        ("CWR", 0x80),
        ("NS", 0x100),
    ];

    /// From the header's 12th and 13th byte.
    #[must_use]
    pub const fn new(bytes: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(bytes) & 0x1ff)
    }

    /// The flags of these names; `None` when there is none of that name.
    #[must_use]
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        names.into_iter().try_fold(Self(0), |flags, name| {
            let (_, bit) = Self::NAMES
                .into_iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            Some(Self(flags.0 | bit))
        })
    }

    /// Whether it has all of `others`.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(_, bit)| self.0 & bit != 0)
            .map(|(name, _)| name)
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names().map(|name| (name, true)))
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flags = std::collections::BTreeMap::<String, bool>::deserialize(deserializer)?;
        let set = flags.iter().filter(|(_, set)| **set);
        Self::named(set.map(|(name, _)| name.as_str()))
            .ok_or_else(|| serde::de::Error::custom("unknown TCP flag"))
    }
}

/// One side of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Endpoint id, of a pod of the node that saw the flow.
    #[serde(rename = "ID", skip_serializing_if = "is_default", default)]
    pub id: u16,
    /// Security identity.
    #[serde(skip_serializing_if = "is_default", default)]
    pub identity: u32,
    /// `default`, of a pod.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub cluster_name: String,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub namespace: String,
    /// Labels of the identity.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub labels: Vec<String>,
    /// Pod name.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub pod_name: String,
}

/// Type and subtype of the monitor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// 1 drop, 4 trace, 7 socket trace.
    #[serde(rename = "type", skip_serializing_if = "is_default", default)]
    pub kind: u8,
    /// Drop reason, observation point, translation point.
    #[serde(skip_serializing_if = "is_default", default)]
    pub sub_type: u8,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceName {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 64-bit numbers as JSON strings (the proto3 JSON mapping).
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use serde::{Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(
            value: &Option<u64>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => serializer.collect_str(value),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<u64>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}
