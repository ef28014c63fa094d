//! kube-proxy's rules, word for word.

use lab_model::node_state::{
    DatapathSettings, Masquerade, Protocol, Service, ServiceHandling, TrafficPolicy,
};

use super::super::ruleset::{Ruleset, Table};
use super::super::wanted;
use super::{assert_rules, backend, node, port, service, webpod};
use crate::agent::NodeView;

fn kube_proxy(services: Vec<Service>) -> Ruleset {
    let datapath = DatapathSettings {
        masquerade: Masquerade::Off,
        services: ServiceHandling::KubeProxy,
        ..DatapathSettings::default()
    };
    wanted(&node(datapath, services), &NodeView::default())
}

/// The lines of the study's notes, where the chains' names come of names alone.
#[test]
fn the_notes_kube_dns_upstream() {
    let upstream = || vec![backend("k8s-ctr", [172, 20, 1, 144], 53)];
    let ports = vec![
        port(Some("dns"), Protocol::Udp, 53, upstream()),
        port(Some("dns-tcp"), Protocol::Tcp, 53, upstream()),
    ];
    let rules = kube_proxy(vec![service(
        "kube-system",
        "kube-dns-upstream",
        [10, 96, 31, 170],
        ports,
    )]);
    assert_rules(
        &rules,
        "KUBE-SEP-6O2WVHQLDKFLZQRS",
        &[
            "-s 172.20.1.144/32 -m comment --comment \"kube-system/kube-dns-upstream:dns\" -j KUBE-MARK-MASQ",
            "-p udp -m comment --comment \"kube-system/kube-dns-upstream:dns\" -m udp -j DNAT --to-destination 172.20.1.144:53",
        ],
    );
    assert_rules(
        &rules,
        "KUBE-SEP-IG5OB37KH2LEQCBN",
        &[
            "-s 172.20.1.144/32 -m comment --comment \"kube-system/kube-dns-upstream:dns-tcp\" -j KUBE-MARK-MASQ",
            "-p tcp -m comment --comment \"kube-system/kube-dns-upstream:dns-tcp\" -m tcp -j DNAT --to-destination 172.20.1.144:53",
        ],
    );
    assert_rules(
        &rules,
        "KUBE-SVC-BRK3P4PPQWCLKOAN",
        &[
            "! -s 10.244.0.0/16 -d 10.96.31.170/32 -p tcp -m comment --comment \"kube-system/kube-dns-upstream:dns-tcp cluster IP\" -m tcp --dport 53 -j KUBE-MARK-MASQ",
            "-m comment --comment \"kube-system/kube-dns-upstream:dns-tcp -> 172.20.1.144:53\" -j KUBE-SEP-IG5OB37KH2LEQCBN",
        ],
    );
    assert_rules(
        &rules,
        "KUBE-SVC-FXR4M2CWOGAZGGYD",
        &[
            "! -s 10.244.0.0/16 -d 10.96.31.170/32 -p udp -m comment --comment \"kube-system/kube-dns-upstream:dns cluster IP\" -m udp --dport 53 -j KUBE-MARK-MASQ",
            "-m comment --comment \"kube-system/kube-dns-upstream:dns -> 172.20.1.144:53\" -j KUBE-SEP-6O2WVHQLDKFLZQRS",
        ],
    );
}

#[test]
fn the_notes_webpod_and_hubble_ui() {
    let mut hubble = port(
        Some("http"),
        Protocol::Tcp,
        80,
        vec![backend("k8s-ctr", [10, 244, 0, 80], 8081)],
    );
    hubble.node_port = Some(30003);
    let hubble = service("kube-system", "hubble-ui", [10, 96, 206, 199], vec![hubble]);
    let rules = kube_proxy(vec![webpod(), hubble]);
    assert_rules(
        &rules,
        "KUBE-SERVICES",
        &[
            "-d 10.96.152.212/32 -p tcp -m comment --comment \"default/webpod cluster IP\" -m tcp --dport 80 -j KUBE-SVC-CNZCPOCNCNOROALA",
            "-d 10.96.206.199/32 -p tcp -m comment --comment \"kube-system/hubble-ui:http cluster IP\" -m tcp --dport 80 -j KUBE-SVC-ZGWW2L4XLRSDZ3EF",
            "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        ],
    );
    assert_rules(
        &rules,
        "KUBE-NODEPORTS",
        &[
            "-p tcp -m comment --comment \"kube-system/hubble-ui:http\" -m tcp --dport 30003 -j KUBE-EXT-ZGWW2L4XLRSDZ3EF",
        ],
    );
    let balance = rules.of(Table::Nat, "KUBE-SVC-CNZCPOCNCNOROALA");
    assert_eq!(balance.len(), 3);
    assert!(
        balance[1].starts_with(
            "-m comment --comment \"default/webpod -> 10.244.0.1:80\" -m statistic --mode random \
             --probability 0.50000000000 -j KUBE-SEP-"
        ),
        "{}",
        balance[1]
    );
    assert!(
        balance[2]
            .starts_with("-m comment --comment \"default/webpod -> 10.244.1.96:80\" -j KUBE-SEP-"),
        "{}",
        balance[2]
    );
}

#[test]
fn one_of_three_is_as_iptables_save_writes_it() {
    let mut three = webpod();
    let third = backend("k8s-w2", [10, 244, 2, 7], 80);
    three.ports[0].backends.push(third);
    let rules = kube_proxy(vec![three]);
    let balance = rules.of(Table::Nat, "KUBE-SVC-CNZCPOCNCNOROALA");
    assert!(
        balance[1].contains("--probability 0.33333333349 "),
        "{}",
        balance[1]
    );
    assert!(
        balance[2].contains("--probability 0.50000000000 "),
        "{}",
        balance[2]
    );
}

/// Case 32 in this mode: kube-proxy refuses where the socket would fail.
#[test]
fn a_service_without_backends_is_refused() {
    let mut empty = webpod();
    empty.ports[0].backends.clear();
    empty.ports[0].node_port = Some(30080);
    let rules = kube_proxy(vec![empty]);
    assert_eq!(
        rules.of(Table::Filter, "KUBE-SERVICES"),
        [
            "-d 10.96.152.212/32 -p tcp -m comment --comment \"default/webpod has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"
        ]
    );
    assert_eq!(
        rules.of(Table::Filter, "KUBE-EXTERNAL-SERVICES"),
        [
            "-p tcp -m comment --comment \"default/webpod has no endpoints\" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT --reject-with icmp-port-unreachable"
        ]
    );
    assert_rules(&rules, "KUBE-SVC-CNZCPOCNCNOROALA", &[]);
    assert_rules(&rules, "KUBE-NODEPORTS", &[]);
}

/// `iptables-restore` refuses a rule that leads to a chain that is not there.
#[test]
fn every_chain_that_a_rule_leads_to_is_there() {
    let mut services = vec![webpod()];
    for (port, external, internal) in [
        (None, TrafficPolicy::Cluster, TrafficPolicy::Local),
        (Some(30080), TrafficPolicy::Local, TrafficPolicy::Cluster),
        (Some(30081), TrafficPolicy::Local, TrafficPolicy::Local),
        (Some(30082), TrafficPolicy::Cluster, TrafficPolicy::Local),
    ] {
        for backends in 0..3 {
            let mut service = webpod();
            service.name = format!("web-{}", services.len());
            service.external_traffic_policy = external;
            service.internal_traffic_policy = internal;
            service.ports[0].node_port = port;
            // The first is of this node, the second of another.
            service.ports[0].backends.truncate(backends);
            services.push(service.clone());
            service.name = format!("far-{}", services.len());
            service.ports[0].backends.retain(|it| it.node != "k8s-ctr");
            services.push(service);
        }
    }
    assert_eq!(kube_proxy(services.clone()).dangling(), [""; 0]);
    for service in services {
        let name = service.name.clone();
        assert_eq!(
            kube_proxy(vec![service]).dangling(),
            [""; 0],
            "{name} alone"
        );
    }
    assert_eq!(kube_proxy(Vec::new()).dangling(), [""; 0]);
}

#[test]
fn traffic_from_outside_keeps_its_address_only_with_the_policy_local() {
    let mut outside = webpod();
    outside.ports[0].node_port = Some(30080);
    outside.load_balancer_ips = vec![[192, 168, 10, 249].into()];
    let ext = "KUBE-EXT-CNZCPOCNCNOROALA";
    let cluster = kube_proxy(vec![outside.clone()]);
    assert_rules(
        &cluster,
        ext,
        &[
            "-m comment --comment \"masquerade traffic for default/webpod external destinations\" -j KUBE-MARK-MASQ",
            "-j KUBE-SVC-CNZCPOCNCNOROALA",
        ],
    );
    let services = cluster.of(Table::Nat, "KUBE-SERVICES");
    assert_eq!(
        services[1],
        "-d 192.168.10.249/32 -p tcp -m comment --comment \"default/webpod loadbalancer IP\" -m tcp --dport 80 -j KUBE-EXT-CNZCPOCNCNOROALA"
    );
    outside.external_traffic_policy = TrafficPolicy::Local;
    let local = kube_proxy(vec![outside]);
    assert_rules(
        &local,
        ext,
        &[
            "-s 10.244.0.0/24 -m comment --comment \"pod traffic for default/webpod external destinations\" -j KUBE-SVC-CNZCPOCNCNOROALA",
            "-m comment --comment \"masquerade LOCAL traffic for default/webpod external destinations\" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
            "-m comment --comment \"route LOCAL traffic for default/webpod external destinations\" -m addrtype --src-type LOCAL -j KUBE-SVC-CNZCPOCNCNOROALA",
            "-j KUBE-SVL-CNZCPOCNCNOROALA",
        ],
    );
    let here = local.of(Table::Nat, "KUBE-SVL-CNZCPOCNCNOROALA");
    assert_eq!(here.len(), 1);
    assert!(here[0].contains("-> 10.244.0.1:80"), "{}", here[0]);
}

#[test]
fn without_local_backends_the_policy_local_drops() {
    let mut remote = webpod();
    remote.ports[0].backends.remove(0);
    remote.ports[0].node_port = Some(30080);
    remote.external_traffic_policy = TrafficPolicy::Local;
    remote.internal_traffic_policy = TrafficPolicy::Local;
    let rules = kube_proxy(vec![remote]);
    for chain in ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"] {
        let [rule] = rules.of(Table::Filter, chain) else {
            panic!("one rule in {chain}")
        };
        assert!(
            rule.contains("default/webpod has no local endpoints"),
            "{rule}"
        );
        assert!(rule.ends_with("-j DROP"), "{rule}");
    }
}

/// As `syncProxyRules` writes them.
#[test]
fn source_ranges_are_a_firewall_of_their_own() {
    let mut service = webpod();
    service.load_balancer_ips = vec![[192, 168, 10, 241].into()];
    service.external_ips = vec![[203, 0, 113, 80].into()];
    service.source_ranges = ["10.0.0.0/8", "192.168.10.0/24"]
        .map(|it| it.parse().expect("a range"))
        .into();
    let rules = kube_proxy(vec![service.clone()]);
    let external = "KUBE-EXT-CNZCPOCNCNOROALA";
    let firewall = "KUBE-FW-CNZCPOCNCNOROALA";
    let to = |ip: &str, kind: &str, chain: &str| {
        format!(
            "-d {ip}/32 -p tcp -m comment --comment \"default/webpod{kind}\" -m tcp --dport 80 -j {chain}"
        )
    };
    let services = rules.of(Table::Nat, "KUBE-SERVICES");
    assert!(
        services.contains(&to("192.168.10.241", " loadbalancer IP", firewall)),
        "{services:?}"
    );
    assert!(
        services.contains(&to("203.0.113.80", " external IP", external)),
        "{services:?}"
    );
    let comment = "-m comment --comment \"default/webpod loadbalancer IP\"";
    let allowed = ["10.0.0.0/8", "192.168.10.0/24", "192.168.10.241/32"];
    let mut expected: Vec<String> = allowed
        .iter()
        .map(|from| format!("-s {from} {comment} -j {external}"))
        .collect();
    expected.push(
        "-m comment --comment \"other traffic to default/webpod will be dropped by \
         KUBE-PROXY-FIREWALL\""
            .to_owned(),
    );
    assert_eq!(rules.of(Table::Nat, firewall), expected);
    let drop = to(
        "192.168.10.241",
        &format!(" traffic not accepted by {firewall}"),
        "DROP",
    );
    assert_eq!(rules.of(Table::Filter, "KUBE-PROXY-FIREWALL"), [drop]);
    assert_eq!(rules.dangling(), Vec::<String>::new());
    service.source_ranges = vec!["0.0.0.0/0".parse().expect("a range")];
    let rules = kube_proxy(vec![service]);
    assert_eq!(
        rules.of(Table::Nat, firewall)[0],
        format!("{comment} -j {external}")
    );
}

#[test]
fn affinity_remembers_the_client_at_the_backend() {
    let mut sticky = webpod();
    sticky.session_affinity = Some(10_800);
    let rules = kube_proxy(vec![sticky]);
    let balance = rules.of(Table::Nat, "KUBE-SVC-CNZCPOCNCNOROALA");
    assert_eq!(balance.len(), 5);
    let endpoint = balance[1].rsplit(' ').next().unwrap();
    assert_eq!(
        balance[1],
        format!(
            "-m comment --comment \"default/webpod -> 10.244.0.1:80\" -m recent --rcheck --seconds \
             10800 --reap --name {endpoint} --mask 255.255.255.255 --rsource -j {endpoint}"
        )
    );
    let endpoint_rules = rules.of(Table::Nat, endpoint);
    assert!(
        endpoint_rules[1].contains(&format!("-m recent --set --name {endpoint} --mask")),
        "{}",
        endpoint_rules[1]
    );
}
