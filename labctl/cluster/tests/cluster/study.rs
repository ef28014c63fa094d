//! The study lab, as its notes show it.

use std::collections::{BTreeMap, BTreeSet};

use lab_cluster::{Allocations, Cluster};
use lab_model::node_state::{NODE_STATE_VERSION, Workload};

use crate::{CURL_POD, cluster, objects, study_lab, webpod};

fn study(replicas: u32, previous: &Allocations) -> Cluster {
    cluster(
        &study_lab(),
        &objects(&[&webpod(replicas), CURL_POD]),
        previous,
    )
}

fn nodes_of<'a>(cluster: &'a Cluster, owner: &str) -> Vec<&'a str> {
    let pods = cluster
        .pods
        .iter()
        .filter(|pod| pod.owner.as_deref() == Some(owner));
    let mut nodes: Vec<&str> = pods.map(|pod| pod.node.as_str()).collect();
    nodes.sort_unstable();
    nodes
}

#[test]
fn pod_cidrs_follow_the_order_of_the_lab_file() {
    let study = study(3, &Allocations::default());
    let cidrs: Vec<String> = study
        .node_states
        .values()
        .map(|state| state.node.pod_cidr.to_string())
        .collect();
    assert_eq!(cidrs, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]);
}

#[test]
fn curl_pod_runs_where_it_is_bound_and_webpod_spreads() {
    let three = study(3, &Allocations::default());
    let curl = three
        .pods
        .iter()
        .find(|pod| pod.name == "curl-pod")
        .unwrap();
    assert_eq!(
        (curl.node.as_str(), curl.owner.as_deref()),
        ("k8s-ctr", None)
    );
    assert_eq!(nodes_of(&three, "webpod"), ["k8s-ctr", "k8s-w1", "k8s-w2"]);
    // With fewer pods than nodes, those that run least come first.
    assert_eq!(
        nodes_of(&study(2, &Allocations::default()), "webpod"),
        ["k8s-w1", "k8s-w2"]
    );
}

#[test]
fn every_node_knows_its_peers_and_its_pods_only() {
    let study = study(3, &Allocations::default());
    let state = &study.node_states["k8s-w1"];
    assert_eq!(state.version, NODE_STATE_VERSION);
    let peers: Vec<&str> = state.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(peers, ["k8s-ctr", "k8s-w2"]);
    assert_eq!(
        state.peers[0].cilium_host,
        study.node_states["k8s-ctr"].node.cilium_host
    );
    assert!(study.node_states["k8s-ctr"].node.control_plane && !state.node.control_plane);
    assert_eq!(state.pods.len(), 1);
    assert_eq!(state.pods[0].workload, Workload::Whoami { port: 80 });
    assert_eq!(
        study.node_states.len(),
        3,
        "router and world are no cluster nodes"
    );
}

#[test]
fn pods_of_one_deployment_share_an_identity_and_are_named_like_kubernetes_names_them() {
    let study = study(3, &Allocations::default());
    let all: Vec<_> = study
        .node_states
        .values()
        .flat_map(|state| &state.pods)
        .collect();
    let webpods: Vec<_> = all
        .iter()
        .filter(|pod| pod.name.starts_with("webpod-"))
        .collect();
    let identities: BTreeSet<u32> = webpods.iter().map(|pod| pod.identity).collect();
    assert_eq!(identities.len(), 1);
    let curl = all.iter().find(|pod| pod.name == "curl-pod").unwrap();
    assert!(!identities.contains(&curl.identity) && curl.identity >= 256);
    for pod in webpods {
        let (hash, suffix) = pod
            .name
            .strip_prefix("webpod-")
            .and_then(|rest| rest.split_once('-'))
            .unwrap();
        assert!(
            (8..=10).contains(&hash.len()) && suffix.len() == 5,
            "{}",
            pod.name
        );
        assert!(
            !pod.labels
                .iter()
                .any(|label| label.contains("pod-template-hash"))
        );
    }
    let placed = study
        .pods
        .iter()
        .find(|pod| pod.name.starts_with("webpod-"))
        .unwrap();
    assert!(placed.name.contains(&placed.labels["pod-template-hash"]));
}

#[test]
fn pods_resolve_names_as_the_kubelet_sets_them_up() {
    let study = study(1, &Allocations::default());
    let dns = &study.node_states["k8s-w2"].dns;
    assert_eq!(dns.nameserver.to_string(), "10.96.0.10");
    assert_eq!(dns.search, ["svc.cluster.local", "cluster.local"]);
    assert_eq!(dns.ndots, 5);
}

#[test]
fn scaling_up_and_down_again_changes_only_the_newest_pods() {
    let two = study(2, &Allocations::default());
    let five = study(5, &two.allocations);
    let kept: BTreeMap<_, _> = five
        .allocations
        .pods
        .iter()
        .filter(|(key, _)| two.allocations.pods.contains_key(*key))
        .collect();
    assert_eq!(kept, two.allocations.pods.iter().collect());
    assert_eq!(study(2, &five.allocations), two);
}

#[test]
fn another_template_makes_new_pods() {
    let before = study(1, &Allocations::default());
    let changed = webpod(1).replace("app: webpod", "app: web");
    let after = cluster(&study_lab(), &objects(&[&changed]), &before.allocations);
    assert_ne!(before.pods[1].name, after.pods[0].name);
}

#[test]
fn a_node_that_leaves_takes_only_its_own_pods_along() {
    let before = study(3, &Allocations::default());
    let mut lab = study_lab();
    lab.nodes.retain(|node| node.name != "k8s-w1");
    let after = cluster(&lab, &objects(&[&webpod(3), CURL_POD]), &before.allocations);
    for (key, pod) in &before.allocations.pods {
        if pod.node == "k8s-w1" {
            assert_ne!(after.allocations.pods[key].node, "k8s-w1");
        } else {
            assert_eq!(after.allocations.pods[key], *pod);
        }
    }
    assert_eq!(
        after.allocations.nodes["k8s-w2"],
        before.allocations.nodes["k8s-w2"]
    );
}

#[test]
fn a_pod_bound_to_another_node_moves_there() {
    let before = study(1, &Allocations::default());
    let moved = CURL_POD.replace("nodeName: k8s-ctr", "nodeName: k8s-w2");
    let after = cluster(&study_lab(), &objects(&[&moved]), &before.allocations);
    assert_eq!(after.allocations.pods["default/curl-pod"].node, "k8s-w2");
}

#[test]
fn anti_affinity_to_its_own_labels_allows_one_pod_per_node() {
    let apart = webpod(3).replace("sample-app", "webpod");
    // Without it, the least busy nodes would come first and get two each.
    let busy = CURL_POD
        .replace("curl-pod", "busy")
        .replace("k8s-ctr", "k8s-w1");
    let cluster = cluster(
        &study_lab(),
        &objects(&[&busy, &apart, CURL_POD]),
        &Allocations::default(),
    );
    assert_eq!(
        nodes_of(&cluster, "webpod"),
        ["k8s-ctr", "k8s-w1", "k8s-w2"]
    );
}

#[test]
fn allocations_survive_the_state_file() {
    let allocations = study(3, &Allocations::default()).allocations;
    let text = serde_json::to_string(&allocations).unwrap();
    assert_eq!(
        serde_json::from_str::<Allocations>(&text).unwrap(),
        allocations
    );
}

#[test]
fn a_list_is_as_good_as_several_documents() {
    let indented: String = CURL_POD.lines().map(|line| format!("  {line}\n")).collect();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n-{}", &indented[1..]);
    let alone = cluster(&study_lab(), &objects(&[CURL_POD]), &Allocations::default());
    let listed = cluster(&study_lab(), &objects(&[&list]), &Allocations::default());
    assert_eq!(alone, listed);
}

#[test]
fn the_order_of_keys_in_a_template_makes_no_new_pods() {
    let written = "\
      containers:
      - name: webpod
        image: traefik/whoami
        ports:
        - containerPort: 80
";
    let reordered = "\
      containers:
      - ports:
        - containerPort: 80
        image: traefik/whoami
        name: webpod
";
    let manifest = webpod(2);
    assert!(manifest.contains(written));
    let names = |manifest: &str| {
        let cluster = cluster(&study_lab(), &objects(&[manifest]), &Allocations::default());
        cluster
            .pods
            .into_iter()
            .map(|pod| pod.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&manifest),
        names(&manifest.replace(written, reordered))
    );
}
