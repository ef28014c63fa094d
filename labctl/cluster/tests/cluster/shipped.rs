//! Every lab that ships computes, and the study lab's pods are where its checks
//! expect them.

use std::fs;
use std::path::{Path, PathBuf};

use lab_cluster::{Allocations, Cluster, dns_objects, parse};
use lab_model::lab::Lab;

use crate::cluster;

fn labs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../labs")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cluster of a lab file, or nothing where the file is a manifest.
fn computed(path: &Path) -> Option<(Lab, Cluster)> {
    let text = read(path);
    if text.lines().any(|line| line.starts_with("kind:")) {
        return None;
    }
    let lab = lab_model::lab_file::parse("lab.yaml", &text, &labs())
        .unwrap_or_else(|faults| panic!("{faults}"));
    let mut objects = dns_objects(&lab).unwrap_or_else(|faults| panic!("{faults}"));
    for manifest in &lab.manifests {
        let name = manifest.display().to_string();
        objects.extend(parse(&name, &read(manifest)).unwrap_or_else(|faults| panic!("{faults}")));
    }
    let cluster = cluster(&lab, &objects, &Allocations::default());
    Some((lab, cluster))
}

#[test]
fn every_lab_computes() {
    let files = fs::read_dir(labs())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    let computed: Vec<_> = yaml.filter_map(|path| computed(&path)).collect();
    assert!(!computed.is_empty());
    for (lab, cluster) in computed {
        assert_eq!(cluster.node_states.len(), lab.cluster_nodes().count());
    }
}

#[test]
fn the_study_lab_has_a_webpod_on_every_node_and_curl_pod_beside_one() {
    let (_, cluster) = computed(&labs().join("study.yaml")).unwrap();
    for (node, state) in &cluster.node_states {
        let count = |start| {
            state
                .pods
                .iter()
                .filter(|pod| pod.name.starts_with(start))
                .count()
        };
        assert_eq!(count("webpod-"), 1, "on {node}");
        assert_eq!(
            count("curl-pod"),
            usize::from(node == "k8s-ctr"),
            "on {node}"
        );
    }
}
