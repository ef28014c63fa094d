//! Which flows are wanted. Pure; the agent applies it before anything travels.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::flow::{Endpoint, Flow, Layer4, TcpFlags, Verdict};

/// Which side of a flow a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// `--from-…`
    Source,
    /// `--to-…`
    Destination,
    /// Either.
    Any,
}

/// `--type TYPE[:SUBTYPE]`: number of the message type, and of the subtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeFilter {
    /// 1 drop, 4 trace, 7 socket trace; others never occur.
    pub kind: u8,
    /// Observation or translation point, or drop reason.
    pub sub_type: Option<u8>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Pod of a namespace, by the beginning of its name.
    Pod(Side, String, String),
    /// Address in a range.
    Ip(Side, Ipv4Net),
    /// Port.
    Port(Side, u16),
    /// Namespace of a pod.
    Namespace(Side, String),
    /// Service of a namespace, by the beginning of its name.
    Service(Side, String, String),
    /// `KEY` or `KEY=VALUE`, with or without a source such as `k8s:`.
    Label(Side, String),
    /// Security identity.
    Identity(Side, u32),
    /// DNS name, which only a DNS proxy would know.
    Fqdn(Side, String),
    /// Address after masquerading.
    SnatIp(Ipv4Net),
    /// `tcp`, `udp`, `icmp`, `icmpv4`, `sctp`, `ipv4`.
    Protocol(String),
    /// Verdict.
    Verdict(Verdict),
    /// Type of event.
    Type(TypeFilter),
    /// All of these flags.
    TcpFlags(Vec<String>),
    /// Node name, by its beginning.
    Node(String),
}

/// Conditions of which, in each list, one must hold: a list is what one flag was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowFilter {
    /// What must hold.
    pub only: Vec<Vec<Condition>>,
    /// What must not (`--not`).
    pub not: Vec<Condition>,
}

/// Why a condition cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {value}: {reason}")]
pub struct FilterError {
    /// The flag, with its dashes.
    pub flag: String,
    /// What it was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FlowFilter {
    /// Whether the flow is wanted.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let only = |conditions: &Vec<Condition>| conditions.iter().any(|it| it.matches(flow));
        self.only.iter().all(only) && !self.not.iter().any(|it| it.matches(flow))
    }
}

impl Condition {
    fn matches(&self, flow: &Flow) -> bool {
        match self {
            Self::Pod(side, namespace, prefix) => sides(*side, |is_source| {
                let end = end(flow, is_source);
                end.namespace == *namespace
                    && !end.pod_name.is_empty()
                    && end.pod_name.starts_with(prefix)
            }),
            Self::Ip(side, range) => sides(*side, |is_source| {
                address(flow, is_source).is_some_and(|address| range.contains(&address))
            }),
            Self::Port(side, port) => sides(*side, |is_source| {
                let ports = flow.l4.as_ref().map(Layer4::ports);
                ports.is_some_and(|(source, destination)| {
                    *port == if is_source { source } else { destination }
                })
            }),
            Self::Namespace(side, namespace) => sides(*side, |is_source| {
                end(flow, is_source).namespace == *namespace
            }),
            Self::Service(side, namespace, prefix) => sides(*side, |is_source| {
                let service = if is_source {
                    &flow.source_service
                } else {
                    &flow.destination_service
                };
                service
                    .as_ref()
                    .is_some_and(|it| it.namespace == *namespace && it.name.starts_with(prefix))
            }),
            Self::Label(side, label) => sides(*side, |is_source| {
                let mut labels = end(flow, is_source).labels.iter();
                labels.any(|own| is_label(own, label))
            }),
            Self::Identity(side, id) => {
                sides(*side, |is_source| end(flow, is_source).identity == *id)
            }
            // Names come with a DNS proxy, which this datapath does not have.
            Self::Fqdn(..) => false,
            Self::SnatIp(range) => {
                let translated = flow.ip.as_ref().and_then(|ip| ip.source_xlated);
                translated.is_some_and(|address| range.contains(&address))
            }
            Self::Protocol(name) => is_protocol(flow, name),
            Self::Verdict(verdict) => flow.verdict == *verdict,
            Self::Type(wanted) => {
                flow.event_type.kind == wanted.kind
                    && wanted
                        .sub_type
                        .is_none_or(|it| it == flow.event_type.sub_type)
            }
            Self::TcpFlags(names) => match &flow.l4 {
                Some(Layer4::Tcp(tcp)) => tcp.flags.is_some_and(|flags| {
                    TcpFlags::named(names.iter().map(String::as_str))
                        .is_some_and(|wanted| flags.contains(wanted))
                }),
                _ => false,
            },
            Self::Node(prefix) => flow.node_name.starts_with(prefix),
        }
    }
}

fn sides(side: Side, holds: impl Fn(bool) -> bool) -> bool {
    match side {
        Side::Source => holds(true),
        Side::Destination => holds(false),
        Side::Any => holds(true) || holds(false),
    }
}

fn end(flow: &Flow, is_source: bool) -> &Endpoint {
    if is_source {
        &flow.source
    } else {
        &flow.destination
    }
}

fn address(flow: &Flow, is_source: bool) -> Option<Ipv4Addr> {
    let ip = flow.ip.as_ref()?;
    Some(if is_source { ip.source } else { ip.destination })
}

/// Whether a label such as `k8s:app=webpod` is what was asked for.
fn is_label(own: &str, wanted: &str) -> bool {
    let bare = own.split_once(':').map_or(own, |(_, bare)| bare);
    let has_value = wanted.contains('=');
    [own, bare].into_iter().any(|label| {
        let label = if has_value {
            label
        } else {
            label.split_once('=').map_or(label, |(key, _)| key)
        };
        label == wanted
    })
}

fn is_protocol(flow: &Flow, name: &str) -> bool {
    let l4 = flow.l4.as_ref();
    match name {
        "tcp" => matches!(l4, Some(Layer4::Tcp(_))),
        "udp" => matches!(l4, Some(Layer4::Udp(_))),
        "sctp" => matches!(l4, Some(Layer4::Sctp(_))),
        "icmp" | "icmpv4" => matches!(l4, Some(Layer4::Icmp(_))),
        "ipv4" => flow.ip.is_some(),
        _ => false,
    }
}
