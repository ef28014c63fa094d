//! Cluster DNS and the cache of each node, from `dns:` and from manifests.

use std::net::Ipv4Addr;

use lab_cluster::{Allocations, CLUSTER_DNS, Cluster, compute, dns_objects, parse};
use lab_model::lab::{Dns, Lab, NodeLocalDns, NodeLocalVia};
use lab_model::node_state::{DnsPolicy, NodeCache, NodeState, Workload};

use crate::{CURL_POD, cluster, objects, study_lab};

const CACHE: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

fn lab(via: Option<NodeLocalVia>) -> Lab {
    let mut lab = study_lab();
    lab.values.kube_proxy_replacement = true;
    lab.values.local_redirect_policies.enabled = via == Some(NodeLocalVia::Redirect);
    lab.dns = Some(Dns {
        search: vec!["Davolink".to_owned()],
        node_local: via.map(|via| NodeLocalDns {
            address: CACHE,
            via,
        }),
    });
    lab
}

fn computed(lab: &Lab) -> Cluster {
    let mut objects = objects(&[CURL_POD]);
    objects.extend(dns_objects(lab).unwrap());
    cluster(lab, &objects, &Allocations::default())
}

fn service<'a>(state: &'a NodeState, name: &str) -> &'a lab_model::node_state::Service {
    let is_it = |it: &&lab_model::node_state::Service| it.key() == format!("kube-system/{name}");
    state.services.iter().find(is_it).unwrap()
}

#[test]
fn a_lab_without_dns_has_none() {
    assert_eq!(dns_objects(&study_lab()).unwrap(), []);
}

#[test]
fn dns_is_two_coredns_pods_behind_kube_dns() {
    let cluster = computed(&lab(None));
    let coredns: Vec<_> = cluster
        .node_states
        .values()
        .flat_map(|state| &state.pods)
        .filter(|pod| pod.workload == Workload::Coredns)
        .collect();
    assert_eq!(coredns.len(), 2);
    for pod in coredns {
        assert_eq!(pod.namespace, "kube-system");
        assert!(pod.name.starts_with("coredns-"), "{}", pod.name);
        assert!(pod.labels.contains(&"k8s:k8s-app=kube-dns".to_owned()));
        assert_eq!(pod.dns_policy, DnsPolicy::Default);
        let corefile = pod.corefile.as_deref().unwrap();
        assert!(corefile.starts_with(".:53 {\n    errors\n"), "{corefile}");
        let zones = "    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n";
        assert!(corefile.contains(zones), "{corefile}");
    }
    let state = &cluster.node_states["k8s-ctr"];
    let kube_dns = service(state, "kube-dns");
    assert_eq!(kube_dns.cluster_ip, Some(CLUSTER_DNS));
    let ports = kube_dns.ports.iter();
    let ports: Vec<_> = ports
        .map(|port| format!("{}/{}:{}", port.port, port.protocol, port.backends.len()))
        .collect();
    assert_eq!(ports, ["53/UDP:2", "53/TCP:2", "9153/TCP:2"]);
    assert_eq!(state.dns.nameserver, CLUSTER_DNS);
    assert_eq!(state.dns.search, ["svc.cluster.local", "cluster.local"]);
    assert_eq!(state.dns.node_search, ["Davolink"]);
}

#[test]
fn with_a_redirect_the_cache_is_a_pod_of_its_node() {
    let cluster = computed(&lab(Some(NodeLocalVia::Redirect)));
    for (node, state) in &cluster.node_states {
        assert_eq!(state.host_pods, [], "{node}");
        let is_it = |it: &&lab_model::node_state::Pod| it.workload.serves_dns();
        let is_cache =
            |it: &&lab_model::node_state::Pod| is_it(it) && it.workload != Workload::Coredns;
        let cache = state.pods.iter().find(is_cache).unwrap();
        let upstream = service(state, "kube-dns-upstream").cluster_ip;
        assert!(upstream.is_some());
        let expected = NodeCache {
            local_ips: vec![CACHE, CLUSTER_DNS],
            upstream,
            setup_interface: false,
            setup_iptables: false,
            skip_teardown: true,
            ..NodeCache::default()
        };
        assert_eq!(cache.workload, Workload::NodeCache(expected));
        let corefile = cache.corefile.as_deref().unwrap();
        assert!(corefile.contains("    bind 0.0.0.0\n"), "{corefile}");
        assert!(corefile.contains("    health\n    }\n"), "{corefile}");
        let [redirect] = state.redirects.as_slice() else {
            panic!("{:?}", state.redirects)
        };
        assert_eq!(redirect.key(), "kube-system/nodelocaldns");
        let frontends = redirect.frontends.iter();
        let frontends: Vec<_> = frontends
            .map(|it| {
                (
                    it.address,
                    it.port,
                    it.protocol.to_string(),
                    it.backends.len(),
                )
            })
            .collect();
        let udp = (CLUSTER_DNS, 53, "UDP".to_owned(), 1);
        let tcp = (CLUSTER_DNS, 53, "TCP".to_owned(), 1);
        assert_eq!(frontends, [udp, tcp]);
        assert_eq!(redirect.frontends[0].backends[0].address, cache.address);
        assert_eq!(state.dns.nameserver, CLUSTER_DNS);
    }
}

#[test]
fn with_an_interface_the_cache_is_on_its_nodes_network() {
    let cluster = computed(&lab(Some(NodeLocalVia::Interface)));
    for (node, state) in &cluster.node_states {
        let [cache] = state.host_pods.as_slice() else {
            panic!("{:?}", state.host_pods)
        };
        let Workload::NodeCache(args) = &cache.workload else {
            panic!("{cache:?}")
        };
        assert!(args.setup_interface && args.setup_iptables && !args.skip_teardown);
        assert_eq!(args.interface, "nodelocaldns");
        assert_eq!(args.local_ips, [CACHE, CLUSTER_DNS]);
        let corefile = cache.corefile.as_deref().unwrap();
        assert!(corefile.contains("    bind 169.254.20.10 10.96.0.10\n"));
        assert!(corefile.contains("    health 169.254.20.10:8080\n"));
        let placed = cluster
            .pods
            .iter()
            .find(|pod| pod.name == cache.name)
            .unwrap();
        assert_eq!(&placed.node, node);
        assert_eq!(placed.address, state.node.address);
        // It is no endpoint, here or for the others.
        assert!(state.pods.iter().all(|pod| pod.name != cache.name));
        assert!(
            state
                .remote_pods
                .iter()
                .all(|pod| !pod.name.starts_with("node-local"))
        );
        // Sockets would never get to the interface with the service's address.
        assert_eq!(state.dns.nameserver, CACHE);
    }
    let caches = service(&cluster.node_states["k8s-ctr"], "node-local-dns");
    assert_eq!(caches.cluster_ip, None);
    assert_eq!(caches.ports[0].backends.len(), 3);
}

#[test]
fn under_kube_proxy_the_interface_has_the_services_address_too() {
    let mut lab = lab(Some(NodeLocalVia::Interface));
    lab.values.kube_proxy_replacement = false;
    assert_eq!(
        computed(&lab).node_states["k8s-ctr"].dns.nameserver,
        CLUSTER_DNS
    );
}

#[test]
fn a_second_run_keeps_caches_where_they_are() {
    let lab = lab(Some(NodeLocalVia::Interface));
    let mut objects = objects(&[CURL_POD]);
    objects.extend(dns_objects(&lab).unwrap());
    let first = cluster(&lab, &objects, &Allocations::default());
    assert_eq!(cluster(&lab, &objects, &first.allocations), first);
}

#[test]
fn a_manifest_of_ones_own_beside_dns_is_a_duplicate() {
    let lab = lab(None);
    let own =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: coredns\n  namespace: kube-system\n";
    let mut objects = dns_objects(&lab).unwrap();
    objects.extend(parse("own.yaml", own).unwrap());
    let faults = compute(&lab, &objects, &Allocations::default()).unwrap_err();
    let fault = faults.iter().next().unwrap();
    assert_eq!(
        fault.message,
        "ConfigMap `kube-system/coredns` is defined twice"
    );
    let help = fault.help.as_deref().unwrap();
    assert!(
        help.starts_with("first defined here: templates/coredns.yaml.j2:"),
        "{help}"
    );
}

const CACHE_POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: cache}
spec:
  nodeSelector: {kubernetes.io/os: linux}
  containers:
  - name: c
    image: k8s.gcr.io/dns/k8s-dns-node-cache:1.15.16
    args: [-localip, 169.254.20.10, -setupinterface=false, --health-port=8081, -syncinterval, 1m]
    volumeMounts: [{name: config, mountPath: /etc/coredns}]
  volumes: [{name: config, configMap: {name: dns, items: [{key: Corefile, path: Corefile.base}]}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: dns}
data: {Corefile: 'text'}
";

/// Faults as `line message`, of the file alone or of all together.
fn faults(text: &str) -> Vec<String> {
    let faults = match parse("lab.yaml", text) {
        Ok(objects) => compute(&study_lab(), &objects, &Allocations::default()).unwrap_err(),
        Err(faults) => faults,
    };
    let line = |fault: &lab_model::diagnostic::Diagnostic| {
        format!("{} {}", fault.line_column().0, fault.message)
    };
    faults.iter().map(line).collect()
}

#[test]
fn flags_are_gos() {
    let cluster = cluster(
        &study_lab(),
        &objects(&[CACHE_POD]),
        &Allocations::default(),
    );
    let pods = cluster.node_states.values().flat_map(|state| &state.pods);
    let [pod] = pods.collect::<Vec<_>>()[..] else {
        panic!("one pod")
    };
    assert_eq!(pod.corefile.as_deref(), Some("text"));
    let expected = NodeCache {
        local_ips: vec![CACHE],
        setup_interface: false,
        health_port: 8081,
        ..NodeCache::default()
    };
    assert_eq!(pod.workload, Workload::NodeCache(expected));
}

#[test]
fn what_a_server_would_not_find_is_a_fault() {
    for (from, to, expected) in [
        (
            "169.254.20.10,",
            "here,",
            "9 -localip must be IPv4 addresses, not `here`",
        ),
        (
            "-syncinterval",
            "-sync",
            "9 node-cache takes no argument `-sync` here",
        ),
        (", 1m]", "]", "9 -syncinterval needs a value"),
        (
            "=false",
            "=no",
            "9 -setupinterface must be `true` or `false`, not `no`",
        ),
        (
            "mountPath: /etc/coredns",
            "mountPath: /etc",
            "10 nothing is mounted at /etc/coredns, where Corefile.base would be",
        ),
        (
            "[{name: config, mount",
            "[{name: confi, mount",
            "10 the pod has no volume `confi`",
        ),
        (
            "path: Corefile.base",
            "path: Corefile",
            "11 no item of the ConfigMap becomes the file Corefile.base",
        ),
        (
            "{name: dns, items",
            "{name: dn, items",
            "11 there is no ConfigMap `dn` in default",
        ),
        (
            "key: Corefile",
            "key: corefile",
            "11 ConfigMap `dns` has no key `corefile`",
        ),
        (
            "os: linux",
            "os: windows",
            "5 `nodeSelector` with `kubernetes.io/os: windows` is not available yet",
        ),
    ] {
        assert!(CACHE_POD.contains(from), "{from}");
        assert_eq!(faults(&CACHE_POD.replacen(from, to, 1)), [expected]);
    }
}
