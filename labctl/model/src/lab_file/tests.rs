use super::*;
use crate::lab::{NodeLocalVia, StaticRoute};
use crate::values::{Bpf, Values};

const STUDY: &str = include_str!("../../../../labs/study.yaml");

fn lab(text: &str) -> Result<Lab, Diagnostics> {
    parse("lab.yaml", text, Path::new("labs"))
}

/// Faults as `line:column message (help)`.
#[track_caller]
fn faults(text: &str) -> Vec<String> {
    let faults = lab(text).expect_err("the file has faults");
    let line = |fault: &Diagnostic| {
        let (line, column) = fault.line_column();
        let help = fault
            .help
            .as_ref()
            .map(|help| format!(" ({help})"))
            .unwrap_or_default();
        format!("{line}:{column} {}{help}", fault.message)
    };
    faults.iter().map(line).collect()
}

/// A lab of two nodes, with lines put behind it.
fn small(rest: &str) -> String {
    let nodes = "name: a\nnetwork: 192.168.10.0/24\nnodes:\n  c: {role: control-plane, address: 192.168.10.1}\n  r: {role: router, address: 192.168.10.2}\n";
    format!("{nodes}{rest}")
}

#[test]
fn the_study_lab_is_what_it_says() {
    let lab = lab(STUDY).unwrap();
    assert_eq!(lab.name, "study");
    assert_eq!(lab.network, "192.168.10.0/24".parse().unwrap());
    let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["k8s-ctr", "k8s-w1", "k8s-w2", "router", "internet"]);
    let router = lab.node("router").unwrap();
    assert_eq!(router.role, Role::Router);
    assert_eq!(router.address, Some(Ipv4Addr::new(192, 168, 10, 200)));
    assert_eq!(router.dummies["loop2"], "10.10.2.200/24".parse().unwrap());
    assert_eq!(router.serve_http, Some(80));
    assert_eq!(lab.node("internet").unwrap().address, None);
    assert_eq!(
        lab.routes,
        [StaticRoute {
            to: "10.10.0.0/16".parse().unwrap(),
            via: "router".to_owned(),
            gateway: Ipv4Addr::new(192, 168, 10, 200),
            on: ["k8s-ctr", "k8s-w1", "k8s-w2"].map(str::to_owned).to_vec(),
        }]
    );
    let values = Values {
        auto_direct_node_routes: Some(true),
        ipv4_native_routing_cidr: Some("10.244.0.0/16".parse().unwrap()),
        bpf: Bpf {
            masquerade: true,
            ..Bpf::default()
        },
        ..Values::default()
    };
    assert_eq!(lab.values, values);
    assert_eq!(
        lab.manifests,
        ["labs/webpod.yaml", "labs/curl-pod.yaml"].map(PathBuf::from)
    );
    let checks = [
        "labs/../checks/routing.yaml",
        "labs/../checks/masquerade.yaml",
    ];
    assert_eq!(lab.checks, checks.map(PathBuf::from));
}

#[test]
fn a_small_lab_has_defaults() {
    let lab = lab(&small("")).unwrap();
    assert_eq!(lab.values, Values::default());
    assert!(lab.routes.is_empty() && lab.manifests.is_empty() && lab.checks.is_empty());
}

#[test]
fn networks_are_networks_of_their_own() {
    let fault = |network: &str| {
        let text = small("").replace("network: 192.168.10.0/24", &format!("network: {network}"));
        faults(&text).remove(0)
    };
    assert_eq!(
        fault("192.168.10.5/24"),
        "2:10 `192.168.10.5/24` is an address in a network, not a network (did you mean `192.168.10.0/24`?)"
    );
    assert_eq!(
        fault("192.168.10.0/31"),
        "2:10 network 192.168.10.0/31 is too small for two nodes (a /24 holds 254 nodes)"
    );
    assert_eq!(
        fault("10.244.7.0/24"),
        "2:10 network 10.244.7.0/24 overlaps with 10.244.0.0/16, the range of the pods"
    );
    assert_eq!(
        fault("10.0.0.0/8"),
        "2:10 network 10.0.0.0/8 overlaps with 10.244.0.0/16, the range of the pods"
    );
    assert_eq!(
        fault("10.96.0.0/24"),
        "2:10 network 10.96.0.0/24 overlaps with 10.96.0.0/16, the range of the services"
    );
    assert_eq!(
        fault("10.0.2.0/24"),
        "2:10 network 10.0.2.0/24 overlaps with 10.0.2.0/24, the network of the outside"
    );
    assert_eq!(
        fault("100.64.3.0/24"),
        "2:10 network 100.64.3.0/24 overlaps with 100.64.0.0/16, by which the outside knows the nodes"
    );
    assert_eq!(
        fault("192.168.10.0"),
        "2:10 `network` must be an IPv4 address with a prefix length like 10.10.0.0/16, not `192.168.10.0`"
    );
}

#[test]
fn node_addresses_are_in_the_network_once() {
    let text = "\
name: a
network: 192.168.10.0/24
nodes:
  c: {role: control-plane, address: 192.168.10.1}
  w1: {role: worker, address: 192.168.10.1}
  w2: {role: worker, address: 192.168.20.1}
  w3: {role: worker, address: 192.168.10.0}
  w4: {role: worker, address: 192.168.10.255}
  w5: {role: worker}
  w6: {role: worker, address: ~}
  i: {role: world, address: 192.168.10.9}
";
    let range = "(nodes of 192.168.10.0/24 have 192.168.10.1 to 192.168.10.254)";
    assert_eq!(
        faults(text),
        [
            "5:31 address 192.168.10.1 of `w1` is that of `c` too".to_owned(),
            format!("6:31 address 192.168.20.1 of `w2` is outside the lab's network {range}"),
            format!(
                "7:31 address 192.168.10.0 of `w3` is the address of the network itself {range}"
            ),
            format!(
                "8:31 address 192.168.10.255 of `w4` is the network's broadcast address {range}"
            ),
            "9:3 `nodes.w5` lacks `address`".to_owned(),
            "10:3 `nodes.w6` lacks `address`".to_owned(),
            "11:29 `i` is the world, which is not on the lab's network (leave `address` out)"
                .to_owned(),
        ]
    );
}

#[test]
fn names_can_be_host_and_interface_names() {
    let text = "\
name: My_Lab
network: 192.168.10.0/24
nodes:
  c: {role: control-plane, address: 192.168.10.1}
  K8s_w1: {role: worker, address: 192.168.10.2}
  fabric: {role: worker, address: 192.168.10.3}
  worker: {role: router, address: 192.168.10.4}
  r:
    role: router
    address: 192.168.10.5
    dummies: {eth0: 10.1.0.1/24, a/b: 10.2.0.1/24, longer-than-15-b: 10.3.0.1/24, lxc0: 10.4.0.1/24}
";
    assert_eq!(
        faults(text),
        [
            "1:7 lab name `My_Lab` has 'M' in it; only a-z, 0-9 and `-` may be used (did you mean `my-lab`?)",
            "5:3 node name `K8s_w1` has 'K' in it; only a-z, 0-9 and `-` may be used (did you mean `k8s-w1`?)",
            "6:3 node name `fabric` is taken: it is the network namespace of the lab's bridge",
            "7:3 node `worker` has the name of the role worker, but is a router",
            "11:15 interface name `eth0` is taken: the interface to the outside",
            "11:34 interface name `a/b` has '/' in it; only printable ASCII without `/`, `:` and spaces may be used",
            "11:52 interface name `longer-than-15-b` is longer than 15 bytes",
            "11:83 interface name `lxc0` is taken: pods' interfaces begin with lxc",
        ]
    );
}

#[test]
fn duplicate_names_are_found() {
    assert_eq!(
        faults(&small("  c: {role: worker, address: 192.168.10.3}\n")),
        ["6:3 duplicate key `c`"]
    );
}

#[test]
fn dummies_overlap_with_nothing() {
    let text = small(
        "  r2:
    role: router
    address: 192.168.10.3
    dummies:
      d1: 10.10.1.200/24
      d2: 10.10.1.201/25
      d3: 192.168.10.77/32
      d4: 10.244.1.1/24
      d5: 10.20.0.0/24
      d6: 10.20.0.255/24
      d7: 10.10.2.1/32
  r3:
    role: router
    address: 192.168.10.4
    dummies: {d1: 10.10.0.1/16}
",
    );
    assert_eq!(
        faults(&text),
        [
            "11:11 `10.10.1.201/25` overlaps with `10.10.1.200/24`",
            "12:11 address 192.168.10.77/32 of `d3` overlaps with 192.168.10.0/24, the lab's network",
            "13:11 address 10.244.1.1/24 of `d4` overlaps with 10.244.0.0/16, the range of the pods",
            "14:11 address 10.20.0.0/24 of `d5` is the address of the network itself",
            "15:11 address 10.20.0.255/24 of `d6` is the network's broadcast address",
            "20:19 `10.10.0.1/16` overlaps with `10.10.2.1/32`",
        ]
    );
}

#[test]
fn routes_lead_somewhere() {
    let text = small(
        "  i: {role: world}
routes:
  - {to: 10.10.0.0/16, via: rr, on: [c]}
  - {to: 10.10.0.0/16, via: i, on: [c]}
  - {to: 10.10.0.1/16, via: r, on: [c]}
  - {to: 192.168.10.128/25, via: r, on: [c]}
  - {to: 10.11.0.0/16, via: r, on: [workers, r, world]}
  - {to: 0.0.0.0/0, via: r, on: [c]}
  - {to: 10.244.1.0/24, via: r, on: [c]}
  - {to: 10.244.1.0/24, via: c, on: [router]}
  - {to: 10.12.0.0/16, via: r, on: [control-plane, c]}
  - {to: 10.12.0.0/16, via: r, on: [c]}
  - {to: 10.0.2.0/24, via: r, on: [c]}
  - {to: 10.13.0.0/16, via: r, on: []}
",
    );
    assert_eq!(
        faults(&text),
        [
            "8:29 no node is called `rr` (did you mean `r`?)",
            "9:10 `c` has a route to 10.10.0.0/16 already",
            "9:29 `i` is the world, which is not on the lab's network",
            "10:10 `10.10.0.1/16` is an address in a network, not a network (did you mean `10.10.0.0/16`?)",
            "11:10 `192.168.10.128/25` is in the lab's network 192.168.10.0/24, where nodes need no route",
            "12:37 no node or role is called `workers` (did you mean `worker`?)",
            "12:46 `r` cannot have a route through itself",
            "12:49 the world is not on the lab's network and cannot have routes over it",
            "13:10 every node has a default route already, to the world",
            "14:10 `10.244.1.0/24` is the pods', which `c` has routes to by itself (only nodes outside the cluster need routes to pods)",
            "17:10 `c` has a route to 10.12.0.0/16 already",
            "18:10 `10.0.2.0/24` is in 10.0.2.0/24, the network of the outside",
            "19:36 `routes[11].on` has too few items",
        ]
    );
}

#[test]
fn a_lab_has_a_control_plane_and_one_outside() {
    let text = small("  i: {role: world}\n  j: {role: world}\n").replace("control-plane", "worker");
    assert_eq!(
        faults(&text),
        [
            "3:1 no node is the control plane (give one node `role: control-plane`)",
            "7:3 `j` is a second world, and there is only one outside",
        ]
    );
    assert_eq!(
        faults("name: a\nnetwork: 192.168.10.0/24\nnodes: {}\n"),
        ["3:1 no node is the control plane (give one node `role: control-plane`)"]
    );
}

#[test]
fn ports_are_free_and_in_range() {
    let text = small(
        "  i: {role: world, serve: {http: 80}}
  w: {role: worker, address: 192.168.10.4, serve: {http: 30080}}
  x: {role: router, address: 192.168.10.5, serve: {http: 30080}}
  y: {role: router, address: 192.168.10.6, serve: {http: 0}}
  z: {role: router, address: 192.168.10.7, serve: {https: 443}}
",
    );
    assert_eq!(
        faults(&text),
        [
            "6:28 `i` is the world, which serves HTTP by itself (leave `serve` out)",
            "7:58 port 30080 of `w` is in `nodePort.range`, 30000,32767",
            "9:58 `nodes.y.serve.http` must be between 1 and 65535, not 0",
            "10:52 unknown key `https` in `nodes.z.serve` (did you mean `http`?)",
        ]
    );
}

#[test]
fn value_names_are_known_not_yet_or_unknown() {
    let text = small(
        "values:
  routingmode: native
  routingMode: tunel
  encryption: {enabled: true}
  ipam: {mode: multi-pool}
  bpf: {masquerade: yes, lbMode: dsr, natMax: 5}
  nodePort: {range: 30000-32767}
  devices: [eth0, eth1]
  ipv4NativeRoutingCIDR: 10.244.0.0
  zzz: 1
",
    );
    assert_eq!(
        faults(&text),
        [
            "7:3 unknown key `routingmode` in `values` (did you mean `routingMode`?)",
            "8:16 `values.routingMode` cannot be `tunel` (did you mean `tunnel`?)",
            "9:3 `values.encryption` is not available yet",
            "10:16 values.ipam.mode: `multi-pool` is not available yet (labctl has `kubernetes`)",
            "11:21 `values.bpf.masquerade` must be true or false, not text",
            "11:26 `values.bpf.lbMode` is not available yet",
            "11:47 `values.bpf.natMax` must be between 1024 and 16777216, not 5",
            "12:21 `values.nodePort.range` must be a range of ports below 65535 like 30000,32767, not `30000-32767`",
            "13:13 no node has an interface `eth0` (the nodes of this lab have eth1)",
            "14:26 `values.ipv4NativeRoutingCIDR` must be an IPv4 address with a prefix length like 10.10.0.0/16, not `10.244.0.0`",
            "15:3 unknown key `zzz` in `values` (it takes `ipam`, `routingMode`, `tunnelProtocol`, `tunnelPort`, `autoDirectNodeRoutes`, `MTU`, `ipv4NativeRoutingCIDR`, `kubeProxyReplacement`, `enableIPv4Masquerade`, `egressMasqueradeInterfaces`, `enableMasqueradeRouteSource`, `localRedirectPolicy`, `localRedirectPolicies`, `l2announcements`, `hubble`, `bpf`, `ipMasqAgent`, `nodePort`, `devices`, `fragmentTracking`)",
        ]
    );
}

#[test]
fn files_are_listed_once() {
    assert_eq!(
        faults(&small(
            "manifests: [a.yaml, b.yaml, a.yaml]\nchecks: ['']\n"
        )),
        ["6:29 `a.yaml` is listed twice", "7:10 a path is empty"]
    );
}

#[test]
fn dns_is_there_when_asked_for() {
    let parsed = |text: &str| lab(&small(text));
    let lab = parsed("  i: {role: world, zone: world.zone}\n").unwrap();
    assert_eq!(lab.dns, None);
    let zone = lab.node("i").unwrap().zone.as_ref().unwrap();
    assert_eq!(zone.path, Path::new("labs/world.zone"));
    let lab = parsed("dns: {search: [Davolink]}\n").unwrap();
    let dns = lab.dns.unwrap();
    assert_eq!(dns.search, ["Davolink"]);
    assert_eq!(dns.node_local, None);
}

#[test]
fn the_cache_is_reached_as_the_values_allow() {
    let node_local = |text: &str| {
        let lab = lab(&small(text)).unwrap();
        lab.dns.unwrap().node_local.unwrap()
    };
    let redirect = "values: {localRedirectPolicies: {enabled: true}}\n";
    let usual = "dns: {nodeLocal: {}}\n";
    assert_eq!(node_local(usual).via, NodeLocalVia::Interface);
    assert_eq!(node_local(usual).address, Ipv4Addr::new(169, 254, 20, 10));
    let via = node_local(&format!("{redirect}{usual}")).via;
    assert_eq!(via, NodeLocalVia::Redirect);
}

#[test]
fn dns_that_cannot_be_is_a_fault() {
    let text = "  w: {role: worker, address: 192.168.10.9, zone: a.zone}
dns:
  search: [ok, 'a b']
  nodeLocal: {address: 10.0.0.1, via: redirect}
";
    assert_eq!(
        faults(&small(text)),
        [
            "6:44 `w` is a worker, and only the world answers DNS by itself (pods get cluster DNS with `dns: {}`)",
            "8:16 search domain `a b` has ' ' in it; only A-Z, a-z, 0-9, `-`, `_` and dots between labels may be used",
            "9:24 10.0.0.1 may be somebody's: the cache's address is link-local (use one of 169.254.0.0/16, like 169.254.20.10)",
            "9:39 no local redirect policy is obeyed in this lab (use localRedirectPolicies: {enabled: true} in `values`, or `via: interface`)",
        ]
    );
}

#[test]
fn a_fault_of_form_hides_none_of_meaning() {
    let text = "\
name: study
network: 192.168.10.0/24
nodes:
  c: {role: control-plan, address: 192.168.20.1}
  w: 5
  v: {role: worker, addres: 192.168.10.3}
routes:
  - {to: 10.10.0.0/16, via: w, on: [c, v]}
";
    assert_eq!(
        faults(text),
        [
            "4:13 `nodes.c.role` cannot be `control-plan` (did you mean `control-plane`?)",
            "4:36 address 192.168.20.1 of `c` is outside the lab's network (nodes of 192.168.10.0/24 have 192.168.10.1 to 192.168.10.254)",
            "5:6 `nodes.w` must be a map, not a number",
            "6:21 unknown key `addres` in `nodes.v` (did you mean `address`?)",
        ]
    );
}

#[test]
fn values_that_exclude_each_other_are_faults_at_the_one_to_change() {
    let text = small(
        "values:
  routingMode: tunnel
  autoDirectNodeRoutes: true
  kubeProxyReplacement: false
  bpf: {masquerade: true}
  l2announcements: {enabled: true}
",
    );
    assert_eq!(
        faults(&text),
        [
            "8:25 autoDirectNodeRoutes cannot be used with routingMode: tunnel (packets go through the tunnel; leave it out)",
            "10:21 bpf.masquerade cannot be used with kubeProxyReplacement: false (masquerading in eBPF takes the ports that NodePort handling in eBPF guards; have iptables masquerade with bpf.masquerade: false)",
            "11:30 services that kube-proxy handles can be neither redirected nor announced (use kubeProxyReplacement: true)",
        ]
    );
}
