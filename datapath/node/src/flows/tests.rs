//! Events to flows, and the store.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lab_datapath_common::trace::{Event, Point, XlatePoint, kind, reason};
use lab_datapath_common::{Address, DropReason, Port, protocol};

use super::directory::Directory;
use super::entry::{Entry, What};
use super::flow::{Flow, Layer4, Verdict};
use super::icmp;
use super::parse::{is_flow, parse, tcp_ports};
use super::store::{Next, Store};
use crate::agent::tests::document;

const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 100);
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const CGROUP: u64 = 4711;

/// A TCP segment with SYN, Ethernet header first.
fn frame(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol::TCP, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend([
        0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0,
    ]);
    frame
}

fn event(kind: u8, detail: u8, frame: &[u8]) -> Event {
    let mut event = Event {
        kind,
        detail,
        captured: u16::try_from(frame.len()).expect("short"),
        ..Event::default()
    };
    event.head[..frame.len()].copy_from_slice(frame);
    event
}

fn directory() -> (Directory, u32) {
    let state = document("flows", 0);
    let identity = state.pods[0].identity;
    let pod = state.pods[0].address;
    assert_eq!(pod, POD, "the document's first pod");
    let interfaces = HashMap::from([(3, "eth1".to_owned())]);
    let cgroups = HashMap::from([(CGROUP, POD)]);
    (
        Directory::new(&state, [NODE], interfaces, cgroups),
        identity,
    )
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn parsed(event: &Event) -> Flow {
    parse(event, now(), &directory().0).expect("a flow")
}

#[test]
fn a_masqueraded_packet_still_is_the_pods() {
    let mut event = event(kind::TRACE, Point::ToNetwork as u8, &frame(NODE, WORLD));
    event.original = POD.into();
    event.source_identity = directory().1;
    event.destination_identity = 2;
    event.ifindex = 3;
    event.reason = reason::NEW;
    let flow = parsed(&event);
    let ip = flow.ip.expect("addresses");
    assert_eq!((ip.source, ip.source_xlated), (POD, Some(NODE)));
    assert!(!flow.source.pod_name.is_empty());
    assert_eq!(flow.destination.labels, ["reserved:world"]);
    assert_eq!(flow.is_reply, Some(false));
    assert_eq!(flow.summary, "TCP Flags: SYN");
    assert_eq!(
        flow.interface.and_then(|it| it.name).as_deref(),
        Some("eth1")
    );
    assert_eq!(flow.l4.map(|l4| l4.ports()), Some((40_000, 80)));
}

#[test]
fn whether_it_answers_is_conntracks_word() {
    let mut event = event(kind::TRACE, Point::ToEndpoint as u8, &frame(WORLD, POD));
    for (reason, expected) in [
        (reason::REPLY, Some(true)),
        (reason::ESTABLISHED, Some(false)),
        (reason::RELATED, Some(false)),
        (reason::UNKNOWN, None),
    ] {
        event.reason = reason;
        assert_eq!(parsed(&event).is_reply, expected, "{reason}");
    }
}

#[test]
fn a_drop_says_why_and_nobody_knows_whether_it_answered() {
    let code = DropReason::NoNatMapping.code();
    let mut event = event(kind::DROP, code, &frame(POD, WORLD));
    event.reason = reason::UNKNOWN;
    let flow = parsed(&event);
    assert_eq!(flow.verdict, Verdict::Dropped);
    assert_eq!(flow.drop_reason, Some(167));
    let name = flow.drop_reason_desc.as_deref();
    assert_eq!(name, Some("NO_MAPPING_FOR_NAT_MASQUERADE"));
    assert_eq!(flow.is_reply, None);
}

#[test]
fn a_socket_is_its_pods_without_a_port_and_nobodys_is_skipped() {
    let mut event = Event {
        kind: kind::SOCKET,
        detail: XlatePoint::PreForward as u8,
        cgroup: CGROUP,
        cookie: 77,
        address: Address::from(Ipv4Addr::new(10, 96, 0, 10)),
        port: Port::new(53),
        protocol: protocol::UDP,
        ..Event::default()
    };
    let flow = parsed(&event);
    assert_eq!(flow.verdict, Verdict::Traced);
    assert_eq!(flow.ip.expect("addresses").source, POD);
    assert_eq!(flow.l4.map(|l4| l4.ports()), Some((0, 53)));
    event.detail = XlatePoint::PostReverse as u8;
    let flow = parsed(&event);
    assert_eq!(flow.verdict, Verdict::Translated);
    assert_eq!(flow.ip.expect("addresses").destination, POD);
    assert_eq!(flow.l4.map(|l4| l4.ports()), Some((53, 0)));
    event.cgroup = CGROUP + 1;
    let directory = directory().0;
    assert_eq!(parse(&event, now(), &directory), None);
    assert!(!is_flow(&event, &directory));
}

/// Whatever is cut off is left out, and nothing is made up.
#[test]
fn packets_cut_at_any_length_are_flows() {
    let whole = frame(POD, WORLD);
    for length in 0..=whole.len() {
        let flow = parsed(&event(kind::TRACE, 0, &whole[..length]));
        assert_eq!(flow.ethernet.is_some(), length >= 14, "{length}");
        assert_eq!(flow.ip.is_some(), length >= 34, "{length}");
        let is_tcp = matches!(flow.l4, Some(Layer4::Tcp(_)));
        assert_eq!(is_tcp, length >= 34 + 14, "{length}");
    }
    let mut later = whole;
    later[20..22].copy_from_slice(&[0, 100]);
    assert_eq!(parsed(&event(kind::TRACE, 0, &later)).summary, "IPv4");
}

#[test]
fn icmp_has_gopackets_words() {
    assert_eq!(icmp::words(8, 0), "EchoRequest");
    let words = icmp::words(3, 4);
    assert_eq!(words, "DestinationUnreachable(FragmentationNeeded)");
    assert_eq!(icmp::words(11, 0), "TimeExceeded(TTLExceeded)");
}

fn entry(number: i64, directory: &Arc<Directory>) -> Entry {
    Entry {
        time: DateTime::from_timestamp(number, 0).expect("a time"),
        directory: Arc::clone(directory),
        what: What::Seen(event(kind::TRACE, 0, &frame(POD, WORLD))),
    }
}

#[test]
fn the_oldest_goes_and_slow_readers_learn_what_they_missed() {
    let directory = Arc::new(directory().0);
    let entries = |numbers: Range<i64>| numbers.map(|number| entry(number, &directory));
    let store = Store::new(3);
    store.extend(entries(0..2));
    let (there, mut position) = store.snapshot();
    assert_eq!(there.len(), 2);
    let next = |position: &mut u64, patience| store.next(position, patience);
    assert!(matches!(next(&mut position, Duration::ZERO), Next::Nothing));
    store.extend(entries(2..7));
    // Five came, three are there.
    let missed = next(&mut position, Duration::ZERO);
    assert!(matches!(missed, Next::Missed(2)), "{missed:?}");
    for expected in 4..7 {
        let Next::Entry(next) = next(&mut position, Duration::ZERO) else {
            panic!("entry {expected} is missing");
        };
        assert_eq!(next.time.timestamp(), expected);
    }
    let status = store.status("k8s-ctr".to_owned());
    assert_eq!((status.flows, status.capacity, status.seen), (3, 3, 7));
    store.resize(1);
    assert_eq!(store.snapshot().0.len(), 1);
    store.close();
    assert!(matches!(next(&mut position, Duration::MAX), Next::Closed));
}

#[test]
fn the_ports_are_those_that_the_flow_tells() {
    let whole = frame(POD, WORLD);
    for length in 0..=whole.len() {
        let event = event(kind::TRACE, 0, &whole[..length]);
        let ports = tcp_ports(&event);
        assert_eq!(ports.is_some(), length >= 34 + 4, "{length}");
        if let Some(l4) = parsed(&event).l4 {
            assert_eq!(ports.map(<(u16, u16)>::from), Some(l4.ports()));
        }
    }
    let mut later = whole;
    later[20..22].copy_from_slice(&[0, 100]);
    assert_eq!(tcp_ports(&event(kind::TRACE, 0, &later)), None);
}
