//! Services that are refused, and what is said of them.

use super::{pod, service};
use crate::faults::{assert_messages, assert_parse_fails, assert_parse_says, compute_faults};

#[test]
fn host_names_are_labels() {
    assert_parse_fails(
        &pod("a", "hostname: db.0, subdomain: Db, "),
        &[
            "`db.0` cannot be a pod's `hostname`",
            "`Db` cannot be a pod's `subdomain`",
        ],
    );
}

#[test]
fn source_ranges_that_are_none_are_shown_where_they_are() {
    let manifest = "apiVersion: v1
kind: Service
metadata:
  name: web
  annotations:
    service.cilium.io/src-ranges-policy: maybe
spec:
  type: NodePort
  ports:
  - port: 80
  loadBalancerSourceRanges: [10.0.0.0/8, fd00::/8]
";
    assert_parse_says(
        manifest,
        "\
error: `maybe` is no policy for source ranges
 --> lab.yaml:6:42
  |
6 |     service.cilium.io/src-ranges-policy: maybe
  |                                          ^^^^^
  |
  = help: write `allow` or `deny`

error: `loadBalancerSourceRanges` cannot be used with the type NodePort
  --> lab.yaml:11:3
   |
11 |   loadBalancerSourceRanges: [10.0.0.0/8, fd00::/8]
   |   ^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write `type: LoadBalancer`

error: `fd00::/8` is no range of IPv4 addresses like 10.240.0.0/24
  --> lab.yaml:11:42
   |
11 |   loadBalancerSourceRanges: [10.0.0.0/8, fd00::/8]
   |                                          ^^^^^^^^
",
    );
}

#[test]
fn services_that_ask_for_the_same() {
    let web = "type: NodePort, clusterIP: 10.96.7.7, ports: [{port: 80, nodePort: 30080}]";
    let outside = "type: NodePort, clusterIP: 10.97.0.1, ports: [{port: 80, nodePort: 80}]";
    let manifest = [service("b", web), service("a", web), service("c", outside)].join("---\n");
    let text = compute_faults(&[&manifest]);
    assert_messages(
        &text,
        &[
            "10.96.7.7 is the clusterIP of Service `default/a`",
            "nodePort 30080/TCP is that of Service `default/a`",
            "10.97.0.1 cannot be a clusterIP",
            "80 is not in nodePort.range, 30000,32767",
        ],
    );
    let first_given: Vec<&str> = text
        .lines()
        .filter(|line| line.ends_with("--------- first given here"))
        .collect();
    assert_eq!(first_given.len(), 1, "got:\n{text}");
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    assert_parse_fails(
        &service(
            "web.site",
            "type: ClusterIP, clusterIP: ten, ports: [{port: 80, nodePort: 30080}]",
        ),
        &[
            "a service's name is a host name as well, without dots and at most 63 long",
            "`ten` is neither an IPv4 address nor `None`",
            "`nodePort` cannot be used with the type ClusterIP",
        ],
    );
    assert_parse_fails(
        &service(
            "web",
            "type: NodePort, clusterIP: None, ports: [{port: 80}]",
        ),
        &["a service of the type NodePort cannot be headless"],
    );
    assert_parse_fails(
        &service("web", "externalTrafficPolicy: Local"),
        &[
            "a service needs a port, unless it is headless",
            "`externalTrafficPolicy` is for services with addresses outside the cluster",
        ],
    );
    assert_parse_fails(
        &service(
            "web",
            "ports: [{port: 80}, {name: a, port: 81, targetPort: 0}, {name: a, port: 81, \
             targetPort: no_name}, {name: s, port: 82, protocol: SCTP}]",
        ),
        &[
            "of several ports, each needs a name",
            "`targetPort` must be between 1 and 65535, not 0",
            "another port has the name `a` too",
            "port 81/TCP is there twice",
            "`no_name` cannot be the name of a container's port",
            "SCTP is not available yet",
        ],
    );
}

#[test]
fn external_names_that_kubernetes_refuses_are_refused() {
    assert_parse_fails(
        &service("web", "type: ExternalName"),
        &["a service of the type ExternalName needs an `externalName`"],
    );
    let long = format!("{}.com", "a".repeat(64));
    for name in [
        "Example.com",
        "example..com",
        "-a.com",
        "a_b.com",
        "..",
        &long,
    ] {
        assert_parse_fails(
            &service("web", &format!("type: ExternalName, externalName: {name}")),
            &[&format!("`{name}` cannot be an external name")],
        );
    }
    assert_parse_fails(
        &service(
            "web",
            "type: ExternalName, externalName: a.com, clusterIP: None, externalTrafficPolicy: \
             Local, ports: [{port: 80, nodePort: 30080}]",
        ),
        &[
            "a service of the type ExternalName has no addresses",
            "`externalTrafficPolicy` is for services with addresses outside the cluster",
            "`nodePort` cannot be used with the type ExternalName",
        ],
    );
    assert_parse_fails(
        &service("web", "externalName: a.com, ports: [{port: 80}]"),
        &["`externalName` means nothing with the type ClusterIP"],
    );
}

#[test]
fn nothing_is_redirected_from_an_external_name() {
    let web = service("web", "type: ExternalName, externalName: www.example.com");
    let policy = "---\n{apiVersion: cilium.io/v2, kind: CiliumLocalRedirectPolicy, metadata: {name: \
                  web}, spec: {redirectFrontend: {serviceMatcher: {serviceName: web, namespace: \
                  default}}, redirectBackend: {localEndpointSelector: {matchLabels: {app: web}}, \
                  toPorts: [{port: \"80\", protocol: TCP}]}}}\n";
    let text = compute_faults(&[&format!("{web}{policy}")]);
    let message =
        "Service `default/web` is of the type ExternalName and has no address to redirect";
    assert_messages(&text, &[message]);
    assert!(text.contains("lab.yaml:3:"), "got:\n{text}");
}
