//! Corefiles that are stock, those that are wrong, and words in any order.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{CacheBounds, Fallthrough, LogClasses, PodMode, Policy};

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
    assert!(block.errors && block.detect_loop && block.loadbalance && block.log.is_none());
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
    assert!(first.errors);
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
        config.blocks[0].errors && config.blocks[0].log.is_some() && config.blocks[0].detect_loop
    );
    write("c.inc", "loop\n# other\n");
    assert_ne!(
        parse(&corefile, text, &pillars()).unwrap().digest,
        config.digest
    );
}

/// What is wrong, and how its message starts.
const FAULTS: [(&str, &str); 47] = [
    (
        ". {\n errors\n rewrite a b\n}",
        "Corefile:3: unknown plugin `rewrite`; labctl has bind, bufsize, cache",
    ),
    (
        ". {\n cache {\n  sucess 1\n }\n}",
        "Corefile:3: unknown option `sucess` of `cache`; labctl has success",
    ),
    (". {\n cache 0\n}", "Corefile:2: `0` is no number from 1 to"),
    (". {\n cache -5\n}", "Corefile:2: `-5` is no number"),
    (
        ". {\n cache {\n success 1 2 3\n}\n}",
        "Corefile:3: the least TTL, 3, is above the largest, 2",
    ),
    (
        ". {\n cache {\n prefetch 1 1m 20\n}\n}",
        "Corefile:3: `20` is no percentage; write it with its sign",
    ),
    (
        ". {\n cache {\n prefetch 1 1m 95%\n}\n}",
        "Corefile:3: `95` is no number from 10 to 90",
    ),
    (
        ". {\n cache {\n servfail 6m\n}\n}",
        "Corefile:3: `6m` isn't from 0ns to 300s",
    ),
    (
        ". {\n cache {\n servfail 5\n}\n}",
        "Corefile:3: `5` is no duration; write a number and its unit",
    ),
    (
        ". {\n cache {\n serve_stale 1h later\n}\n}",
        "Corefile:3: `later` is no way of refreshing",
    ),
    (
        ". {\n cache {\n disable some\n}\n}",
        "Corefile:3: there is no cache `some`",
    ),
    (
        ". {\n errors\n\n errors\n}",
        "Corefile:4: `errors` is there already; a server block has one; put it together with line 2",
    ),
    (
        ". {\n errors x\n}",
        "Corefile:2: `x` is one word too many for `errors`",
    ),
    (
        ". {\n errors {\n consolidate 5m .*\n}\n}",
        "Corefile:3: labctl doesn't have `consolidate` of `errors`",
    ),
    (
        ". {\n forward .\n}",
        "Corefile:2: `forward` needs 2 argument(s), and has 1",
    ),
    (
        ". {\n forward . tls://9.9.9.9\n}",
        "Corefile:2: labctl doesn't forward by `tls://`",
    ),
    (
        ". {\n forward . /does/not/exist\n}",
        "Corefile:2: `/does/not/exist` is neither an IP address nor a file",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n tls\n}\n}",
        "Corefile:3: labctl doesn't have `tls` of `forward`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n policy best\n}\n}",
        "Corefile:3: unknown policy `best`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n health_check 1s fast\n}\n}",
        "Corefile:3: unknown word `fast` of `health_check`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n max_fails two\n}\n}",
        "Corefile:3: `two` is no number from 0 to",
    ),
    (
        ". {\n forward 10.0.0.0/9 10.0.0.1\n}",
        "Corefile:2: `10.0.0.0/9` is 128 zones",
    ),
    (
        ". {\n forward . __PILLAR__CLUSTER__DNSX__\n}",
        "Corefile:2: `__PILLAR__CLUSTER__DNSX__` isn't filled",
    ),
    (
        "__PILLAR__DNS__DOMAIN__:53 {\n}",
        "Corefile:1: `__PILLAR__DNS__DOMAIN__` isn't filled; put the value in its place",
    ),
    (". {\n bind eth0\n}", "Corefile:2: `eth0` is no IP address"),
    (
        ". {\n bufsize 100\n}",
        "Corefile:2: `100` is no number from 512 to 4096",
    ),
    (
        ". {\n health 8080\n}",
        "Corefile:2: `8080` is nothing to listen on; write ADDRESS:PORT",
    ),
    (
        ". {\n reload 1s\n}",
        "Corefile:2: `1s` is too short; 2s is the least",
    ),
    (
        ". {\n loop 1\n}",
        "Corefile:2: `1` is one word too many for `loop`",
    ),
    (
        ". {\n loadbalance weighted f\n}",
        "Corefile:2: labctl doesn't have the policy `weighted`",
    ),
    (
        ". {\n log example.org\n}",
        "Corefile:2: labctl doesn't log `example.org` alone",
    ),
    (
        ". {\n log . {\n class some\n}\n}",
        "Corefile:3: unknown class `some`",
    ),
    (
        ". {\n hosts {\n 10.0.0.256 a\n}\n}",
        "Corefile:3: unknown option `10.0.0.256` of `hosts`",
    ),
    (
        ". {\n template IN A {\n}\n}",
        "Corefile:2: the template says nothing",
    ),
    (
        ". {\n template IN NONE_SUCH {\n}\n}",
        "Corefile:2: unknown type `NONE_SUCH`",
    ),
    (
        ". {\n kubernetes in-addr.arpa\n}",
        "Corefile:2: `kubernetes` has reverse zones only",
    ),
    (
        ". {\n kubernetes c.local {\n pods some\n}\n}",
        "Corefile:3: unknown mode `some` of `pods`",
    ),
    (
        ". {\n kubernetes c.local {\n endpoint http://x\n}\n}",
        "Corefile:3: labctl doesn't have `endpoint` of `kubernetes`",
    ),
    (
        ".:53 {\n}\n. {\n}",
        "Corefile:3: .:53 is served already; the block at Corefile:1 has it",
    ),
    ("tls://. {\n}", "Corefile:1: labctl doesn't serve `tls://`"),
    (".:70000 {\n}", "Corefile:1: `70000` is no port"),
    ("a..b {\n}", "Corefile:1: `a..b` is no zone"),
    (". {\n errors\n", "Corefile:1: the server block doesn't end"),
    (
        ". {\n errors }\n}",
        "Corefile:2: `}` has to stand on a line of its own",
    ),
    (
        ". {\n import nothing_here\n}",
        "Corefile:2: cannot import nothing_here",
    ),
    (
        "(a) {\n import a\n}\n. {\n import a\n}",
        "Corefile:2: more than 1000 imports",
    ),
    (
        ". {\n log \"{common\n}",
        "Corefile:2: the quote doesn't end",
    ),
];

#[test]
fn faults_are_told_with_their_line_and_a_way_out() {
    for (text, expected) in FAULTS {
        let error = read(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let error = read(". {\n cache 0\n nope\n forward .\n}\n. {\n}").unwrap_err();
    let CorefileError::Faults(faults) = error else {
        panic!("{error}")
    };
    let lines: Vec<_> = faults.iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [2, 3, 4, 6]);
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
