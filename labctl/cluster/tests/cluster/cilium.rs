//! Cilium's own objects: local redirects, pools of LoadBalancer addresses, and who
//! announces them; and DaemonSets, which redirects need.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use lab_cluster::{Allocations, Cluster};
use lab_model::lab::Lab;
use lab_model::node_state::Protocol;

use crate::faults::{assert_messages, assert_parse_fails, compute_faults};
use crate::{cluster, objects, study_lab};

const DNS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-local-dns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: node-local-dns}}
  template:
    metadata: {labels: {k8s-app: node-local-dns}}
    spec:
      containers:
      - {name: cache, image: nginx}
";

/// The policy of the study's notes.
const POLICY: &str = "\
apiVersion: cilium.io/v2
kind: CiliumLocalRedirectPolicy
metadata: {name: nodelocaldns, namespace: kube-system}
spec:
  redirectFrontend:
    serviceMatcher: {serviceName: kube-dns, namespace: kube-system}
  redirectBackend:
    localEndpointSelector: {matchLabels: {k8s-app: node-local-dns}}
    toPorts:
    - {port: \"53\", name: dns, protocol: UDP}
    - {port: \"53\", name: dns-tcp, protocol: TCP}
";

fn with(values: &str) -> Lab {
    let mut lab = study_lab();
    lab.values = serde_json::from_str(values).unwrap();
    lab
}

fn computed(values: &str, manifests: &[&str]) -> Cluster {
    cluster(&with(values), &objects(manifests), &Allocations::default())
}

const REDIRECTS: &str = r#"{"localRedirectPolicies": {"enabled": true}}"#;
const ANNOUNCES: &str = r#"{"l2announcements": {"enabled": true}}"#;

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_stays() {
    let before = computed("{}", &[DNS]);
    let nodes: Vec<&str> = before.pods.iter().map(|pod| pod.node.as_str()).collect();
    let distinct: BTreeSet<_> = nodes.iter().collect();
    assert_eq!((nodes.len(), distinct.len()), (3, 3));
    let mut lab = study_lab();
    lab.nodes.retain(|node| node.name != "k8s-w1");
    let after = cluster(&lab, &objects(&[DNS]), &before.allocations);
    assert_eq!(after.pods.len(), 2);
    assert!(after.pods.iter().all(|pod| before.pods.contains(pod)));
}

#[test]
fn a_redirected_service_has_the_backends_of_each_node_by_name_of_port() {
    let cluster = computed(REDIRECTS, &[DNS, POLICY]);
    for (node, state) in &cluster.node_states {
        let [redirect] = &state.redirects[..] else {
            panic!("one redirect: {:?}", state.redirects)
        };
        assert_eq!(redirect.key(), "kube-system/nodelocaldns");
        let ports: Vec<_> = redirect
            .frontends
            .iter()
            .map(|frontend| (frontend.port, frontend.protocol))
            .collect();
        assert_eq!(ports, [(53, Protocol::Udp), (53, Protocol::Tcp)]);
        for frontend in &redirect.frontends {
            assert_eq!(frontend.address, Ipv4Addr::new(10, 96, 0, 10));
            assert_eq!(frontend.service.as_deref(), Some("kube-system/kube-dns"));
            let [backend] = &frontend.backends[..] else {
                panic!("one backend: {:?}", frontend.backends)
            };
            assert_eq!((&backend.node, backend.port), (node, 53));
        }
    }
}

#[test]
fn without_the_value_nothing_is_redirected_or_announced() {
    let cluster = computed("{}", &[DNS, POLICY, POOL, BALANCED, ANNOUNCE]);
    let mut states = cluster.node_states.values();
    assert!(states.all(|state| state.redirects.is_empty() && state.announcements.is_empty()));
}

/// Bug 18 (#43080, #43454): the policy is there and no backend of this node is.
#[test]
fn a_node_without_a_backend_keeps_the_frontend_and_lists_none() {
    let elsewhere = DNS.replace(
        "    spec:\n      containers:",
        "    spec:\n      nodeName: k8s-w1\n      containers:",
    );
    assert_ne!(elsewhere, DNS);
    let cluster = computed(REDIRECTS, &[&elsewhere, POLICY]);
    let behind = |node: &str| {
        let redirect = &cluster.node_states[node].redirects[0];
        let backends = redirect
            .frontends
            .iter()
            .map(|frontend| frontend.backends.len());
        backends.collect::<Vec<_>>()
    };
    assert_eq!(
        (behind("k8s-w1"), behind("k8s-ctr")),
        (vec![1, 1], vec![0, 0])
    );
}

#[test]
fn backends_are_of_the_policys_namespace() {
    let other = DNS.replace(
        "name: node-local-dns, namespace: kube-system",
        "name: node-local-dns, namespace: default",
    );
    let cluster = computed(REDIRECTS, &[&other, POLICY]);
    let redirect = &cluster.node_states["k8s-ctr"].redirects[0];
    assert!(
        redirect
            .frontends
            .iter()
            .all(|frontend| frontend.backends.is_empty())
    );
}

#[test]
fn an_address_is_redirected_and_its_backends_may_be_skipped() {
    let policy = "\
apiVersion: cilium.io/v2
kind: CiliumLocalRedirectPolicy
metadata: {name: metadata, namespace: kube-system}
spec:
  skipRedirectFromBackend: true
  redirectFrontend:
    addressMatcher: {ip: 169.254.169.254, toPorts: [{port: \"80\", protocol: TCP}]}
  redirectBackend:
    localEndpointSelector: {matchLabels: {k8s-app: node-local-dns}}
    toPorts: [{port: \"8080\", protocol: TCP}]
";
    let cluster = computed(REDIRECTS, &[DNS, policy]);
    let redirect = &cluster.node_states["k8s-w2"].redirects[0];
    assert!(redirect.skip_redirect_from_backend);
    let [frontend] = &redirect.frontends[..] else {
        panic!("one frontend")
    };
    assert_eq!(frontend.service, None);
    assert_eq!((frontend.port, frontend.backends[0].port), (80, 8080));
}

#[test]
fn policies_that_cilium_refuses() {
    assert_parse_fails(
        &POLICY
            .replace(
                "kube-dns, namespace: kube-system",
                "kube-dns, namespace: default",
            )
            .replace(
                "{port: \"53\", name: dns, protocol: UDP}",
                "{port: \"0\", protocol: UDP}",
            ),
        &[
            "the service's namespace `default` is not the policy's, `kube-system`",
            "of several ports, each needs a name",
            "`0` is no port from 1 to 65535",
        ],
    );
    assert_parse_fails(
        &POLICY.replace(
            "    serviceMatcher: {serviceName: kube-dns, namespace: kube-system}\n",
            "    {}\n",
        ),
        &["a policy has either a `serviceMatcher` or an `addressMatcher`"],
    );
}

const POOL: &str = "\
apiVersion: cilium.io/v2alpha1
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec:
  allowFirstLastIPs: \"No\"
  blocks:
  - {cidr: 192.168.10.248/30}
---
";

const BALANCED: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: web}}
spec: {type: LoadBalancer, ports: [{port: 80}]}
---
";

const ANNOUNCE: &str = "\
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: all}
spec:
  loadBalancerIPs: true
  interfaces: ['^eth1$']
  nodeSelector:
    matchExpressions:
    - {key: node-role.kubernetes.io/control-plane, operator: DoesNotExist}
---
";

#[test]
fn a_load_balancer_gets_an_address_of_a_pool_and_keeps_it() {
    let before = computed("{}", &[POOL, BALANCED]);
    let [address] = before.services[0].load_balancer_ips[..] else {
        panic!("one address")
    };
    assert!(
        [249, 250].contains(&address.octets()[3]),
        "{address} is first or last"
    );
    // One that comes first by name; and a third, for which nothing is left.
    let a = BALANCED.replace("name: web,", "name: a,");
    let z = BALANCED.replace("name: web,", "name: z,");
    let after = cluster(
        &study_lab(),
        &objects(&[POOL, BALANCED, &a, &z]),
        &before.allocations,
    );
    let given: Vec<_> = after
        .services
        .iter()
        .map(|it| &it.load_balancer_ips[..])
        .collect();
    assert_eq!(given[1], [address]);
    assert_eq!(
        (given[0].len(), given[2].len()),
        (1, 0),
        "pending, as in Cilium"
    );
    assert_ne!(given[0], given[1]);
}

#[test]
fn addresses_asked_for_must_be_in_a_pool_and_free() {
    let asks = |name: &str, ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  annotations: \
             {{lbipam.cilium.io/ips: \"{ip}\"}}\nspec: {{type: LoadBalancer, ports: [{{port: \
             80}}]}}\n---\n"
        )
    };
    let cluster = computed("{}", &[POOL, &asks("web", "192.168.10.250")]);
    assert_eq!(
        cluster.services[0].load_balancer_ips,
        [Ipv4Addr::new(192, 168, 10, 250)]
    );
    let manifests = [
        POOL.to_owned(),
        asks("a", "192.168.10.250"),
        asks("b", "192.168.10.250"),
        asks("c", "192.168.10.251"),
    ]
    .concat();
    assert_messages(
        &compute_faults(&[&manifests]),
        &[
            "another service asks for 192.168.10.250 too",
            "no CiliumLoadBalancerIPPool for this service has 192.168.10.251",
        ],
    );
}

#[test]
fn a_pool_is_for_the_services_that_it_selects() {
    let selecting = POOL.replace(
        "  blocks:",
        "  serviceSelector: {matchLabels: {io.kubernetes.service.name: web}}\n  blocks:",
    );
    let a = BALANCED.replace("name: web,", "name: a,");
    let services = computed("{}", &[&selecting, BALANCED, &a]).services;
    let counts: Vec<usize> = services
        .iter()
        .map(|it| it.load_balancer_ips.len())
        .collect();
    assert_eq!(counts, [0, 1]);
}

#[test]
fn pools_that_overlap_or_are_none() {
    let other = POOL.replace("name: pool", "name: other");
    assert_messages(
        &compute_faults(&[&format!("{POOL}{other}")]),
        &["the block shares addresses with CiliumLoadBalancerIPPool `other`"],
    );
    assert_parse_fails(
        &POOL.replace(
            "cidr: 192.168.10.248/30",
            "start: 192.168.10.9, stop: 192.168.10.3",
        ),
        &["the block ends at 192.168.10.3, before it starts"],
    );
    assert_parse_fails(
        &POOL.replace(
            "metadata: {name: pool}",
            "metadata: {name: pool, namespace: default}",
        ),
        &["a CiliumLoadBalancerIPPool belongs to no namespace"],
    );
}

#[test]
fn workers_announce_in_an_order_that_all_nodes_know() {
    let cluster = computed(ANNOUNCES, &[POOL, BALANCED, ANNOUNCE]);
    let first = &cluster.node_states["k8s-ctr"].announcements;
    assert!(
        cluster
            .node_states
            .values()
            .all(|state| state.announcements == *first)
    );
    let [announcement] = &first[..] else {
        panic!("one announcement: {first:?}")
    };
    assert_eq!(announcement.service, "default/web");
    assert_eq!(
        announcement.address,
        cluster.services[0].load_balancer_ips[0]
    );
    assert_eq!(announcement.interfaces, ["eth1"]);
    let mut candidates = announcement.candidates.clone();
    candidates.sort();
    assert_eq!(candidates, ["k8s-w1", "k8s-w2"]);
    let leaders: BTreeSet<String> = (0..40)
        .map(|n| {
            let service = BALANCED.replace("name: web,", &format!("name: web{n},"));
            let wide = POOL.replace("248/30", "0/24");
            let cluster = computed(ANNOUNCES, &[&wide, &service, ANNOUNCE]);
            cluster.node_states["k8s-w1"].announcements[0].candidates[0].clone()
        })
        .collect();
    assert_eq!(leaders.len(), 2, "services spread over the nodes");
}

#[test]
fn an_interface_that_is_no_regular_expression() {
    assert_parse_fails(
        &ANNOUNCE.replace("^eth1$", "eth["),
        &["`eth[` is no regular expression: regex parse error:"],
    );
}
