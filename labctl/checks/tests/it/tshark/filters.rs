//! Filters match the packets that they match in tshark.

use std::path::Path;
use std::process::Command;

use lab_checks::filter::Filter;
use lab_checks::packet::{Capture, Packet};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::tshark;
use crate::traffic::{self, File};

fn ours(filter: &str, packets: &[Packet<'_>]) -> Vec<u64> {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{}", error.render(filter)));
    packets
        .iter()
        .filter(|packet| filter.matches(packet))
        .map(|packet| packet.number)
        .collect()
}

/// Frames that match each filter, from one run: frames are a second apart, and `io,stat` counts
/// per second and filter. It splits at commas, so sets of several members cannot take this way.
fn theirs(capture: &Path, frames: usize, filters: &[String]) -> Vec<Vec<u64>> {
    let statistic = format!("io,stat,1,{}", filters.join(","));
    let table = tshark(capture, &["-q", "-z", &statistic]);
    let mut matching = vec![Vec::new(); filters.len()];
    let mut row = 0;
    for line in table.lines().filter(|line| line.contains("<>")) {
        row += 1;
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        for (filter, frames_and_bytes) in cells[1..].chunks(2).enumerate() {
            if frames_and_bytes[0] != "0" {
                matching[filter].push(row);
            }
        }
    }
    assert_eq!(
        row as usize, frames,
        "tshark printed a row for every frame:\n{table}"
    );
    matching
}

#[track_caller]
fn assert_agreement(frames: &[Vec<u8>], filters: &[String]) {
    let bytes = traffic::pcap(frames);
    let capture = Capture::read(&bytes).expect("the capture is whole");
    let packets: Vec<Packet<'_>> = capture.packets().collect();
    let file = File::new("filters.pcap", &bytes);
    let mut differences = Vec::new();
    for batch in filters.chunks(40) {
        for (filter, theirs) in batch.iter().zip(theirs(file.path(), frames.len(), batch)) {
            let ours = ours(filter, &packets);
            if ours != theirs {
                differences.push(format!("{filter}\n  labctl {ours:?}\n  tshark {theirs:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn filters_inside_tunnels_agree() {
    let filters = [
        "vxlan",
        "vxlan.vni == 9214",
        "vxlan.vni > 1000 && udp.dstport == 8472",
        "ip.src == 10.244.0.5",
        "ip.addr#1 == 10.244.0.5",
        "ip.src#2 == 10.244.0.5",
        "icmp && vxlan",
        "arp && vxlan.vni == 266",
        "eth.type == 0x0806",
        "tcp.flags == 0x012",
        "!vxlan",
    ];
    let filters: Vec<String> = filters.map(str::to_owned).to_vec();
    assert_agreement(&traffic::tunnels(), &filters);
}

const TABLE: &[&str] = &[
    "frame",
    "eth",
    "arp",
    "ip",
    "ipv6",
    "icmp",
    "icmpv6",
    "tcp",
    "udp",
    "!ip",
    "not icmp and not tcp",
    "icmp.type == 8 && ip.src == 10.244.0.5",
    "icmp.type==8&&ip.src==192.168.10.100",
    "icmp.type eq 0 and ip.dst eq 192.168.10.100",
    // Values are several where an ICMP error quotes a packet.
    "ip.src == 10.244.0.5",
    "ip.src != 10.244.0.5",
    "ip.src !== 10.244.0.5",
    "ip.src === 10.244.0.5",
    "!(ip.src == 10.244.0.5)",
    "not ip.src == 10.244.0.5",
    "any ip.src != 10.244.0.5",
    "all ip.src == 10.244.0.5",
    "all ip.src > 10.244.0.5",
    "ip.addr == 10.10.1.200",
    "ip.addr != 10.10.1.200",
    "ip.addr ne 10.10.1.200",
    "ip.addr any_ne 10.10.1.200",
    "ip.addr all_eq 10.10.1.200",
    "ip.src#1 == 192.168.10.200",
    "ip.src#2 == 10.244.0.5",
    "ip.addr#2 == 192.168.10.200",
    "ip.src#3",
    "icmp.type#2 == 8",
    "ip.src == 10.244.0.0/16",
    "ip.addr == 10.0.0.0/8",
    "ip.addr != 10.0.0.0/8",
    "ip.src > 10.244.0.0/16",
    "ip.src >= 10.244.0.0/16",
    "ip.src == 0.0.0.0/0",
    "ip.dst < 192.168.10.100",
    "ip.src == ip.dst",
    "arp.src.proto_ipv4 == arp.dst.proto_ipv4",
    "tcp.srcport == tcp.dstport",
    "ip.src != ip.dst",
    "tcp.srcport > tcp.dstport",
    "ip.len > udp.length",
    "tcp.port == 80",
    "tcp.port != 80",
    "tcp.dstport == 80 && tcp.flags.syn == 1 && tcp.flags.ack == 0",
    "tcp.flags == 0x012",
    "tcp.flags == 0x002 or tcp.flags == 0x014",
    "tcp.flags & 0x12",
    "tcp.flags & 0x12 == 0x10",
    "tcp.flags.reset == True",
    "tcp.flags.fin == FALSE",
    "tcp.flags.push",
    "tcp.flags.ack != 1",
    "tcp.len > 0",
    "tcp.len == 0",
    "tcp.seq_raw == 1000001",
    "tcp.ack_raw ge 4294967291",
    "tcp.hdr_len == 40",
    "tcp.dstport == 0120",
    "tcp.dstport == 0b1010000",
    "tcp.dstport == 0X50",
    "udp.port == 9999",
    "udp.length le 13",
    "ip.frag_offset > 0",
    "ip.frag_offset == 185",
    "ip.flags.mf == 1 || ip.frag_offset gt 0",
    "ip.flags.df == 0",
    "ip.flags == 2",
    "ip.id == 99",
    "ip.ttl < 64",
    "ip.ttl in {62..63}",
    "ip.ttl not in {62..63}",
    "any ip.ttl in {1}",
    "all ip.ttl in {64}",
    "ip.src in {10.244.0.0/16}",
    "ip.dst in {192.168.10.1..192.168.10.150}",
    "tcp.dstport in {80..70}",
    "ip.dsfield.dscp == 46",
    "ip.hdr_len == 24",
    "icmp.mtu == 1400",
    "icmp.redir_gw == 192.168.10.101",
    "icmp.ident == 33000 and icmp.seq == 2",
    "icmp.code == 3",
    "arp.opcode == 1",
    "arp.opcode == 2 and arp.src.proto_ipv4 == 192.168.10.200",
    "arp.dst.hw_mac == 00:00:00:00:00:00",
    "eth.src == 02:00:00:00:00:01",
    "eth.addr == 08-00-27-dc-00-69",
    "eth.dst > 02:00:00:00:00:ff",
    "eth.type == 0x88b5",
    "frame.len == 60",
    "frame.number <= 5",
    // Precedence: not, and, or.
    "tcp or icmp and udp",
    "icmp and udp or tcp",
    "not tcp or icmp and ip.ttl == 63",
    "!tcp && !udp || ip.ttl == 1",
    "(tcp or icmp) and ip.ttl == 63",
    "not (tcp or icmp)",
    "!!tcp",
    "not tcp.port == 80 and tcp",
];

#[test]
fn a_table_of_filters_agrees() {
    let filters: Vec<String> = TABLE.iter().map(|filter| (*filter).to_owned()).collect();
    assert_agreement(&traffic::everything(), &filters);
}

#[test]
fn sets_of_several_members_agree() {
    let bytes = traffic::pcap(&traffic::everything());
    let capture = Capture::read(&bytes).expect("the capture is whole");
    let packets: Vec<Packet<'_>> = capture.packets().collect();
    let file = File::new("sets.pcap", &bytes);
    for filter in [
        "tcp.port in {80, 8443}",
        "tcp.port not in {80, 1000..9000}",
        "ip.src in {10.10.1.0/24, 192.168.10.200} and icmp.type in {0, 3, 11}",
    ] {
        let theirs = tshark(
            file.path(),
            &["-Y", filter, "-T", "fields", "-e", "frame.number"],
        );
        let theirs: Vec<u64> = theirs
            .lines()
            .map(|line| line.parse().expect("a frame number"))
            .collect();
        assert_eq!(ours(filter, &packets), theirs, "{filter}");
    }
}

/// What the subset leaves out is left out by tshark too, or rejected here with the reason; never
/// accepted here and rejected there.
#[test]
fn nothing_is_accepted_that_tshark_rejects() {
    let file = File::new("one.pcap", &traffic::pcap(&traffic::everything()[..1]));
    for filter in [
        "tcp.dstport in {80 443}",
        "80 == tcp.dstport",
        "tcp.dstport == 65536",
        "ip.src == 10.244",
        "ip.src == 10.244.0.5/33",
        "tcp.flags.syn == true",
        "tcp xor udp",
        "TCP",
        "eth.src == 2:0:0:0:0:1",
        "ip.src == \"10.244.0.5\"",
        "any tcp",
        "tcp.port AND udp",
        "ip.src == 10.244.0.5 ip.dst == 1.1.1.1",
        "tcp.dstport in {}",
        "tcp.dstport in {80,}",
        "(tcp",
        "tcp)",
        "ip.scr == 10.0.0.1",
    ] {
        let output = Command::new("tshark")
            .args(["-n", "-Y", filter, "-r"])
            .arg(file.path())
            .output()
            .expect("tshark is installed (apt-get install tshark)");
        assert!(!output.status.success(), "tshark accepts `{filter}`");
        assert!(Filter::parse(filter).is_err(), "labctl accepts `{filter}`");
    }
}

/// Filters without commas, over values that occur in the traffic. Without `#N`: tshark 4.0 reads
/// `ip.src` as `ip.src#2` once a filter has named the latter.
fn filters() -> impl Strategy<Value = String> {
    let relation = prop::sample::select(vec![
        "==", "!=", "<", "<=", ">", ">=", "===", "!==", "eq", "ne",
    ]);
    let address = prop::sample::select(vec![
        "10.244.0.5",
        "192.168.10.100",
        "192.168.10.200",
        "10.10.1.200",
        "10.244.0.0/16",
        "10.0.0.0/8",
        "192.168.10.128/25",
    ]);
    let addressed = (
        prop::sample::select(vec!["ip.src", "ip.dst", "ip.addr"]),
        relation.clone(),
        address,
    )
        .prop_map(|(field, relation, value)| format!("{field} {relation} {value}"));
    let numbered = (
        prop::sample::select(vec![
            "ip.ttl",
            "ip.len",
            "ip.id",
            "icmp.type",
            "icmp.code",
            "icmp.seq",
            "tcp.port",
            "tcp.srcport",
            "tcp.len",
            "tcp.flags",
            "udp.port",
            "udp.length",
            "ip.frag_offset",
            "frame.len",
            "ip.proto",
            "arp.opcode",
        ]),
        relation,
        prop::sample::select(vec![0u16, 1, 2, 3, 8, 11, 17, 62, 63, 64, 80, 99]),
    )
        .prop_map(|(field, relation, value)| format!("{field} {relation} {value}"));
    let present = prop::sample::select(vec![
        "tcp",
        "udp",
        "icmp",
        "arp",
        "ip",
        "tcp.flags.syn",
        "icmp.ident",
        "icmp.mtu",
        "udp.port",
        "ip.src",
    ])
    .prop_map(str::to_owned);
    prop_oneof![addressed, numbered, present].prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or {b}")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

#[test]
fn generated_filters_agree() {
    let mut runner = TestRunner::default();
    let strategy = filters();
    let generated: Vec<String> = (0..400)
        .map(|_| {
            strategy
                .new_tree(&mut runner)
                .expect("no filter is rejected")
                .current()
        })
        .collect();
    assert_agreement(&traffic::everything(), &generated);
}
