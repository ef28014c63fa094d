//! Rules word for word, and what is written to get to them.

use lab_model::node_state::{
    Backend, DatapathSettings, Masquerade, NODE_STATE_VERSION, NodeIdentity, NodeState, Peer,
    PodDns, Protocol, Routing, Service, ServiceHandling, ServicePort, ServiceType, TrafficPolicy,
    TunnelProtocol,
};

use super::ruleset::{Ruleset, Saved, Table, restore_input};
use super::wanted;
use crate::agent::NodeView;
use crate::netlink::{Link, Route};

/// `k8s-ctr` of the study lab, with `k8s-w1` as its peer.
fn node(datapath: DatapathSettings, services: Vec<Service>) -> NodeState {
    NodeState {
        version: NODE_STATE_VERSION,
        lab: "study".to_owned(),
        node: NodeIdentity {
            name: "k8s-ctr".to_owned(),
            address: [192, 168, 10, 100].into(),
            pod_cidr: "10.244.0.0/24".parse().unwrap(),
            cilium_host: [10, 244, 0, 200].into(),
            control_plane: true,
        },
        peers: vec![Peer {
            name: "k8s-w1".to_owned(),
            address: [192, 168, 10, 101].into(),
            pod_cidr: "10.244.1.0/24".parse().unwrap(),
            cilium_host: [10, 244, 1, 200].into(),
        }],
        pods: Vec::new(),
        host_pods: Vec::new(),
        remote_pods: Vec::new(),
        identities: Vec::new(),
        services,
        redirects: Vec::new(),
        announcements: Vec::new(),
        dns: PodDns {
            nameserver: [10, 96, 0, 10].into(),
            search: Vec::new(),
            node_search: vec![],
            ndots: 5,
        },
        datapath,
    }
}

fn kube_proxy(services: Vec<Service>) -> Ruleset {
    let datapath = DatapathSettings {
        masquerade: Masquerade::Off,
        services: ServiceHandling::KubeProxy,
        ..DatapathSettings::default()
    };
    wanted(&node(datapath, services), &NodeView::default())
}

fn backend(node: &str, address: [u8; 4], port: u16) -> Backend {
    Backend {
        pod: format!("default/on-{node}"),
        node: node.to_owned(),
        address: address.into(),
        port,
    }
}

fn port(name: Option<&str>, protocol: Protocol, port: u16, backends: Vec<Backend>) -> ServicePort {
    ServicePort {
        name: name.map(str::to_owned),
        protocol,
        port,
        node_port: None,
        backends,
    }
}

fn service(namespace: &str, name: &str, ip: [u8; 4], ports: Vec<ServicePort>) -> Service {
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        external_name: None,
        service_type: ServiceType::default(),
        cluster_ip: Some(ip.into()),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        denies_source_ranges: false,
        external_ips: Vec::new(),
        ports,
        endpoints: vec![],
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        session_affinity: None,
    }
}

/// The study lab's `webpod`, with a pod here and one on `k8s-w1`.
fn webpod() -> Service {
    let backends = vec![
        backend("k8s-ctr", [10, 244, 0, 1], 80),
        backend("k8s-w1", [10, 244, 1, 96], 80),
    ];
    service(
        "default",
        "webpod",
        [10, 96, 152, 212],
        vec![port(None, Protocol::Tcp, 80, backends)],
    )
}

#[track_caller]
fn assert_rules(ruleset: &Ruleset, chain: &str, expected: &[&str]) {
    assert_eq!(ruleset.of(Table::Nat, chain), expected, "chain {chain}");
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

fn masquerading(masquerade: Masquerade, routing: Routing, view: &NodeView) -> Ruleset {
    let datapath = DatapathSettings {
        masquerade,
        routing,
        snat_exclusion: Some("10.244.0.0/16".parse().unwrap()),
        ..DatapathSettings::default()
    };
    wanted(&node(datapath, Vec::new()), view)
}

const NATIVE: Routing = Routing::Native {
    auto_direct_node_routes: true,
};

fn by_iptables(interfaces: &[&str], route_source: bool) -> Masquerade {
    Masquerade::Iptables {
        interfaces: interfaces.iter().map(|&it| it.to_owned()).collect(),
        route_source,
    }
}

#[test]
fn cilium_masquerades_in_its_order() {
    let rules = masquerading(by_iptables(&[], false), NATIVE, &NodeView::default());
    assert_rules(
        &rules,
        "CILIUM_POST_nat",
        &[
            "-s 10.244.0.0/24 -d 192.168.10.101/32 -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "-s 10.244.0.0/24 ! -d 10.244.0.0/16 ! -o cilium_+ -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
            "-m mark --mark 0xa00/0xe00 -m comment --comment \"exclude proxy return traffic from masquerade\" -j ACCEPT",
            "-s 127.0.0.1/32 -o cilium_host -m comment --comment \"cilium host->cluster from 127.0.0.1 masquerade\" -j SNAT --to-source 10.244.0.200",
            "-o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT -m comment --comment \"hairpin traffic that originated from a local pod\" -j SNAT --to-source 10.244.0.200",
        ],
    );
}

#[test]
fn egress_masquerade_interfaces_say_where_instead_of_who() {
    let rules = masquerading(
        by_iptables(&["eth0", "ens+"], false),
        NATIVE,
        &NodeView::default(),
    );
    assert_eq!(
        rules.of(Table::Nat, "CILIUM_POST_nat")[..4],
        [
            "-d 192.168.10.101/32 -o eth0 -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "-d 192.168.10.101/32 -o ens+ -m comment --comment \"exclude traffic to cluster nodes from masquerade\" -j ACCEPT",
            "! -d 10.244.0.0/16 -o eth0 -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
            "! -d 10.244.0.0/16 -o ens+ -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE",
        ]
    );
}

/// Case 4 in this mode: towards a node, a tunnel masquerades and native routing does
/// not (cases 3 and 4).
#[test]
fn under_a_tunnel_nodes_are_no_exception() {
    let tunnel = Routing::Tunnel {
        protocol: TunnelProtocol::Vxlan,
        port: 8472,
    };
    let rules = masquerading(by_iptables(&[], false), tunnel, &NodeView::default());
    let chain = rules.of(Table::Nat, "CILIUM_POST_nat");
    assert!(
        chain[0].contains("cilium masquerade non-cluster"),
        "{}",
        chain[0]
    );
    // Packets of pods keep their address in the tunnel.
    assert_eq!(
        chain[2],
        "! -s 10.244.0.0/24 ! -d 10.244.0.0/24 -o cilium_host -m comment --comment \"cilium \
         host->cluster masquerade\" -j SNAT --to-source 10.244.0.200"
    );
    // Unless kube-proxy has them come back through this node.
    assert!(
        chain[3].starts_with(
            "-s 10.244.0.0/24 ! -d 10.244.0.0/24 -o cilium_host -m mark --mark 0x4000/0x4000 "
        ),
        "{}",
        chain[3]
    );
}

#[test]
fn route_source_takes_the_most_specific_route_first_and_the_default_last() {
    let link = |index, name: &str| Link {
        index,
        name: name.to_owned(),
        ..Link::default()
    };
    let route = |to: &str, device, source: [u8; 4]| {
        let mut route = Route::link(to.parse().unwrap(), device);
        route.source = Some(source.into());
        route
    };
    let view = NodeView {
        links: vec![link(2, "eth0"), link(3, "eth1"), link(9, "lxc1")],
        addresses: Vec::new(),
        routes: vec![
            route("0.0.0.0/0", 2, [10, 0, 2, 15]),
            route("192.168.10.0/24", 3, [192, 168, 10, 100]),
            route("10.10.1.0/28", 3, [192, 168, 10, 99]),
            route("10.244.0.0/16", 3, [192, 168, 10, 100]),
            route("10.244.0.7/32", 9, [192, 168, 10, 100]),
            Route::link("172.16.0.0/12".parse().unwrap(), 3),
        ],
    };
    let rules = masquerading(by_iptables(&[], true), NATIVE, &view);
    let snat =
        "-m comment --comment \"cilium snat non-cluster via source route\" -j SNAT --to-source";
    assert_eq!(
        rules.of(Table::Nat, "CILIUM_POST_nat")[1..4],
        [
            format!("-s 10.244.0.0/24 -d 10.10.1.0/28 -o eth1 {snat} 192.168.10.99"),
            format!("-s 10.244.0.0/24 -d 192.168.10.0/24 -o eth1 {snat} 192.168.10.100"),
            format!("-s 10.244.0.0/24 ! -d 10.244.0.0/16 -o eth0 {snat} 10.0.2.15"),
        ]
    );
    let eth0 = masquerading(by_iptables(&["eth0"], true), NATIVE, &view);
    let on_eth1 = eth0.of(Table::Nat, "CILIUM_POST_nat");
    assert!(
        !on_eth1.iter().any(|rule| rule.contains("-o eth1")),
        "{on_eth1:?}"
    );
}

#[test]
fn ebpf_needs_no_rules() {
    let view = NodeView::default();
    assert!(masquerading(Masquerade::Ebpf, NATIVE, &view).is_empty());
    assert!(masquerading(Masquerade::Off, NATIVE, &view).is_empty());
    assert_eq!(restore_input(&Ruleset::default(), &Saved::default()), "");
}

const SAVED: &str = "\
# Generated by iptables-save v1.8.9 (nf_tables)
*filter
:INPUT ACCEPT [0:0]
:KUBE-FOO - [0:0]
-A INPUT -s 10.0.0.1/32 -j DROP
-A KUBE-FOO -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:CILIUM_POST_nat - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:MINE - [0:0]
-A POSTROUTING -m comment --comment \"cilium-feeder: CILIUM_POST_nat\" -j CILIUM_POST_nat
-A POSTROUTING -j MINE
-A CILIUM_POST_nat -j RETURN
-A KUBE-SVC-AAAAAAAAAAAAAAAA -m comment --comment \"a -j b\" -j RETURN
-A MINE -j MASQUERADE
COMMIT
";

#[test]
fn rules_of_others_stay_and_what_is_stale_goes() {
    let there = Saved::parse(SAVED);
    let mut wanted = Ruleset::default();
    wanted.jump(Table::Nat, "POSTROUTING", "-j CILIUM_POST_nat");
    wanted.rule(Table::Nat, "CILIUM_POST_nat", "-j ACCEPT");
    assert_eq!(
        restore_input(&wanted, &there),
        "\
*nat
:CILIUM_POST_nat - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
-D POSTROUTING -m comment --comment \"cilium-feeder: CILIUM_POST_nat\" -j CILIUM_POST_nat
-I POSTROUTING -j CILIUM_POST_nat
-A CILIUM_POST_nat -j ACCEPT
-X KUBE-SVC-AAAAAAAAAAAAAAAA
COMMIT
"
    );
    assert_eq!(
        restore_input(&Ruleset::default(), &there),
        "\
*nat
:CILIUM_POST_nat - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
-D POSTROUTING -m comment --comment \"cilium-feeder: CILIUM_POST_nat\" -j CILIUM_POST_nat
-X CILIUM_POST_nat
-X KUBE-SVC-AAAAAAAAAAAAAAAA
COMMIT
"
    );
}

#[test]
fn drift_is_named() {
    let applied = Saved::parse(SAVED);
    let differences = |from: &str, to: &str| {
        let changed = SAVED.replace(from, to);
        assert_ne!(changed, SAVED);
        applied.differences(&Saved::parse(&changed))
    };
    assert_eq!(applied.differences(&applied.clone()), [""; 0]);
    assert_eq!(
        differences("-A CILIUM_POST_nat -j RETURN\n", ""),
        ["iptables: chain CILIUM_POST_nat of table nat has other rules"]
    );
    assert_eq!(
        differences("-A POSTROUTING -m", "-A PREROUTING -m"),
        ["iptables: the jumps to the chains are others"]
    );
    assert_eq!(
        differences(":MINE", ":KUBE-MARK-MASQ - [0:0]\n:MINE"),
        ["iptables: chain KUBE-MARK-MASQ of table nat is left over"]
    );
    assert_eq!(differences("-A MINE -j MASQUERADE\n", ""), [""; 0]);
}

mod as_root {
    use super::*;
    use crate::iptables::{Iptables, remove};
    use crate::namespace;
    use std::process::Command;

    fn iptables_save() -> String {
        let output = Command::new("iptables-save")
            .output()
            .expect("iptables-save runs");
        let text = String::from_utf8_lossy(&output.stdout);
        // Times and counters aside.
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| format!("{}\n", line.split(" [").next().unwrap_or_default()))
            .collect()
    }

    fn run(program: &str, arguments: &[&str]) {
        let status = Command::new(program)
            .args(arguments)
            .status()
            .expect("it runs");
        assert!(status.success(), "{program} {arguments:?}");
    }

    /// Our own words are those of iptables-save, rule by rule, as in the notes; a
    /// stranger's rules survive it all.
    #[test]
    fn rules_come_stay_and_go_beside_those_of_others() {
        let netns = namespace::create_unnamed().expect("create as root");
        namespace::in_netns(&netns, || {
            run("iptables", &["-t", "nat", "-N", "MINE"]);
            run(
                "iptables",
                &["-t", "nat", "-A", "POSTROUTING", "-j", "MINE"],
            );
            let before = iptables_save();
            let mut outside = webpod();
            outside.ports[0].node_port = Some(30080);
            outside.session_affinity = Some(10_800);
            let datapath = DatapathSettings {
                masquerade: by_iptables(&[], false),
                services: ServiceHandling::KubeProxy,
                ..DatapathSettings::default()
            };
            let state = node(datapath, vec![outside]);
            let rules = wanted(&state, &NodeView::default());
            let mut iptables = Iptables::default();
            iptables.apply(rules.clone()).expect("apply");
            let saved = iptables_save();
            for chain in [
                "CILIUM_POST_nat",
                "KUBE-SVC-CNZCPOCNCNOROALA",
                "KUBE-SERVICES",
                "KUBE-EXT-CNZCPOCNCNOROALA",
            ] {
                for rule in rules.of(Table::Nat, chain) {
                    assert!(
                        saved.contains(&format!("-A {chain} {rule}\n")),
                        "{rule}\nin\n{saved}"
                    );
                }
            }
            assert!(saved.contains("-A POSTROUTING -j MINE\n"), "{saved}");
            assert_eq!(iptables.differences().expect("read"), [""; 0]);

            // Another agent takes over; then somebody deletes a rule.
            let mut next = Iptables::default();
            next.apply(rules.clone()).expect("apply again");
            assert_eq!(iptables_save(), saved);
            run("iptables", &["-t", "nat", "-F", "KUBE-MARK-MASQ"]);
            assert_eq!(
                next.differences().expect("read"),
                ["iptables: chain KUBE-MARK-MASQ of table nat has other rules"]
            );
            next.apply(rules).expect("mend");
            assert_eq!(iptables_save(), saved);

            // The pods go, then the services too.
            let mut empty = state.clone();
            empty.services[0].ports[0].backends.clear();
            next.apply(wanted(&empty, &NodeView::default()))
                .expect("no backends");
            let saved = iptables_save();
            assert!(saved.contains("has no endpoints"), "{saved}");
            assert!(!saved.contains("KUBE-SVC-"), "{saved}");
            empty.services.clear();
            next.apply(wanted(&empty, &NodeView::default()))
                .expect("no services");

            remove().expect("remove");
            // The tables that came with the rules stay, empty.
            let after = iptables_save();
            assert!(
                !after.contains("KUBE") && !after.contains("CILIUM"),
                "{after}"
            );
            let nat = |text: &str| text.split("*nat").nth(1).map(str::to_owned);
            assert_eq!(nat(&after), nat(&before));
        })
        .expect("enter");
    }
}
