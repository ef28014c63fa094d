//! Corefiles that are stock, those that are wrong, and words in any order.

mod faults;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{
    CacheBounds, Consolidate, Errors, Fallthrough, Level, LogClasses, PodMode, Policy,
};

/// What kubeadm installs.
const COREDNS: &str = include_str!("testdata/coredns.Corefile");
/// What nodelocaldns.yaml of Kubernetes installs.
const NODELOCALDNS: &str = include_str!("testdata/nodelocaldns.Corefile");

fn pillars() -> Pillars {
    Pillars {
        cluster_dns: Some(vec![IpAddr::from([10, 96, 31, 170])]),
        upstream_servers: vec!["10.0.2.3".to_owned()],
        local_dns: vec![
            IpAddr::from([169, 254, 20, 10]),
            IpAddr::from([10, 96, 0, 10]),
        ],
    }
}

fn read(text: &str) -> Result<Config, CorefileError> {
    let environment = |name: &str| (name == "ZONE").then(|| "cluster.local".to_owned());
    parse_in(Path::new("Corefile"), text, &pillars(), &environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn key(zone: &str, port: u16) -> ServerKey {
    ServerKey {
        zone: zone.to_owned(),
        port,
    }
}

fn any(port: u16) -> SocketAddr {
    format!("[::]:{port}").parse().unwrap()
}

#[test]
fn coredns_of_kubeadm() {
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 10.0.2.3\n").unwrap();
    let text = COREDNS.replace("/etc/resolv.conf", resolv_conf.to_str().unwrap());
    let config = good(&text);
    let [block] = config.blocks.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(block.keys, [key(".", 53)]);
    assert!(
        block.errors.is_some() && block.detect_loop && block.loadbalance && block.log.is_none()
    );
    let health = block.health.unwrap();
    assert_eq!(
        (health.address, health.lameduck),
        (any(8080), Duration::from_secs(5))
    );
    assert_eq!(
        (block.ready, block.prometheus),
        (Some(any(8181)), Some(any(9153)))
    );
    let kubernetes = block.kubernetes.as_ref().unwrap();
    assert_eq!(
        kubernetes.zones,
        ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]
    );
    assert_eq!((kubernetes.pods, kubernetes.ttl), (PodMode::Insecure, 30));
    let reverse = ["in-addr.arpa.", "ip6.arpa."].map(str::to_owned);
    assert_eq!(kubernetes.fallthrough, Fallthrough::Zones(reverse.to_vec()));
    let [forward] = block.forwards.as_slice() else {
        panic!("{block:?}")
    };
    assert_eq!(forward.to, ["10.0.2.3:53".parse().unwrap()]);
    assert_eq!(
        (forward.max_concurrent, forward.policy),
        (1000, Policy::Random)
    );
    let cache = block.cache.as_ref().unwrap();
    assert_eq!((cache.success.max_ttl, cache.denial.max_ttl), (30, 30));
    assert_eq!(cache.disable_success, ["cluster.local."]);
    assert_eq!(cache.disable_denial, ["cluster.local."]);
    let reload = block.reload.unwrap();
    assert_eq!(
        (reload.interval.as_secs(), reload.jitter.as_secs()),
        (30, 15)
    );
}

#[test]
fn nodelocaldns_with_its_placeholders() {
    let config = good(NODELOCALDNS);
    let zones: Vec<_> = config
        .blocks
        .iter()
        .map(|block| block.keys[0].zone.as_str())
        .collect();
    assert_eq!(zones, ["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "."]);
    let cluster = &config.blocks[0];
    assert_eq!(cluster.bind, pillars().local_dns);
    assert_eq!(
        cluster.health.unwrap().address,
        "169.254.20.10:8080".parse().unwrap()
    );
    assert_eq!(cluster.forwards[0].to, ["10.96.31.170:53".parse().unwrap()]);
    assert!(cluster.forwards[0].force_tcp);
    let cache = cluster.cache.as_ref().unwrap();
    let bounds = |max_ttl| CacheBounds {
        capacity: 9984,
        max_ttl,
        min_ttl: 5,
    };
    assert_eq!((cache.success, cache.denial), (bounds(30), bounds(5)));
    let outside = &config.blocks[3];
    assert_eq!(outside.forwards[0].to, ["10.0.2.3:53".parse().unwrap()]);
    assert!(!outside.forwards[0].force_tcp);
}

#[test]
fn servers_of_ones_own_are_asked_by_udp() {
    let config = good(". {\n forward . __PILLAR__UPSTREAM__SERVERS__ {\n force_tcp\n }\n}");
    assert!(!config.blocks[0].forwards[0].force_tcp);
    // Those of the node's resolv.conf are not.
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 2001:db8::1\n").unwrap();
    let text = NODELOCALDNS.replace(
        "__PILLAR__UPSTREAM__SERVERS__",
        resolv_conf.to_str().unwrap(),
    );
    let text = text.replace("/resolv.conf\n", "/resolv.conf {\n force_tcp\n }\n");
    let ipv6 = Pillars {
        cluster_dns: Some(vec!["2001:db8::53".parse().unwrap()]),
        upstream_servers: vec!["[2001:db8::2]:10053".to_owned()],
        local_dns: vec!["fe80:169:254::1".parse().unwrap()],
    };
    let config = parse(Path::new("Corefile"), &text, &ipv6).unwrap();
    assert_eq!(config.blocks[0].bind, ipv6.local_dns);
    assert_eq!(
        config.blocks[0].forwards[0].to,
        ["[2001:db8::53]:53".parse().unwrap()]
    );
    let outside = &config.blocks[3].forwards[0];
    assert_eq!(outside.to, ["[2001:db8::1]:53".parse().unwrap()]);
    assert!(outside.force_tcp);
}

#[test]
fn digest_is_that_of_the_filled_text() {
    let text = ". {\n errors\n}\n";
    let config = good(text);
    // `sha512sum` of it.
    assert!(
        config.digest.starts_with("3de9c6c4b5f3"),
        "{}",
        config.digest
    );
    assert_eq!(config.digest.len(), 128);
    assert_ne!(good(". {\n log\n}\n").digest, config.digest);
}

#[test]
fn caddys_syntax() {
    let config = good(
        "\u{feff}# comment\n(mine) {\n\terrors # another\n\tlog . \"{common}\" {\n class denial\n class error\n}\n}\n\
         a.example:1053, dns://B.example,\n b.example:54 10.96.0.0/15 {\n import mine\n \
         cache 10 {\n prefetch 2 1m 20%\n serve_stale 1h verify\n servfail 0\n keepttl\n }\n}\n\
         {$ZONE}:53 {\r\n reload off\r\n hosts \"/a b\" {\n 10.0.0.1 One two.\n ttl 60\n fallthrough\n }\n}\n\
         {%NONE%}:99 {\n}\n",
    );
    let [first, second, third] = config.blocks.as_slice() else {
        panic!("{config:?}")
    };
    let zones: Vec<_> = first
        .keys
        .iter()
        .map(|key| (key.zone.as_str(), key.port))
        .collect();
    let expected = [
        ("a.example.", 1053),
        ("b.example.", 53),
        ("b.example.", 54),
        ("96.10.in-addr.arpa.", 53),
        ("97.10.in-addr.arpa.", 53),
    ];
    assert_eq!(zones, expected);
    assert_eq!(first.errors, Some(Errors::default()));
    let classes = LogClasses {
        success: false,
        denial: true,
        error: true,
    };
    assert_eq!(first.log, Some(classes));
    let cache = first.cache.as_ref().unwrap();
    assert_eq!(cache.prefetch.unwrap().percentage, 20);
    assert!(cache.serve_stale.unwrap().verify && cache.keepttl && cache.servfail.is_zero());
    assert_eq!(second.keys, [key("cluster.local.", 53)]);
    let hosts = second.hosts.as_ref().unwrap();
    assert_eq!(hosts.file, Path::new("/a b"));
    assert_eq!(hosts.inline.len(), 2);
    assert_eq!(hosts.inline[1].1, "two.");
    assert_eq!(third.keys, [key(".", 99)]);
}

#[test]
fn errors_are_consolidated_by_expressions() {
    let text = ". {\n errors {\n consolidate 5m \".* i/o timeout$\" warning\n \
                consolidate 30s \"^Failed to .+\"\n }\n}\n";
    let consolidate = |seconds, pattern: &str, level| Consolidate {
        period: Duration::from_secs(seconds),
        pattern: pattern.to_owned(),
        level,
    };
    let expected = Errors {
        consolidate: vec![
            consolidate(300, ".* i/o timeout$", Level::Warning),
            consolidate(30, "^Failed to .+", Level::Error),
        ],
    };
    assert_eq!(good(text).blocks[0].errors, Some(expected));
}

#[test]
fn one_zone_at_two_addresses() {
    let config = good(". {\n bind 10.0.0.1\n}\n. {\n bind 10.0.0.2\n}\n");
    assert_eq!(config.blocks.len(), 2);
    let error = read(". {\n bind 10.0.0.1 10.0.0.2\n}\n. {\n bind 10.0.0.2\n}\n");
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("Corefile:4: .:53 is served already"),
        "{error}"
    );
}

#[test]
fn one_server_needs_no_braces() {
    let config = good(".:54\nerrors\nforward . 10.0.0.1\n");
    assert_eq!(config.blocks[0].keys, [key(".", 54)]);
    assert_eq!(config.blocks[0].forwards.len(), 1);
}

#[test]
fn files_are_imported_relative_to_the_one_that_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("a.conf", "errors\n");
    write("b.conf", "log\nimport c.inc\n");
    write("c.inc", "loop\nnonsense\n");
    let corefile = directory.path().join("Corefile");
    let text = ". {\n  import *.conf\n}\n";
    let error = parse(&corefile, text, &pillars()).unwrap_err().to_string();
    let place = directory.path().join("c.inc");
    assert!(
        error.starts_with(&format!("{}:2: unknown plugin `nonsense`", place.display())),
        "{error}"
    );
    write("c.inc", "loop\n");
    let config = parse(&corefile, text, &pillars()).unwrap();
    assert!(
        config.blocks[0].errors.is_some()
            && config.blocks[0].log.is_some()
            && config.blocks[0].detect_loop
    );
    write("c.inc", "loop\n# other\n");
    assert_ne!(
        parse(&corefile, text, &pillars()).unwrap().digest,
        config.digest
    );
}

#[test]
fn placeholders_that_nobody_fills_refuse_to_start() {
    let parsed = parse(Path::new("Corefile"), NODELOCALDNS, &Pillars::default());
    let error = parsed.unwrap_err().to_string();
    assert!(
        error.contains("`__PILLAR__CLUSTER__DNS__` isn't filled; give the address"),
        "{error}"
    );
    assert!(
        error.contains("`__PILLAR__LOCAL__DNS__` isn't filled"),
        "{error}"
    );
}

fn word() -> impl Strategy<Value = String> {
    let known: Vec<String> = COREDNS
        .split_whitespace()
        .chain(NODELOCALDNS.split_whitespace())
        .chain([
            "\n", "\n", "\n", "{", "}", "{\n", "\n}\n", "import", "\nimport", "(a)", "a", "\"", "#",
        ])
        .chain([
            "{$ZONE}",
            "{%",
            "10.0.0.0/13",
            "20%",
            "-1",
            "\\\"",
            ",",
            "a,",
            "hosts",
            "template",
        ])
        .map(str::to_owned)
        .collect();
    prop_oneof![6 => proptest::sample::select(known), 1 => "\\PC{0,6}"]
}

proptest! {
    /// Whatever the words: a configuration, or faults, of which there is at least one.
    #[test]
    fn any_words_are_read_or_refused(words in proptest::collection::vec(word(), 0..60)) {
        match read(&words.join(" ")) {
            Ok(config) => prop_assert!(!config.blocks.is_empty()),
            Err(CorefileError::Faults(faults)) => prop_assert!(!faults.is_empty()),
            Err(CorefileError::Read { .. }) => prop_assert!(false, "nothing was to be read"),
        }
    }
}
