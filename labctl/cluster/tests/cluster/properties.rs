//! What holds for every lab and every set of objects.

use std::collections::{BTreeMap, BTreeSet};

use lab_cluster::{Allocations, Cluster, Object, compute, parse};
use lab_model::lab::{Lab, Role};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::{lab, objects, webpod};

const NODES: [&str; 6] = ["ctr", "w1", "w2", "w3", "w4", "w5"];

fn some_lab() -> impl Strategy<Value = Lab> {
    subsequence(NODES.to_vec(), 1..=NODES.len()).prop_map(|names| {
        let nodes: Vec<_> = (10..)
            .zip(names)
            .map(|(last, name)| (name, Role::Worker, Some(last)))
            .collect();
        lab(&nodes)
    })
}

/// Deployments by number with their replicas, and bare pods by number.
fn some_objects() -> impl Strategy<Value = Vec<Object>> {
    let deployments = prop::collection::btree_map(0_u8..6, 0_u32..9, 0..5);
    let pods = prop::collection::btree_set(0_u8..12, 0..8);
    (deployments, pods).prop_map(|(deployments, pods)| {
        let deployments = deployments
            .into_iter()
            .map(|(n, replicas)| webpod(replicas).replace("webpod", &format!("d{n}")));
        let pods = pods.into_iter().map(|n| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: p{n}}}, spec: {{containers: \
                 [{{name: c, image: nginx}}]}}}}"
            )
        });
        let texts: Vec<String> = deployments.chain(pods).collect();
        objects(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

fn ok(lab: &Lab, objects: &[Object], previous: &Allocations) -> Cluster {
    compute(lab, objects, previous).unwrap_or_else(|faults| panic!("{faults}"))
}

fn assert_sound(cluster: &Cluster) {
    let mut addresses = BTreeSet::new();
    for state in cluster.node_states.values() {
        assert!(addresses.insert(state.node.cilium_host));
        assert!(
            state
                .node
                .pod_cidr
                .hosts()
                .any(|host| host == state.node.cilium_host)
        );
        let endpoint_ids: BTreeSet<_> = state.pods.iter().map(|pod| pod.endpoint_id).collect();
        assert_eq!(endpoint_ids.len(), state.pods.len());
        for pod in &state.pods {
            assert!(
                addresses.insert(pod.address),
                "{} is given out twice",
                pod.address
            );
            assert!(state.node.pod_cidr.hosts().any(|host| host == pod.address));
            assert!(pod.endpoint_id > 0 && (256..=65_535).contains(&pod.identity));
        }
    }
    let by_labels: BTreeMap<_, _> = cluster
        .node_states
        .values()
        .flat_map(|state| &state.pods)
        .map(|pod| (&pod.labels, pod.identity))
        .collect();
    let identities: BTreeSet<_> = by_labels.values().collect();
    assert_eq!(identities.len(), by_labels.len());
}

/// Nothing that is in both has changed.
fn assert_nothing_moved(before: &Cluster, after: &Cluster) {
    let still_there = |node: &str| after.allocations.nodes.contains_key(node);
    for (node, given) in &before.allocations.nodes {
        assert!(
            after
                .allocations
                .nodes
                .get(node)
                .is_none_or(|now| now == given)
        );
    }
    for (key, given) in before
        .allocations
        .pods
        .iter()
        .filter(|(_, pod)| still_there(&pod.node))
    {
        assert!(
            after
                .allocations
                .pods
                .get(key)
                .is_none_or(|now| now == given),
            "{key} moved"
        );
    }
    for (labels, number) in &before.allocations.identities {
        assert!(
            after
                .allocations
                .identities
                .get(labels)
                .is_none_or(|now| now == number)
        );
    }
}

proptest! {
    #[test]
    fn addresses_are_unique_and_inside_the_pod_cidr(lab in some_lab(), objects in some_objects()) {
        assert_sound(&ok(&lab, &objects, &Allocations::default()));
    }

    #[test]
    fn the_order_of_manifests_does_not_matter(
        lab in some_lab(),
        (objects, shuffled) in some_objects().prop_flat_map(|objects| {
            (Just(objects.clone()), Just(objects).prop_shuffle())
        }),
    ) {
        let nothing = Allocations::default();
        prop_assert_eq!(ok(&lab, &objects, &nothing), ok(&lab, &shuffled, &nothing));
    }

    #[test]
    fn a_second_computation_changes_nothing(lab in some_lab(), objects in some_objects()) {
        let first = ok(&lab, &objects, &Allocations::default());
        prop_assert_eq!(&ok(&lab, &objects, &first.allocations), &first);
    }

    #[test]
    fn a_change_of_objects_or_nodes_moves_nothing_else(
        labs in (some_lab(), some_lab()),
        objects in (some_objects(), some_objects()),
    ) {
        let before = ok(&labs.0, &objects.0, &Allocations::default());
        let after = ok(&labs.1, &objects.1, &before.allocations);
        assert_sound(&after);
        assert_nothing_moved(&before, &after);
    }

    #[test]
    fn a_deployment_spreads_evenly(lab in some_lab(), replicas in 0_u32..40) {
        let cluster = ok(&lab, &objects(&[&webpod(replicas)]), &Allocations::default());
        let counts: Vec<usize> =
            cluster.node_states.values().map(|state| state.pods.len()).collect();
        let least = counts.iter().min().copied().unwrap_or_default();
        prop_assert!(counts.iter().all(|&count| count <= least + 1), "{:?}", counts);
    }

    #[test]
    fn parsing_never_panics(text in "[-a-zA-Z:{}\\[\\] \n&*!|>'\"#0-9,./]{0,200}") {
        drop(parse("lab.yaml", &text));
    }

    #[test]
    fn a_damaged_manifest_never_panics(position in 0_usize..600, with in "[^\u{0}]{0,3}") {
        let mut text = webpod(2);
        let start = position.min(text.len());
        text.replace_range(start..(start + 1).min(text.len()), &with);
        if let Ok(objects) = parse("lab.yaml", &text) {
            drop(compute(&lab(&[("w1", Role::Worker, Some(1))]), &objects, &Allocations::default()));
        }
    }
}
