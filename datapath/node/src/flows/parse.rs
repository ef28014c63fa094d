//! Events to flows, as `pkg/hubble/parser/threefour` and `…/sock` do. Pure.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use lab_datapath_common::trace::{Event, Point, XlatePoint, kind, reason};
use lab_datapath_common::{Address, DropReason, protocol};

use super::directory::Directory;
use super::flow::{
    Endpoint, Ethernet, EventType, Flow, Icmp, Interface, Ip, Layer4, Ports, Tcp, TcpFlags, Verdict,
};
use super::icmp;

/// What the event tells; `None` when it [is no flow](is_flow).
pub(super) fn parse(event: &Event, time: DateTime<Utc>, directory: &Directory) -> Option<Flow> {
    match event.kind {
        kind::SOCKET => socket(event, time, directory),
        kind::DROP | kind::TRACE => Some(packet(event, time, directory)),
        _ => None,
    }
}

/// Whether the event tells of a flow. One of a socket of nobody's pod does not, as the
/// original skips those.
pub(super) fn is_flow(event: &Event, directory: &Directory) -> bool {
    match event.kind {
        kind::SOCKET => directory.pod_of_cgroup(event.cgroup).is_some(),
        kind::DROP | kind::TRACE => true,
        _ => false,
    }
}

/// Both ports of a packet that is TCP's and not a later fragment.
pub(super) fn tcp_ports(event: &Event) -> Option<[u16; 2]> {
    let frame = &event.head[..usize::from(event.captured).min(event.head.len())];
    let (_, packet) = frame.split_first_chunk::<14>()?;
    let ip = packet.first_chunk::<20>()?;
    if event.kind == kind::SOCKET || frame[12..14] != [8, 0] || ip[9] != protocol::TCP {
        return None;
    }
    let is_later = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0;
    let [a, b, c, d] = *packet.get(usize::from(ip[0] & 0xf) * 4..)?.first_chunk()?;
    (!is_later).then_some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

fn packet(event: &Event, time: DateTime<Utc>, directory: &Directory) -> Flow {
    let captured = usize::from(event.captured).min(event.head.len());
    let headers = Headers::read(&event.head[..captured]);
    let mut ip = headers.ip;
    if let Some(ip) = &mut ip {
        let original = Ipv4Addr::from(event.original);
        if event.original != Address::default() && original != ip.source {
            ip.source_xlated = Some(ip.source);
            ip.source = original;
        }
    }
    let side = |address: Option<Ipv4Addr>, said| match address {
        Some(address) => directory.endpoint(address, said),
        None => Endpoint::default(),
    };
    let source = side(ip.as_ref().map(|ip| ip.source), event.source_identity);
    let destination = side(
        ip.as_ref().map(|ip| ip.destination),
        event.destination_identity,
    );
    let is_drop = event.kind == kind::DROP;
    let is_known = !is_drop && event.reason != reason::UNKNOWN;
    let is_reply = is_known.then_some(event.reason == reason::REPLY);
    let interface = (event.ifindex != 0).then(|| Interface {
        index: event.ifindex,
        name: directory.interface(event.ifindex),
    });
    let (source_service, destination_service) =
        services(ip.as_ref(), headers.l4.as_ref(), directory);
    Flow {
        time,
        verdict: if is_drop {
            Verdict::Dropped
        } else {
            Verdict::Forwarded
        },
        drop_reason: is_drop.then_some(event.detail),
        drop_reason_desc: is_drop.then(|| drop_name(event.detail)),
        ethernet: headers.ethernet,
        traffic_direction: direction(event, &source, is_reply).map(ToOwned::to_owned),
        ip,
        l4: headers.l4,
        source,
        destination,
        kind: "L3_L4".to_owned(),
        node_name: directory.node.clone(),
        event_type: EventType {
            kind: event.kind,
            sub_type: event.detail,
        },
        source_service,
        destination_service,
        trace_observation_point: (!is_drop).then(|| point_name(event.detail).to_owned()),
        trace_reason: (!is_drop).then(|| reason_name(event.reason).to_owned()),
        is_reply,
        interface,
        sock_xlate_point: None,
        socket_cookie: None,
        cgroup_id: None,
        summary: headers.summary,
    }
}

/// As seen from the pod whose program saw it: `decodeTrafficDirection`.
fn direction(event: &Event, source: &Endpoint, is_reply: Option<bool>) -> Option<&'static str> {
    if event.endpoint == 0 {
        return None;
    }
    let is_source = event.endpoint == source.id;
    let is_egress = match (event.kind, is_reply) {
        (kind::DROP, _) => is_source,
        (_, Some(is_reply)) => is_source != is_reply,
        (_, None) => return None,
    };
    Some(if is_egress { "EGRESS" } else { "INGRESS" })
}

type Service = Option<super::flow::ServiceName>;

fn services(ip: Option<&Ip>, l4: Option<&Layer4>, directory: &Directory) -> (Service, Service) {
    let (Some(ip), Some(l4)) = (ip, l4) else {
        return (None, None);
    };
    let protocol = match l4 {
        Layer4::Tcp(_) => "TCP",
        Layer4::Udp(_) => "UDP",
        Layer4::Sctp(_) | Layer4::Icmp(_) => return (None, None),
    };
    let (source_port, destination_port) = l4.ports();
    (
        directory.service(ip.source, source_port, protocol),
        directory.service(ip.destination, destination_port, protocol),
    )
}

/// A socket's call. The process's own port is not known. The original, as the notes have
/// it, prints a service's address rather than its name here.
fn socket(event: &Event, time: DateTime<Utc>, directory: &Directory) -> Option<Flow> {
    let pod = directory.pod_of_cgroup(event.cgroup)?;
    let remote = Ipv4Addr::from(event.address);
    let is_reverse = event.detail == XlatePoint::PreReverse as u8
        || event.detail == XlatePoint::PostReverse as u8;
    let is_pre = event.detail == XlatePoint::PreForward as u8
        || event.detail == XlatePoint::PreReverse as u8;
    let port = event.port.number();
    let ((source, source_port), (destination, destination_port)) = if is_reverse {
        ((remote, port), (pod, 0))
    } else {
        ((pod, 0), (remote, port))
    };
    let (l4, summary) = match event.protocol {
        protocol::TCP => {
            let tcp = Tcp {
                source_port,
                destination_port,
                flags: None,
            };
            (Some(Layer4::Tcp(tcp)), "TCP")
        }
        protocol::UDP => {
            let ports = Ports {
                source_port,
                destination_port,
            };
            (Some(Layer4::Udp(ports)), "UDP")
        }
        _ => (None, "Unknown"),
    };
    Some(Flow {
        time,
        verdict: if is_pre {
            Verdict::Traced
        } else {
            Verdict::Translated
        },
        drop_reason: None,
        drop_reason_desc: None,
        ethernet: None,
        ip: Some(Ip {
            source,
            source_xlated: None,
            destination,
            version: "IPv4".to_owned(),
        }),
        l4,
        source: directory.endpoint(source, 0),
        destination: directory.endpoint(destination, 0),
        kind: "SOCK".to_owned(),
        node_name: directory.node.clone(),
        event_type: EventType {
            kind: event.kind,
            sub_type: event.detail,
        },
        source_service: None,
        destination_service: None,
        traffic_direction: None,
        trace_observation_point: None,
        trace_reason: None,
        is_reply: None,
        interface: None,
        sock_xlate_point: Some(xlate_name(event.detail).to_owned()),
        socket_cookie: Some(event.cookie),
        cgroup_id: Some(event.cgroup),
        summary: summary.to_owned(),
    })
}

/// What is in the head of a packet, and the summary that the innermost part gives.
#[derive(Default)]
struct Headers {
    ethernet: Option<Ethernet>,
    ip: Option<Ip>,
    l4: Option<Layer4>,
    summary: String,
}

impl Headers {
    fn read(frame: &[u8]) -> Self {
        let mut headers = Self::default();
        let Some((ethernet, packet)) = frame.split_first_chunk::<14>() else {
            return headers;
        };
        headers.ethernet = Some(Ethernet {
            source: mac(&ethernet[6..12]),
            destination: mac(&ethernet[..6]),
        });
        "Ethernet".clone_into(&mut headers.summary);
        if ethernet[12..] != [8, 0] {
            return headers;
        }
        let Some(ip) = packet.first_chunk::<20>() else {
            return headers;
        };
        headers.ip = Some(Ip {
            source: [ip[12], ip[13], ip[14], ip[15]].into(),
            source_xlated: None,
            destination: [ip[16], ip[17], ip[18], ip[19]].into(),
            version: "IPv4".to_owned(),
        });
        "IPv4".clone_into(&mut headers.summary);
        let fragment_offset = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff;
        let length = usize::from(ip[0] & 0xf) * 4;
        if fragment_offset == 0
            && let Some(transport) = packet.get(length..)
        {
            headers.read_transport(ip[9], transport);
        }
        headers
    }

    fn read_transport(&mut self, protocol: u8, header: &[u8]) {
        let port = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
        let ports = || {
            Some(Ports {
                source_port: port(0)?,
                destination_port: port(2)?,
            })
        };
        let (l4, summary) = match protocol {
            protocol::TCP => {
                let (Some(ports), Some(flags)) = (ports(), header.get(12..14)) else {
                    return;
                };
                let flags = TcpFlags::new([flags[0], flags[1]]);
                let names: Vec<_> = flags.names().collect();
                let tcp = Tcp {
                    source_port: ports.source_port,
                    destination_port: ports.destination_port,
                    flags: Some(flags),
                };
                (Layer4::Tcp(tcp), format!("TCP Flags: {}", names.join(", ")))
            }
            protocol::UDP => match ports() {
                Some(ports) => (Layer4::Udp(ports), "UDP".to_owned()),
                None => return,
            },
            protocol::SCTP => match ports() {
                Some(ports) => (Layer4::Sctp(ports), "SCTP".to_owned()),
                None => return,
            },
            protocol::ICMP => {
                let Some(&[kind, code]) = header.first_chunk::<2>() else {
                    return;
                };
                let summary = format!("ICMPv4 {}", icmp::words(kind, code));
                (Layer4::Icmp(Icmp { kind, code }), summary)
            }
            _ => return,
        };
        self.l4 = Some(l4);
        self.summary = summary;
    }
}

fn mac(bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(":")
}

/// `flow.TraceObservationPoint`.
fn point_name(point: u8) -> &'static str {
    match point {
        point if point == Point::ToEndpoint as u8 => "TO_ENDPOINT",
        point if point == Point::ToHost as u8 => "TO_HOST",
        point if point == Point::ToStack as u8 => "TO_STACK",
        point if point == Point::ToOverlay as u8 => "TO_OVERLAY",
        point if point == Point::FromEndpoint as u8 => "FROM_ENDPOINT",
        point if point == Point::FromOverlay as u8 => "FROM_OVERLAY",
        point if point == Point::FromNetwork as u8 => "FROM_NETWORK",
        point if point == Point::ToNetwork as u8 => "TO_NETWORK",
        _ => "UNKNOWN_POINT",
    }
}

/// `flow.TraceReason`.
fn reason_name(reason: u8) -> &'static str {
    match reason {
        reason::NEW => "NEW",
        reason::ESTABLISHED => "ESTABLISHED",
        reason::REPLY => "REPLY",
        reason::RELATED => "RELATED",
        _ => "TRACE_REASON_UNKNOWN",
    }
}

/// `flow.SocketTranslationPoint`.
fn xlate_name(point: u8) -> &'static str {
    match point {
        1 => "SOCK_XLATE_POINT_PRE_DIRECTION_FWD",
        2 => "SOCK_XLATE_POINT_POST_DIRECTION_FWD",
        3 => "SOCK_XLATE_POINT_PRE_DIRECTION_REV",
        4 => "SOCK_XLATE_POINT_POST_DIRECTION_REV",
        _ => "SOCK_XLATE_POINT_UNKNOWN",
    }
}

/// `flow.DropReason`: the reason's words in capitals, but for one.
fn drop_name(code: u8) -> String {
    match DropReason::from_code(code) {
        None => "DROP_REASON_UNKNOWN".to_owned(),
        Some(DropReason::InvalidPacket) => "INVALID_PACKET_DROPPED".to_owned(),
        Some(reason) => {
            let words = reason.text().to_uppercase();
            let words = words.split(|letter: char| !letter.is_ascii_alphanumeric());
            let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
            words.join("_")
        }
    }
}
