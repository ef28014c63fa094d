//! From filters' flags to conditions.

use ipnet::Ipv4Net;

use super::HubbleError;
use super::arguments::{Filters, Given};
use super::printer::{POINTS, XLATE_POINTS};
use crate::flows::{Condition, FlowFilter, Side, TcpFlags, TypeFilter, Verdict, reserved_name};

pub(super) fn wrong(flag: &str, value: &str, reason: &str) -> HubbleError {
    HubbleError::Usage(format!("invalid value '{value}' for '{flag}': {reason}"))
}

type Make = fn(&str) -> Option<Condition>;

/// The flags, what each makes of a value, and what is wrong when it makes nothing.
fn flags(filters: &Filters) -> [(&'static str, &[Given], Make, &'static str); 30] {
    const NAME: &str = "no name";
    const IP: &str = "neither an IPv4 address nor a CIDR";
    const PORT: &str = "no port between 0 and 65535";
    const ID: &str = "neither a number nor a reserved identity";
    use Side::{Any, Destination, Source};
    [
        ("--pod", &filters.pod, |it| Some(pod(Any, it)), NAME),
        (
            "--from-pod",
            &filters.from_pod,
            |it| Some(pod(Source, it)),
            NAME,
        ),
        (
            "--to-pod",
            &filters.to_pod,
            |it| Some(pod(Destination, it)),
            NAME,
        ),
        (
            "--ip",
            &filters.ip,
            |it| Some(Condition::Ip(Any, range(it)?)),
            IP,
        ),
        (
            "--from-ip",
            &filters.from_ip,
            |it| Some(Condition::Ip(Source, range(it)?)),
            IP,
        ),
        (
            "--to-ip",
            &filters.to_ip,
            |it| Some(Condition::Ip(Destination, range(it)?)),
            IP,
        ),
        (
            "--snat-ip",
            &filters.snat_ip,
            |it| Some(Condition::SnatIp(range(it)?)),
            IP,
        ),
        (
            "--port",
            &filters.port,
            |it| Some(Condition::Port(Any, it.parse().ok()?)),
            PORT,
        ),
        (
            "--from-port",
            &filters.from_port,
            |it| Some(Condition::Port(Source, it.parse().ok()?)),
            PORT,
        ),
        (
            "--to-port",
            &filters.to_port,
            |it| Some(Condition::Port(Destination, it.parse().ok()?)),
            PORT,
        ),
        (
            "--namespace",
            &filters.namespace,
            |it| Some(Condition::Namespace(Any, it.into())),
            NAME,
        ),
        (
            "--from-namespace",
            &filters.from_namespace,
            |it| Some(Condition::Namespace(Source, it.into())),
            NAME,
        ),
        (
            "--to-namespace",
            &filters.to_namespace,
            |it| Some(Condition::Namespace(Destination, it.into())),
            NAME,
        ),
        (
            "--service",
            &filters.service,
            |it| Some(service(Any, it)),
            NAME,
        ),
        (
            "--from-service",
            &filters.from_service,
            |it| Some(service(Source, it)),
            NAME,
        ),
        (
            "--to-service",
            &filters.to_service,
            |it| Some(service(Destination, it)),
            NAME,
        ),
        (
            "--label",
            &filters.label,
            |it| Some(Condition::Label(Any, it.into())),
            NAME,
        ),
        (
            "--from-label",
            &filters.from_label,
            |it| Some(Condition::Label(Source, it.into())),
            NAME,
        ),
        (
            "--to-label",
            &filters.to_label,
            |it| Some(Condition::Label(Destination, it.into())),
            NAME,
        ),
        (
            "--identity",
            &filters.identity,
            |it| Some(Condition::Identity(Any, identity(it)?)),
            ID,
        ),
        (
            "--from-identity",
            &filters.from_identity,
            |it| Some(Condition::Identity(Source, identity(it)?)),
            ID,
        ),
        (
            "--to-identity",
            &filters.to_identity,
            |it| Some(Condition::Identity(Destination, identity(it)?)),
            ID,
        ),
        (
            "--fqdn",
            &filters.fqdn,
            |it| Some(Condition::Fqdn(Any, it.into())),
            NAME,
        ),
        (
            "--from-fqdn",
            &filters.from_fqdn,
            |it| Some(Condition::Fqdn(Source, it.into())),
            NAME,
        ),
        (
            "--to-fqdn",
            &filters.to_fqdn,
            |it| Some(Condition::Fqdn(Destination, it.into())),
            NAME,
        ),
        (
            "--protocol",
            &filters.protocol,
            protocol,
            "known are tcp, udp, sctp, icmp, ipv4",
        ),
        (
            "--verdict",
            &filters.verdict,
            verdict,
            "known are FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED, TRANSLATED",
        ),
        (
            "--type",
            &filters.r#type,
            event_type,
            "known are drop, trace, trace-sock, capture, l7, policy-verdict, and their subtypes",
        ),
        (
            "--tcp-flags",
            &filters.tcp_flags,
            tcp_flags,
            "known are SYN, ACK, RST, FIN, PSH, URG, ECE, CWR, NS",
        ),
        (
            "--node-name",
            &filters.node_name,
            |it| Some(Condition::Node(it.into())),
            NAME,
        ),
    ]
}

pub(super) fn filter(filters: &Filters) -> Result<FlowFilter, HubbleError> {
    let mut filter = FlowFilter::default();
    for (flag, given, make, reason) in flags(filters) {
        let mut only = Vec::new();
        for given in given {
            let condition = make(&given.value).ok_or_else(|| wrong(flag, &given.value, reason))?;
            if given.negated {
                filter.not.push(condition);
            } else {
                only.push(condition);
            }
        }
        if !only.is_empty() {
            filter.only.push(only);
        }
    }
    Ok(filter)
}

fn named(text: &str) -> (String, String) {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    (namespace.to_owned(), name.to_owned())
}

fn pod(side: Side, text: &str) -> Condition {
    let (namespace, name) = named(text);
    Condition::Pod(side, namespace, name)
}

fn service(side: Side, text: &str) -> Condition {
    let (namespace, name) = named(text);
    Condition::Service(side, namespace, name)
}

fn range(text: &str) -> Option<Ipv4Net> {
    let address = || text.parse().ok().map(|it: std::net::Ipv4Addr| it.into());
    text.parse().ok().or_else(address)
}

fn identity(text: &str) -> Option<u32> {
    let bare = text.strip_prefix("reserved:").unwrap_or(text);
    let reserved = || (0..=u32::from(u8::MAX)).find(|id| reserved_name(*id) == Some(bare));
    text.parse().ok().or_else(reserved)
}

fn protocol(text: &str) -> Option<Condition> {
    let name = text.to_ascii_lowercase();
    let known = ["tcp", "udp", "sctp", "icmp", "icmpv4", "ipv4"].contains(&name.as_str());
    known.then_some(Condition::Protocol(name))
}

fn verdict(text: &str) -> Option<Condition> {
    let known = Verdict::ALL
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, verdict)| Condition::Verdict(verdict))
}

fn event_type(text: &str) -> Option<Condition> {
    let (kind, sub_type) = match text.split_once(':') {
        Some((kind, sub_type)) => (kind, Some(sub_type)),
        None => (text, None),
    };
    // `pkg/monitor/api/types.go`
    let kind = match kind {
        "drop" => 1,
        "capture" => 3,
        "trace" => 4,
        "policy-verdict" => 5,
        "l7" => 6,
        "trace-sock" => 7,
        number => number.parse().ok()?,
    };
    let names: &[(u8, &str)] = match kind {
        4 => &POINTS,
        7 => &XLATE_POINTS,
        _ => &[],
    };
    let number = |text: &str| {
        let named = names.iter().find(|(_, name)| *name == text);
        named
            .map(|(number, _)| *number)
            .or_else(|| text.parse().ok())
    };
    let sub_type = match sub_type {
        Some(text) => Some(number(text)?),
        None => None,
    };
    Some(Condition::Type(TypeFilter { kind, sub_type }))
}

fn tcp_flags(text: &str) -> Option<Condition> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    TcpFlags::named(names.iter().map(String::as_str))?;
    Some(Condition::TcpFlags(names))
}
