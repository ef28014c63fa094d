//! A page as it is scraped, read by a parser of the format's grammar.

use std::collections::HashMap;

use domain::base::iana::{Rcode, Rtype};

use super::super::{Answered, Asked};
use super::*;
use crate::upstream::Transport;

fn asked(transport: Transport, rtype: Rtype) -> Asked {
    Asked {
        client: "10.0.0.1".parse().unwrap(),
        transport,
        rtype,
        dnssec_ok: rtype == Rtype::AAAA,
        buffer: 1232,
    }
}

fn answered(rcode: Rcode, plugin: &'static str) -> Answered {
    Answered {
        rcode,
        size: 98,
        plugin,
        took: Duration::from_micros(300),
    }
}

fn lines(page: &str, start: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| line.starts_with(start));
    lines.map(str::to_owned).collect()
}

#[test]
fn cache_as_the_transcript_has_it() {
    let registry = Registry::new("labctl-0.1.0");
    let cache = registry.cache("dns://:53", ".");
    assert_eq!(
        lines(&registry.render(), "coredns_cache_"),
        Vec::<String>::new()
    );
    cache.own().requests.fetch_add(3226, Relaxed);
    cache.own().misses.fetch_add(3223, Relaxed);
    cache.entries_denial.store(2, Relaxed);
    cache.entries_success.store(2, Relaxed);
    let before_hits = [
        r#"coredns_cache_entries{server="dns://:53",type="denial",view="",zones="."} 2"#,
        r#"coredns_cache_entries{server="dns://:53",type="success",view="",zones="."} 2"#,
        r#"coredns_cache_misses_total{server="dns://:53",view="",zones="."} 3223"#,
        r#"coredns_cache_requests_total{server="dns://:53",view="",zones="."} 3226"#,
    ];
    assert_eq!(lines(&registry.render(), "coredns_cache_"), before_hits);
    cache.own().hits_denial.fetch_add(1, Relaxed);
    // The same labels are the same group.
    registry
        .cache("dns://:53", ".")
        .own()
        .hits_success
        .fetch_add(2, Relaxed);
    let hits = [
        r#"coredns_cache_hits_total{server="dns://:53",type="denial",view="",zones="."} 1"#,
        r#"coredns_cache_hits_total{server="dns://:53",type="success",view="",zones="."} 2"#,
    ];
    assert_eq!(lines(&registry.render(), "coredns_cache_hits"), hits);
}

#[test]
fn queries_and_upstreams() {
    let registry = Registry::new("labctl-0.1.0");
    let dns = registry.dns("dns://:53", "cluster.local.");
    dns.count(
        &asked(Transport::Udp, Rtype::A),
        &answered(Rcode::NOERROR, "cache"),
    );
    dns.count(
        &asked(Transport::Tcp, Rtype::AAAA),
        &answered(Rcode::NXDOMAIN, "forward"),
    );
    dns.count(
        &asked(Transport::Udp, Rtype::HINFO),
        &answered(Rcode::NOERROR, "cache"),
    );
    let to = registry.proxy("10.0.2.3:53".parse().unwrap());
    to.requested();
    to.responded(Rcode::NOERROR, Duration::from_millis(3));
    to.connection(Transport::Tcp, false);
    let page = registry.render();
    let expected = [
        r#"coredns_dns_requests_total{family="1",proto="tcp",server="dns://:53",type="AAAA",view="",zone="cluster.local."} 1"#,
        r#"coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="cluster.local."} 1"#,
        r#"coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="other",view="",zone="cluster.local."} 1"#,
    ];
    assert_eq!(lines(&page, "coredns_dns_requests_total"), expected);
    for line in [
        r#"coredns_dns_responses_total{plugin="cache",rcode="NOERROR",server="dns://:53",view="",zone="cluster.local."} 2"#,
        r#"coredns_dns_responses_total{plugin="forward",rcode="NXDOMAIN",server="dns://:53",view="",zone="cluster.local."} 1"#,
        r#"coredns_dns_do_requests_total{server="dns://:53",view="",zone="cluster.local."} 1"#,
        r#"coredns_dns_request_duration_seconds_bucket{server="dns://:53",view="",zone="cluster.local.",le="0.00025"} 0"#,
        r#"coredns_dns_request_duration_seconds_bucket{server="dns://:53",view="",zone="cluster.local.",le="0.0005"} 3"#,
        r#"coredns_dns_request_duration_seconds_sum{server="dns://:53",view="",zone="cluster.local."} 0.0009"#,
        r#"coredns_dns_response_size_bytes_bucket{proto="udp",server="dns://:53",view="",zone="cluster.local.",le="100"} 2"#,
        r#"coredns_proxy_request_duration_seconds_count{proxy_name="forward",rcode="NOERROR",to="10.0.2.3:53"} 1"#,
        r#"coredns_proxy_conn_cache_misses_total{proto="tcp",proxy_name="forward",to="10.0.2.3:53"} 1"#,
        r#"coredns_forward_requests_total{to="10.0.2.3:53"} 1"#,
        r#"coredns_forward_responses_total{rcode="NOERROR",to="10.0.2.3:53"} 1"#,
        "coredns_forward_max_concurrent_rejects_total 0",
        "coredns_panics_total 0",
        r#"coredns_build_info{goversion="",revision="",version="labctl-0.1.0"} 1"#,
    ] {
        assert!(page.lines().any(|it| it == line), "{line}\n{page}");
    }
    assert!(page.contains("\nprocess_resident_memory_bytes "), "{page}");
}

#[test]
fn node_cache_counts_its_errors_by_kind() {
    let registry = Registry::new("labctl-0.1.0");
    assert!(!registry.render().contains("nodecache"));
    registry.count_setup_errors();
    registry.setup_error(SetupError::IptablesLock);
    let expected = [
        r#"coredns_nodecache_setup_errors_total{errortype="configmap"} 0"#,
        r#"coredns_nodecache_setup_errors_total{errortype="interface_add"} 0"#,
        r#"coredns_nodecache_setup_errors_total{errortype="interface_check"} 0"#,
        r#"coredns_nodecache_setup_errors_total{errortype="iptables"} 0"#,
        r#"coredns_nodecache_setup_errors_total{errortype="iptables_lock"} 1"#,
    ];
    assert_eq!(lines(&registry.render(), "coredns_nodecache_"), expected);
}

/// The text format's grammar, and what `promtool check metrics` is strict about.
#[test]
fn page_is_well_formed() {
    let registry = Registry::new("labctl-\"0\\.1\n");
    let dns = registry.dns("dns://[::1]:53", ".");
    dns.count(
        &asked(Transport::Udp, Rtype::A),
        &answered(Rcode::SERVFAIL, ""),
    );
    registry
        .cache("dns://:53", "a.,b.")
        .own()
        .requests
        .fetch_add(1_234_567, Relaxed);
    registry
        .proxy("[::1]:53".parse().unwrap())
        .responded(Rcode::REFUSED, Duration::from_secs(9));
    registry.enable([("dns://:53".to_owned(), ".".to_owned(), "cache")]);
    registry.running("3de9c6");
    registry.hosts_entries(7);
    registry.health_request(Duration::from_micros(90), false);
    let sample = regex::Regex::new(
        r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? ([0-9.]+(?:e[+-][0-9]{2})?)$"#,
    )
    .unwrap();
    let mut family = ("", "");
    let mut helped = "";
    let mut seen = HashMap::new();
    let page = registry.render();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap().0;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let next = kind.split_once(' ').unwrap();
            assert!(next.0 > family.0 && next.0 == helped, "{line}");
            assert_eq!(next.0.ends_with("_total"), next.1 == "counter", "{line}");
            family = next;
        } else {
            let parts = sample.captures(line).unwrap_or_else(|| panic!("{line}"));
            let suffix = parts[1]
                .strip_prefix(family.0)
                .unwrap_or_else(|| panic!("{line}"));
            let histogram = ["_bucket", "_sum", "_count"].contains(&suffix);
            assert_eq!(histogram, family.1 == "histogram", "{line}");
            assert!(
                seen.insert(line.rsplit_once(' ').unwrap().0, ()).is_none(),
                "twice: {line}"
            );
        }
    }
    assert!(seen.len() > 60, "{page}");
}
