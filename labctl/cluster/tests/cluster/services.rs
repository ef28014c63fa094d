//! Services: their addresses, their ports and the pods behind them.

mod refused;

use std::net::Ipv4Addr;

use lab_cluster::{Allocations, Cluster};
use lab_model::node_state::{Protocol, Service, TrafficPolicy};

use crate::{CURL_POD, cluster, objects, study_lab, webpod};

/// The study lab's `webpod` service, as the original writes it.
const WEBPOD: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: webpod
  labels:
    app: webpod
spec:
  selector:
    app: webpod
  ports:
  - protocol: TCP
    port: 80
    targetPort: 80
  type: ClusterIP
";

/// A service of the name with this `spec`.
fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

fn computed(manifests: &[&str]) -> Cluster {
    cluster(&study_lab(), &objects(manifests), &Allocations::default())
}

fn one(manifests: &[&str]) -> Service {
    let mut services = computed(manifests).services;
    assert_eq!(services.len(), 1);
    services.remove(0)
}

#[test]
fn the_study_labs_service_has_an_address_and_the_webpods_behind_it() {
    let cluster = computed(&[&webpod(3), CURL_POD, WEBPOD]);
    let service = &cluster.services[0];
    assert_eq!(service.key(), "default/webpod");
    let address = service.cluster_ip.unwrap();
    assert_eq!(address.octets()[..2], [10, 96]);
    let [port] = &service.ports[..] else {
        panic!("one port: {:?}", service.ports)
    };
    assert_eq!((port.port, port.protocol), (80, Protocol::Tcp));
    assert_eq!(port.node_port, None);
    let mut expected: Vec<_> = cluster
        .pods
        .iter()
        .filter(|pod| pod.owner.is_some())
        .map(|pod| (pod.address, 80, pod.node.as_str()))
        .collect();
    expected.sort();
    let behind: Vec<_> = port
        .backends
        .iter()
        .map(|backend| (backend.address, backend.port, backend.node.as_str()))
        .collect();
    assert_eq!(behind, expected);
    for state in cluster.node_states.values() {
        assert_eq!(state.services, cluster.services);
    }
}

#[test]
fn a_service_keeps_its_address_and_node_port_whatever_comes_and_goes() {
    let web = service(
        "web",
        "type: NodePort, selector: {app: webpod}, ports: [{port: 80}]",
    );
    let other = service("a", "type: NodePort, ports: [{port: 80}]");
    let before = computed(&[&web]);
    let address = before.services[0].cluster_ip.unwrap();
    let node_port = before.services[0].ports[0].node_port.unwrap();
    assert!((30_000..=32_767).contains(&node_port));

    // Another service that comes first by name and wants the same.
    let greedy = service(
        "a",
        &format!(
            "type: NodePort, clusterIP: {address}, ports: [{{port: 80, nodePort: {node_port}}}]"
        ),
    );
    let moved = cluster(
        &study_lab(),
        &objects(&[&web, &greedy]),
        &before.allocations,
    );
    assert_eq!(
        moved.services[0].cluster_ip,
        Some(address),
        "asked for by name"
    );
    assert_ne!(moved.services[1].cluster_ip, Some(address));
    assert_ne!(moved.services[1].ports[0].node_port, Some(node_port));

    let kept = cluster(&study_lab(), &objects(&[&web, &other]), &moved.allocations);
    assert_eq!(kept.services, moved.services, "nothing moves back");
    let again = computed(&[&web]);
    assert_eq!(again, before, "the hash alone decides");
}

#[test]
fn reserved_addresses_are_given_only_to_those_who_ask() {
    let dns = service(
        "kube-dns",
        "clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]",
    );
    assert_eq!(one(&[&dns]).cluster_ip, Some(Ipv4Addr::new(10, 96, 0, 10)));
    let many: Vec<String> = (0..2000)
        .map(|n| service(&format!("s{n}"), "ports: [{port: 80}]"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let reserved = [Ipv4Addr::new(10, 96, 0, 1), Ipv4Addr::new(10, 96, 0, 10)];
    let mut previous = Allocations::default();
    let mut given = std::collections::BTreeSet::new();
    // As if a service had been given a reserved address before they were reserved.
    previous
        .services
        .entry("default/s7".to_owned())
        .or_default()
        .cluster_ip = Some(reserved[0]);
    for service in cluster(&study_lab(), &objects(&many), &previous).services {
        let address = service.cluster_ip.unwrap();
        assert!(given.insert(address), "{address} twice");
        assert!(!reserved.contains(&address), "{address} is reserved");
    }
}

#[test]
fn a_named_target_port_is_each_pods_own() {
    let pod = |name: &str, ports: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: web}}}}, spec: \
             {{containers: [{{name: c, image: nginx, ports: {ports}}}]}}}}"
        )
    };
    let pods = [
        pod("a", "[{name: http, containerPort: 80}]"),
        pod("b", "[{name: http, containerPort: 8080}]"),
        pod("c", "[{name: http, containerPort: 53, protocol: UDP}]"),
        pod("d", "[{containerPort: 80}]"),
    ];
    let web = service(
        "web",
        "selector: {app: web}, ports: [{port: 80, targetPort: http}]",
    );
    let mut manifests: Vec<&str> = pods.iter().map(String::as_str).collect();
    manifests.push(&web);
    let service = one(&manifests);
    let mut behind: Vec<(&str, u16)> = service.ports[0]
        .backends
        .iter()
        .map(|backend| (backend.pod.as_str(), backend.port))
        .collect();
    behind.sort_unstable();
    assert_eq!(behind, [("default/a", 80), ("default/b", 8080)]);
}

#[test]
fn backends_are_of_the_services_own_namespace_and_none_without_a_selector() {
    let elsewhere = CURL_POD.replace("name: curl-pod", "name: curl-pod\n  namespace: other");
    let curl = service("curl", "selector: {app: curl}, ports: [{port: 80}]");
    assert_eq!(one(&[&elsewhere, &curl]).ports[0].backends, []);
    assert_eq!(one(&[CURL_POD, &curl]).ports[0].backends.len(), 1);
    let all = service("all", "ports: [{port: 80}]");
    assert_eq!(one(&[CURL_POD, &all]).ports[0].backends, []);
}

#[test]
fn a_headless_service_has_backends_and_no_address() {
    let headless = service(
        "web",
        "clusterIP: None, selector: {app: webpod}, ports: [{port: 80}]",
    );
    let service = one(&[&webpod(2), &headless]);
    assert_eq!(service.cluster_ip, None);
    assert_eq!(service.ports[0].backends.len(), 2);
    let without_ports = one(&[
        &webpod(2),
        &self::service("web", "clusterIP: None, selector: {app: webpod}"),
    ]);
    assert!(without_ports.ports.is_empty());
    assert_eq!(without_ports.endpoints, service.endpoints);
}

/// `spec` of a pod of this name, besides its container.
fn pod(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: db}}}}, spec: \
         {{{spec}containers: [{{name: db, image: nginx, ports: [{{name: sql, containerPort: \
         5432}}]}}]}}}}\n"
    )
}

#[test]
fn a_pod_has_its_host_name_below_the_service_that_is_its_subdomain() {
    let pods = [
        pod("a", "hostname: db-0, subdomain: db, "),
        pod("b", "hostname: db-1, subdomain: other, "),
        pod("c", "hostname: db-2, "),
        pod("d", "subdomain: db, "),
    ];
    let ports = "clusterIP: None, selector: {app: db}, ports: [{port: 1, targetPort: none}]";
    let db = service("db", ports);
    let manifests: Vec<&str> = pods.iter().chain([&db]).map(String::as_str).collect();
    let cluster = computed(&manifests);
    let service = &cluster.services[0];
    assert_eq!(service.ports[0].backends, []);
    let mut names: Vec<_> = service
        .endpoints
        .iter()
        .map(|it| (it.pod.as_str(), it.hostname.as_deref()))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            ("default/a", Some("db-0")),
            ("default/b", None),
            ("default/c", None),
            ("default/d", None)
        ]
    );
    let all = cluster.node_states.values().flat_map(|state| &state.pods);
    let mut all: Vec<_> = all
        .map(|pod| (pod.host_name(), pod.subdomain.as_deref()))
        .collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            ("d", Some("db")),
            ("db-0", Some("db")),
            ("db-1", Some("other")),
            ("db-2", None)
        ]
    );
}

#[test]
fn policies_affinity_and_external_addresses() {
    let defaults = one(&[&service("web", "ports: [{port: 80}]")]);
    assert_eq!(defaults.external_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(defaults.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(defaults.session_affinity, None);
    let service = one(&[&service(
        "web",
        "type: LoadBalancer, externalTrafficPolicy: Local, internalTrafficPolicy: Local, \
         sessionAffinity: ClientIP, externalIPs: [192.168.10.250], ports: [{port: 80}]",
    )]);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.session_affinity, Some(10_800), "three hours");
    assert_eq!(service.external_ips, [Ipv4Addr::new(192, 168, 10, 250)]);
    assert!(
        service.ports[0].node_port.is_some(),
        "a LoadBalancer has node ports too"
    );
    let an_hour = "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: \
                   {timeoutSeconds: 3600}}, ports: [{port: 80}]";
    assert_eq!(
        one(&[&self::service("web", an_hour)]).session_affinity,
        Some(3600)
    );
}

#[test]
fn source_ranges_lose_their_host_bits_and_may_be_inverted() {
    let ranges = |annotation: &str| {
        one(&[&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, annotations: {{{annotation}}}}}, \
             spec: {{type: LoadBalancer, ports: [{{port: 80}}], \
             loadBalancerSourceRanges: [10.0.7.1/8, ' 192.168.10.200/32 ']}}}}\n"
        )])
    };
    let service = ranges("");
    let written: Vec<String> = service
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(written, ["10.0.0.0/8", "192.168.10.200/32"]);
    assert!(!service.denies_source_ranges);
    assert!(!ranges("service.cilium.io/src-ranges-policy: allow").denies_source_ranges);
    assert!(ranges("service.cilium.io/src-ranges-policy: deny").denies_source_ranges);
}

#[test]
fn tcp_and_udp_may_share_a_node_port() {
    let both = service(
        "dns",
        "type: NodePort, ports: [{name: dns, port: 53, protocol: UDP, nodePort: 30053}, \
         {name: dns-tcp, port: 53, nodePort: 30053}]",
    );
    let ports = one(&[&both]).ports;
    assert!(ports.iter().all(|port| port.node_port == Some(30_053)));
}

#[test]
fn an_external_name_is_a_name_and_nothing_else() {
    let web = service("web", "type: ExternalName, externalName: www.example.com.");
    let alias = one(&[&webpod(2), &web]);
    assert_eq!(alias.external_name.as_deref(), Some("www.example.com"));
    assert_eq!((alias.cluster_ip, alias.ports.len()), (None, 0));
    // What Kubernetes takes beside it, no datapath sees.
    let more = "type: ExternalName, externalName: www.example.com, selector: {app: webpod}, \
                externalIPs: [192.168.10.250], sessionAffinity: ClientIP, ports: [{port: 80}]";
    assert_eq!(one(&[&webpod(2), &self::service("web", more)]), alias);
    let cluster = computed(&[&web]);
    assert!(cluster.allocations.services.is_empty());
    assert_eq!(cluster.node_states["k8s-w1"].services, [alias]);
}
