//! The specification's records (its version 1.1.0), and the cases of CoreDNS's own tests.

mod cluster;

use proptest::prelude::*;

use super::*;
use crate::config::Fallthrough;
use crate::plugin::asking::ask;
use cluster::{records, settings};

const SOA: &str = "auth cluster.local. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1753885699 7200 1800 86400 30";
const DENIED: &str = "NXDOMAIN qr,aa,rd";
const NODATA: &str = "NOERROR qr,aa,rd";

fn plugin(settings: &Kubernetes) -> Plugin {
    let store = Store::default();
    store.replace(records());
    Plugin::new(settings, store)
}

/// Name, type, and the answer's lines; `NXDOMAIN` and `NODATA` come with the SOA.
const CASES: [(&str, &str, &[&str]); 44] = [
    (
        "webpod.default.svc.cluster.local.",
        "A",
        &["webpod.default.svc.cluster.local. 30 A 10.96.152.212"],
    ),
    (
        "WebPod.Default.svc.Cluster.local.",
        "A",
        &["WebPod.Default.svc.Cluster.local. 30 A 10.96.152.212"],
    ),
    ("webpod.default.svc.cluster.local.", "AAAA", &[NODATA]),
    (
        "webpod.default.svc.cluster.local.",
        "SRV",
        &[
            "webpod.default.svc.cluster.local. 30 SRV 0 100 80 webpod.default.svc.cluster.local.",
            "add webpod.default.svc.cluster.local. 30 A 10.96.152.212",
        ],
    ),
    ("none.default.svc.cluster.local.", "A", &[DENIED]),
    ("webpod.none.svc.cluster.local.", "AAAA", &[DENIED]),
    ("google.com.svc.cluster.local.", "A", &[DENIED]),
    ("google.com.cluster.local.", "A", &[DENIED]),
    ("1.2.google.com.default.svc.cluster.local.", "A", &[DENIED]),
    // Case 30: N endpoints by M named ports are N×M SRV records, one less where a port has no number.
    (
        "hdls.default.svc.cluster.local.",
        "A",
        &[
            "hdls.default.svc.cluster.local. 30 A 172.20.1.2",
            "hdls.default.svc.cluster.local. 30 A 172.20.1.3",
        ],
    ),
    (
        "hdls.default.svc.cluster.local.",
        "SRV",
        &[
            "hdls.default.svc.cluster.local. 30 SRV 0 33 80 172-20-1-2.hdls.default.svc.cluster.local.",
            "hdls.default.svc.cluster.local. 30 SRV 0 33 9090 172-20-1-2.hdls.default.svc.cluster.local.",
            "hdls.default.svc.cluster.local. 30 SRV 0 33 80 db-0.hdls.default.svc.cluster.local.",
            "add 172-20-1-2.hdls.default.svc.cluster.local. 30 A 172.20.1.2",
            "add db-0.hdls.default.svc.cluster.local. 30 A 172.20.1.3",
        ],
    ),
    (
        "_http._tcp.hdls.default.svc.cluster.local.",
        "SRV",
        &[
            "_http._tcp.hdls.default.svc.cluster.local. 30 SRV 0 50 80 172-20-1-2.hdls.default.svc.cluster.local.",
            "_http._tcp.hdls.default.svc.cluster.local. 30 SRV 0 50 80 db-0.hdls.default.svc.cluster.local.",
            "add 172-20-1-2.hdls.default.svc.cluster.local. 30 A 172.20.1.2",
            "add db-0.hdls.default.svc.cluster.local. 30 A 172.20.1.3",
        ],
    ),
    (
        "_http._tcp.web.default.svc.cluster.local.",
        "SRV",
        &[
            "_http._tcp.web.default.svc.cluster.local. 30 SRV 0 100 80 web.default.svc.cluster.local.",
            "add web.default.svc.cluster.local. 30 A 10.96.0.80",
        ],
    ),
    (
        "_http._tcp.web.default.svc.cluster.local.",
        "A",
        &["_http._tcp.web.default.svc.cluster.local. 30 A 10.96.0.80"],
    ),
    (
        "_http._udp.web.default.svc.cluster.local.",
        "SRV",
        &[DENIED],
    ),
    ("_tcp.web.default.svc.cluster.local.", "A", &[NODATA]),
    ("_udp.web.default.svc.cluster.local.", "A", &[DENIED]),
    ("_tcp.none.default.svc.cluster.local.", "A", &[DENIED]),
    // Case 30: a headless service without ready endpoints doesn't exist.
    ("down.default.svc.cluster.local.", "A", &[DENIED]),
    (
        "_http._tcp.down.default.svc.cluster.local.",
        "SRV",
        &[DENIED],
    ),
    (
        "172-20-1-2.hdls.default.svc.cluster.local.",
        "A",
        &["172-20-1-2.hdls.default.svc.cluster.local. 30 A 172.20.1.2"],
    ),
    (
        "db-0.hdls.default.svc.cluster.local.",
        "A",
        &["db-0.hdls.default.svc.cluster.local. 30 A 172.20.1.3"],
    ),
    ("172-20-1-3.hdls.default.svc.cluster.local.", "A", &[DENIED]),
    (
        "172-20-1-40.web.default.svc.cluster.local.",
        "A",
        &["172-20-1-40.web.default.svc.cluster.local. 30 A 172.20.1.40"],
    ),
    // Without ports there are the pods' names, and no SRV records.
    (
        "portless.default.svc.cluster.local.",
        "A",
        &[
            "portless.default.svc.cluster.local. 30 A 172.20.1.5",
            "portless.default.svc.cluster.local. 30 A 172.20.1.6",
        ],
    ),
    ("portless.default.svc.cluster.local.", "SRV", &[NODATA]),
    (
        "_http._tcp.portless.default.svc.cluster.local.",
        "SRV",
        &[DENIED],
    ),
    (
        "db-1.portless.default.svc.cluster.local.",
        "A",
        &["db-1.portless.default.svc.cluster.local. 30 A 172.20.1.5"],
    ),
    (
        "5.1.20.172.in-addr.arpa.",
        "PTR",
        &["5.1.20.172.in-addr.arpa. 30 PTR db-1.portless.default.svc.cluster.local."],
    ),
    // Wildcards went with CoreDNS 1.9.
    ("*.default.svc.cluster.local.", "A", &[DENIED]),
    ("any.any.svc.cluster.local.", "A", &[DENIED]),
    ("empty.svc.cluster.local.", "A", &[NODATA]),
    ("svc.cluster.local.", "NS", &[NODATA]),
    ("cluster.local.", "A", &[NODATA]),
    (
        "cluster.local.",
        "SOA",
        &[
            "cluster.local. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1753885699 7200 1800 86400 30",
        ],
    ),
    ("web.default.svc.cluster.local.", "SOA", &[NODATA]),
    // Case 30.
    (
        "dns-version.cluster.local.",
        "TXT",
        &["dns-version.cluster.local. 28800 TXT \"1.1.0\""],
    ),
    ("dns-version.cluster.local.", "A", &[NODATA]),
    (
        "10-0-2-15.default.pod.cluster.local.",
        "A",
        &["10-0-2-15.default.pod.cluster.local. 30 A 10.0.2.15"],
    ),
    ("blah.default.pod.cluster.local.", "A", &[DENIED]),
    ("10-0-2-15.none.pod.cluster.local.", "A", &[DENIED]),
    (
        "212.152.96.10.in-addr.arpa.",
        "PTR",
        &["212.152.96.10.in-addr.arpa. 30 PTR webpod.default.svc.cluster.local."],
    ),
    (
        "3.1.20.172.in-addr.arpa.",
        "PTR",
        &["3.1.20.172.in-addr.arpa. 30 PTR db-0.hdls.default.svc.cluster.local."],
    ),
    (
        "144.1.20.172.in-addr.arpa.",
        "PTR",
        &["144.1.20.172.in-addr.arpa. 30 PTR 172-20-1-144.kube-dns.kube-system.svc.cluster.local."],
    ),
];

#[test]
fn specification() {
    let plugin = plugin(&settings());
    for (name, rtype, expected) in CASES {
        let expected = match expected {
            [denial] if [DENIED, NODATA].contains(denial) => format!("{denial}\n{SOA}"),
            records => format!("{NODATA}\n{}", records.join("\n")),
        };
        assert_eq!(ask(&plugin, name, rtype), expected, "{name} {rtype}");
    }
}

/// As CoreDNS 1.13 has it (`plugin/kubernetes/handler_test.go`, `plugin/backend_lookup.go`).
#[test]
fn a_service_with_an_external_name_is_its_alias() {
    let plugin = plugin(&settings());
    let denied = format!("{DENIED}\n{SOA}");
    let nodata = format!("{NODATA}\n{SOA}");
    let answer = |lines: &str| format!("{NODATA}\n{lines}");
    let cname = |from: &str, to: &str| format!("{from}.default.svc.cluster.local. 30 CNAME {to}.");
    let in_zone = |from: &str, to: &str| cname(from, &format!("{to}.default.svc.cluster.local"));
    let outside = cname("outside", "www.example.org");
    let web = "web.default.svc.cluster.local. 30 A 10.96.0.80";
    let (then, inside) = ("then www.example.org.", in_zone("inside", "web"));
    let cases = [
        ("outside", "CNAME", answer(&outside)),
        ("outside", "A", answer(&format!("{outside}\n{then}"))),
        ("outside", "AAAA", answer(&format!("{outside}\n{then}"))),
        ("outside", "SRV", nodata.clone()),
        ("outside", "TXT", nodata.clone()),
        ("_http._tcp.outside", "SRV", denied.clone()),
        ("_tcp.outside", "A", denied.clone()),
        ("db-0.outside", "A", denied.clone()),
        ("inside", "A", answer(&format!("{inside}\n{web}"))),
        ("inside", "AAAA", nodata.clone()),
        ("inside", "CNAME", answer(&inside)),
        (
            "twice",
            "A",
            answer(&format!("{}\n{inside}\n{web}", in_zone("twice", "inside"))),
        ),
        (
            "out",
            "A",
            answer(&format!("{}\n{outside}\n{then}", in_zone("out", "outside"))),
        ),
        ("nowhere", "A", nodata.clone()),
        ("nowhere", "CNAME", answer(&in_zone("nowhere", "none"))),
        ("itself", "A", nodata.clone()),
        ("round", "A", nodata),
        ("number", "A", denied.clone()),
        ("number", "CNAME", denied),
    ];
    for (name, rtype, expected) in cases {
        let asked = format!("{name}.default.svc.cluster.local.");
        assert_eq!(ask(&plugin, &asked, rtype), expected, "{name} {rtype}");
    }
}

#[test]
fn an_answer_has_eight_aliases_at_most() {
    let alias = |number: u8| {
        let next = format!("a{}.default.svc.cluster.local", number + 1);
        cluster::alias(&format!("a{number}"), &next)
    };
    let store = Store::default();
    let mut records = records();
    records.services.extend((0..9).map(alias));
    records
        .services
        .push(cluster::alias("a9", "web.default.svc.cluster.local"));
    store.replace(records);
    let plugin = Plugin::new(&settings(), store);
    let lines = |name: &str| {
        let answer = ask(&plugin, &format!("{name}.default.svc.cluster.local."), "A");
        answer
            .lines()
            .filter(|line| line.contains(" CNAME "))
            .count()
    };
    assert_eq!(lines("a2"), 8);
    assert_eq!(lines("a1"), 0);
}

#[test]
fn other_zones_and_reverse_names_that_nobody_has_are_the_next_plugins() {
    let plugin = plugin(&settings());
    for name in [
        "google.com.",
        "1.2.0.10.in-addr.arpa.",
        "xcluster.local.",
        "1.ip6.arpa.",
    ] {
        assert_eq!(ask(&plugin, name, "PTR"), "next", "{name}");
    }
    let mut alone = settings();
    alone.fallthrough = Fallthrough::Never;
    let denied = "NXDOMAIN qr,aa,rd\nauth in-addr.arpa. 30 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 1753885699 7200 1800 86400 30";
    assert_eq!(
        ask(&self::plugin(&alone), "1.2.0.10.in-addr.arpa.", "PTR"),
        denied
    );
}

#[test]
fn nothing_is_known_until_records_come() {
    let store = Store::default();
    let plugin = Plugin::new(&settings(), store.clone());
    let name = "webpod.default.svc.cluster.local.";
    assert!(ask(&plugin, name, "A").starts_with("failed plugin/kubernetes: "));
    assert_eq!(ask(&plugin, "example.org.", "A"), "next");
    store.replace(records());
    assert!(ask(&plugin, name, "A").ends_with("10.96.152.212"));
}

#[test]
fn a_port_has_the_endpoints_that_have_it() {
    let plugin = plugin(&settings());
    let name = "_metrics._tcp.hdls.default.svc.cluster.local.";
    assert_eq!(
        ask(&plugin, name, "A"),
        format!("{NODATA}\n{name} 30 A 172.20.1.2")
    );
    assert!(ask(&plugin, name, "AAAA").starts_with(NODATA));
}

#[test]
fn the_soa_records_ttl_is_five_minutes_at_most() {
    let mut settings = settings();
    settings.ttl = 3600;
    let plugin = plugin(&settings);
    let soa =
        "300 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1753885699 7200 1800 86400 3600";
    for (name, rtype) in [("cluster.local.", "SOA"), ("none.cluster.local.", "A")] {
        assert!(ask(&plugin, name, rtype).ends_with(soa), "{name}");
    }
    let web = ask(&plugin, "web.default.svc.cluster.local.", "A");
    assert!(web.ends_with(" 3600 A 10.96.0.80"), "{web}");
}

#[test]
fn options_change_what_is_shown() {
    let web = "web.default.svc.cluster.local.";
    let hdls = "hdls.default.svc.cluster.local.";
    let with = |change: fn(&mut Kubernetes)| {
        let mut settings = settings();
        change(&mut settings);
        plugin(&settings)
    };
    let hidden = with(|it| it.namespaces = vec!["kube-system".to_owned()]);
    assert!(ask(&hidden, web, "A").starts_with(DENIED));
    assert!(ask(&hidden, "default.svc.cluster.local.", "A").starts_with(DENIED));
    assert_eq!(ask(&hidden, "80.0.96.10.in-addr.arpa.", "PTR"), "next");
    let without = with(|it| it.no_endpoints = true);
    assert!(ask(&without, hdls, "A").starts_with(DENIED));
    assert!(ask(&without, web, "A").ends_with("10.96.0.80"));
    let ignoring = with(|it| it.ignore_empty_service = true);
    assert!(ask(&ignoring, "webpod.default.svc.cluster.local.", "A").starts_with(DENIED));
    assert!(ask(&ignoring, web, "A").ends_with("10.96.0.80"));
    let by_pod = with(|it| it.endpoint_pod_names = true);
    assert!(ask(&by_pod, "pod-2.hdls.default.svc.cluster.local.", "A").ends_with("172.20.1.2"));
    assert!(ask(&by_pod, "172-20-1-2.hdls.default.svc.cluster.local.", "A").starts_with(DENIED));
    let pod = |mode: fn(&mut Kubernetes), name| ask(&with(mode), name, "A");
    let known = "172-20-1-236.default.pod.cluster.local.";
    let disabled: fn(&mut Kubernetes) = |it| it.pods = PodMode::Disabled;
    let verified: fn(&mut Kubernetes) = |it| it.pods = PodMode::Verified;
    assert!(pod(disabled, known).starts_with(DENIED));
    assert!(pod(verified, known).ends_with("172.20.1.236"));
    assert!(pod(verified, "172-20-1-236.kube-system.pod.cluster.local.").starts_with(DENIED));
}

#[test]
fn name_server_is_the_service_that_the_server_is_behind() {
    let behind = plugin(&settings()).with_addresses(vec!["172.20.1.144".parse().unwrap()]);
    assert_eq!(
        ask(&behind, "cluster.local.", "NS"),
        "NOERROR qr,aa,rd\ncluster.local. 30 NS kube-dns.kube-system.svc.cluster.local.\n\
         add kube-dns.kube-system.svc.cluster.local. 30 A 10.96.0.10"
    );
    assert!(ask(&behind, "ns.dns.cluster.local.", "A").ends_with("30 A 10.96.0.10"));
    let alone = plugin(&settings()).with_addresses(vec!["192.0.2.1".parse().unwrap()]);
    assert!(
        ask(&alone, "cluster.local.", "NS").ends_with("add ns.dns.cluster.local. 30 A 192.0.2.1")
    );
    assert!(ask(&alone, "dns.cluster.local.", "A").starts_with(NODATA));
}

#[test]
fn answers_are_as_long_as_the_transcripts() {
    // tcpdump there: 50 octets asked, 98 and 143 answered.
    let plugin = plugin(&settings());
    for (rtype, length) in [("A", 98), ("AAAA", 143)] {
        let query = crate::plugin::asking::query("webpod.default.svc.cluster.local.", rtype);
        let step = plugin.answer(&Query::read(&query).unwrap(), Time::ZERO);
        let Step::Answer(answer) = step else {
            panic!("{step:?}")
        };
        assert_eq!((query.len(), answer.len()), (50, length));
    }
}

proptest! {
    /// Whatever the labels: an answer, the next plugin's turn, but no panic; and below the
    /// zone always an answer of its own.
    #[test]
    fn every_name_has_an_answer(
        labels in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "svc", "pod", "ns", "dns", "default", "web", "hdls", "_http", "_tcp", "db-0", "10-0-2-15",
                    "1-2-3", "--", "dns-version", "10", "in-addr", "arpa", "_",
                ]).prop_map(str::to_owned),
                "[a-z0-9_*-]{1,63}",
            ],
            0..8,
        ),
        zone in proptest::sample::select(vec!["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "example."]),
        rtype in proptest::sample::select(vec!["A", "AAAA", "SRV", "PTR", "TXT", "NS", "SOA", "ANY", "TYPE1000"]),
    ) {
        let mut name = labels.join(".");
        name.truncate(200);
        let name = format!("{}.{zone}", name.trim_end_matches('.'));
        let answer = ask(&plugin(&settings()), name.trim_start_matches('.'), rtype);
        match zone {
            "cluster.local." => prop_assert_ne!(answer, "next", "{}", name),
            "example." => prop_assert_eq!(answer, "next", "{}", name),
            _ => {}
        }
    }
}
