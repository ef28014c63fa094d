//! What only shows once all objects are seen together with the lab, word for word.

use super::compute_faults;
use crate::{CURL_POD, webpod};

#[track_caller]
fn assert_compute_says(manifests: &[&str], expected: &str) {
    let faults = compute_faults(manifests);
    assert_eq!(faults, expected, "got:\n{faults}");
}

#[test]
fn nodes_that_are_not_there_or_run_no_pods() {
    assert_compute_says(
        &[
            &CURL_POD.replace("nodeName: k8s-ctr", "nodeName: k8s-ctl"),
            &CURL_POD
                .replace("nodeName: k8s-ctr", "nodeName: router")
                .replace("curl-pod", "other"),
        ],
        "\
error: node `router` has the role router and runs no pods
 --> lab.yaml:8:13
  |
8 |   nodeName: router
  |             ^^^^^^
  |
  = help: pods run on k8s-ctr, k8s-w1, k8s-w2

error: there is no node `k8s-ctl` in lab study
 --> lab.yaml:8:13
  |
8 |   nodeName: k8s-ctl
  |             ^^^^^^^
  |
  = help: did you mean `k8s-ctr`?
",
    );
}

#[test]
fn objects_defined_twice() {
    assert_compute_says(
        &[&format!("{CURL_POD}---\n{CURL_POD}")],
        "\
error: Pod `default/curl-pod` is defined twice
  --> lab.yaml:19:9
   |
 4 |   name: curl-pod
   |         -------- first defined here
...
19 |   name: curl-pod
   |         ^^^^^^^^
",
    );
}

#[test]
fn more_replicas_than_addresses() {
    assert_compute_says(
        &[&webpod(2_000_000_000)],
        "\
error: 2000000000 replicas are too many: there are 759 pod addresses
 --> lab.yaml:6:13
  |
6 |   replicas: 2000000000
  |             ^^^^^^^^^^ in the podCIDRs of 3 nodes
",
    );
}

#[test]
fn a_full_range_names_the_pod_cidr_and_the_pod() {
    let bound = webpod(254).replace("      affinity:", "      nodeName: k8s-w1\n      affinity:");
    assert_compute_says(
        &[&bound],
        "\
error: 254 replicas are too many: there are 253 pod addresses
 --> lab.yaml:6:13
  |
6 |   replicas: 254
  |             ^^^ on node k8s-w1, in its podCIDR
",
    );
    let one_too_many = CURL_POD.replace("k8s-ctr", "k8s-w1");
    assert_compute_says(&[&bound.replace("254", "253"), &one_too_many], "\
error: range is full: podCIDR 10.244.1.0/24 has 254 usable addresses and none is left for default/webpod-755fc89bbf-n4xg9
 --> lab.yaml:6:13
  |
6 |   replicas: 253
  |             ^^^
");
}

#[test]
fn pods_that_keep_each_other_away() {
    assert_compute_says(
        &[&webpod(4).replace("sample-app", "webpod")],
        "\
error: every node runs a pod that podAntiAffinity keeps default/webpod-67b86b988c-jsbmr away from
 --> lab.yaml:6:13
  |
6 |   replicas: 4
  |             ^
",
    );
}

#[test]
fn more_pods_than_the_whole_cluster_has_addresses() {
    let other = webpod(400).replace("webpod", "other");
    assert_compute_says(&[&webpod(400), &other], "\
error: range is full: no node has a pod address or endpoint id left for default/webpod-6649597696-79fhb
 --> lab.yaml:6:13
  |
6 |   replicas: 400
  |             ^^^
");
}
