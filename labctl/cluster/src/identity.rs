//! Security identities: which labels of a pod make its identity, and the number
//! that a set of them has.

use std::collections::{BTreeMap, BTreeSet};

use crate::stable_hash::{hash64, probe};

/// Identities below this one are reserved (host, world, remote-node, …): Cilium's
/// `MinimalAllocationIdentity`.
pub const MIN_IDENTITY: u32 = 256;
/// The last one of a cluster with id 0: Cilium's `MaximumAllocationIdentity`.
pub const MAX_IDENTITY: u32 = 65_535;

/// Pod labels whose keys begin so make no difference to the identity: the
/// default list of Cilium's `pkg/labelsfilter`. Its inclusive patterns are
/// covered by [`security_labels`] or begin with none of these.
const IRRELEVANT_PREFIXES: [&str; 12] = [
    // Cilium's own namespace; `pkg/k8s/utils` drops such pod labels.
    "io.cilium.k8s",
    "io.kubernetes",
    "kubernetes.io",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "k8s.io",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "annotation",
    "etcd_node",
];

/// The labels that make a pod's identity, as `k8s:key=value`, sorted, in the
/// words of `cilium-dbg endpoint list`.
#[must_use]
pub fn security_labels(
    namespace: &str,
    service_account: &str,
    labels: &BTreeMap<String, String>,
) -> Vec<String> {
    let derived = [
        (
            "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
            namespace,
        ),
        ("io.cilium.k8s.policy.cluster", "default"),
        ("io.cilium.k8s.policy.serviceaccount", service_account),
        ("io.kubernetes.pod.namespace", namespace),
    ];
    let own = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let relevant = own.filter(|(key, _)| {
        !key.contains("beta.kubernetes.io")
            && !IRRELEVANT_PREFIXES
                .iter()
                .any(|prefix| key.starts_with(prefix))
    });
    let mut all: Vec<String> = relevant
        .chain(derived)
        .map(|(key, value)| format!("k8s:{key}={value}"))
        .collect();
    all.sort();
    all
}

/// A number for each label set. A set keeps its previous one; new sets get the
/// one that belongs to them by hash, or the next free. `None` once all 65280
/// are taken.
#[must_use]
pub fn identities(
    label_sets: &BTreeSet<Vec<String>>,
    previous: &BTreeMap<String, u32>,
) -> Option<BTreeMap<String, u32>> {
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    let mut new = Vec::new();
    for key in label_sets.iter().map(|labels| key(labels)) {
        match previous.get(&key) {
            Some(&number)
                if (MIN_IDENTITY..=MAX_IDENTITY).contains(&number) && taken.insert(number) =>
            {
                numbers.insert(key, number);
            }
            _ => new.push(key),
        }
    }
    for key in new {
        let hash = hash64("identity", &[&key]);
        let slot = probe(hash, MAX_IDENTITY - MIN_IDENTITY + 1, |slot| {
            !taken.contains(&(MIN_IDENTITY + slot))
        })?;
        taken.insert(MIN_IDENTITY + slot);
        numbers.insert(key, MIN_IDENTITY + slot);
    }
    Some(numbers)
}

/// The name of a label set among [`identities`]. Labels contain no semicolon.
#[must_use]
pub fn key(labels: &[String]) -> String {
    labels.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_study_labs_webpod_has_the_originals_labels() {
        let own = labels(&[("app", "webpod"), ("pod-template-hash", "697b545f57")]);
        assert_eq!(
            security_labels("default", "default", &own),
            [
                "k8s:app=webpod",
                "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default",
                "k8s:io.cilium.k8s.policy.cluster=default",
                "k8s:io.cilium.k8s.policy.serviceaccount=default",
                "k8s:io.kubernetes.pod.namespace=default",
            ]
        );
    }

    #[test]
    fn labels_about_the_application_count_and_labels_of_kubernetes_do_not() {
        let own = labels(&[
            ("app.kubernetes.io/name", "web"),
            ("kubernetes.io/arch", "amd64"),
            ("node.beta.kubernetes.io/x", "y"),
            ("io.cilium.k8s.policy.cluster", "forged"),
        ]);
        let security = security_labels("default", "default", &own);
        assert!(security.contains(&"k8s:app.kubernetes.io/name=web".to_owned()));
        assert_eq!(security.len(), 5);
        assert!(!security.iter().any(|label| label.contains("forged")));
    }

    #[test]
    fn an_identity_is_kept_even_where_its_hash_would_give_another() {
        let set = vec!["k8s:app=webpod".to_owned()];
        let sets = BTreeSet::from([set.clone()]);
        let previous = BTreeMap::from([(key(&set), 12_497)]);
        assert_eq!(identities(&sets, &previous).unwrap()[&key(&set)], 12_497);
    }

    #[test]
    fn a_reserved_number_is_not_kept() {
        let set = vec!["k8s:app=webpod".to_owned()];
        let sets = BTreeSet::from([set.clone()]);
        let previous = BTreeMap::from([(key(&set), 2)]);
        assert!(identities(&sets, &previous).unwrap()[&key(&set)] >= MIN_IDENTITY);
    }
}
