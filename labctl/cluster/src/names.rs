//! Names and labels: what Kubernetes accepts, and the names that a Deployment's
//! pods get.

use std::collections::BTreeSet;

use crate::stable_hash::hash64;

/// Kubernetes' alphabet for generated names: no vowels and no digits that look
/// like them, so that no word comes out
/// (`k8s.io/apimachinery/pkg/util/rand`).
const SAFE_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Longest generated name before the five random characters
/// (`k8s.io/apiserver/pkg/storage/names`).
const MAX_GENERATED_BASE: usize = 63 - SUFFIX_LENGTH;
const SUFFIX_LENGTH: usize = 5;

/// Longest pod name that is also a host name: Linux allows 64 bytes, Kubernetes 63.
pub(crate) const MAX_HOST_NAME: usize = 63;

/// Whether `name` is an RFC 1123 label: lower case letters, digits and hyphens,
/// at most 63, an alphanumeric at each end.
pub(crate) fn is_dns1123_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `name` is an RFC 1123 subdomain: labels separated by dots, at most
/// 253 bytes. That a label may be at most 63 long is not asked, as in Kubernetes.
pub(crate) fn is_dns1123_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether `name` can be the name of a port of a container, which services refer
/// to: at most 15 lower case letters, digits and hyphens, at least one of them a
/// letter (IANA's service names, RFC 6335).
pub(crate) fn is_port_name(name: &str) -> bool {
    is_dns1123_label(name)
        && name.len() <= 15
        && !name.contains("--")
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether `key` can be a label's key: `[prefix/]name`.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_dns1123_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `value` can be a label's value: at most 63 letters, digits, `-`, `_`
/// and `.`, an alphanumeric at each end; or empty.
pub(crate) fn is_label_value(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(inner)
        && end(value.chars().next())
        && end(value.chars().next_back())
}

/// The value of `pod-template-hash` for a template written out canonically: a
/// 32-bit number whose decimal digits are spelt in the safe alphabet, as
/// Kubernetes does. The number itself differs from Kubernetes', which hashes a
/// dump of its Go structures.
pub(crate) fn template_hash(canonical_template: &str) -> String {
    let number = hash64("pod-template", &[canonical_template]) >> 32;
    let digits = number.to_string();
    digits
        .bytes()
        .map(|digit| char::from(SAFE_ALPHABET[usize::from(digit) % 27]))
        .collect()
}

/// Names of a Deployment's pods, oldest first: `NAME-HASH-xxxxx`. More replicas
/// add names at the end; fewer take them off the end.
pub(crate) fn pod_names(
    namespace: &str,
    deployment: &str,
    hash: &str,
    replicas: u32,
) -> Vec<String> {
    // Cut by bytes: a Deployment's name is ASCII once it has been accepted.
    let base: String = format!("{deployment}-{hash}-")
        .chars()
        .take(MAX_GENERATED_BASE)
        .collect();
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for index in 0..replicas {
        let name = (0u32..)
            .map(|attempt| {
                let parts = [
                    namespace,
                    deployment,
                    hash,
                    &index.to_string(),
                    &attempt.to_string(),
                ];
                format!("{base}{}", suffix(hash64("pod-name", &parts)))
            })
            .find(|name| !seen.contains(name))
            .expect("27^5 suffixes outnumber the addresses of the cluster's range");
        seen.insert(name.clone());
        names.push(name);
    }
    names
}

/// The name of a `DaemonSet`'s pod on a node: `NAME-xxxxx`.
pub(crate) fn daemon_pod_name(namespace: &str, daemon_set: &str, node: &str) -> String {
    // Cut by bytes: a DaemonSet's name is ASCII once it has been accepted.
    let base: String = daemon_set.chars().take(MAX_GENERATED_BASE - 1).collect();
    let hash = hash64("pod-name", &[namespace, daemon_set, node]);
    format!("{base}-{}", suffix(hash))
}

fn suffix(mut hash: u64) -> String {
    (0..SUFFIX_LENGTH)
        .map(|_| {
            let letter = SAFE_ALPHABET[usize::try_from(hash % 27).expect("below 27")];
            hash /= 27;
            char::from(letter)
        })
        .collect()
}

/// The node-side interface of a pod: `lxc` and twelve hex digits, which fill the
/// 15 bytes of an interface name.
pub(crate) fn lxc_interface(pod_key: &str) -> String {
    format!("lxc{:012x}", hash64("lxc", &[pod_key]) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names() {
        for good in ["a", "curl-pod", "0", "a.b-c.d"] {
            assert!(is_dns1123_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a b", "é"] {
            assert!(!is_dns1123_subdomain(bad), "{bad}");
        }
        assert!(is_dns1123_label(&"a".repeat(63)));
        assert!(!is_dns1123_label(&"a".repeat(64)));
        assert!(!is_dns1123_label("a.b"));
    }

    #[test]
    fn labels() {
        for good in ["app", "app.kubernetes.io/name", "A_b.c", "x/y"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "a b", "B/c", &"k".repeat(64)] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value("v1.2_x"));
        assert!(!is_label_value("v;1") && !is_label_value("_v"));
    }

    #[test]
    fn a_template_hash_is_spelt_as_kubernetes_spells_it() {
        let hash = template_hash("{}");
        assert!((8..=10).contains(&hash.len()), "{hash}");
        assert!(hash.chars().all(|c| "456789bcdf".contains(c)), "{hash}");
    }

    #[test]
    fn scaling_keeps_the_oldest_names() {
        let three = pod_names("default", "webpod", "697b545f57", 3);
        let five = pod_names("default", "webpod", "697b545f57", 5);
        assert_eq!(three, five[..3]);
        assert!(five[0].starts_with("webpod-697b545f57-"));
        assert_eq!(five[0].len(), "webpod-697b545f57-bpzn9".len());
    }

    #[test]
    fn names_of_many_replicas_differ_and_fit_a_host_name() {
        let names = pod_names("default", &"d".repeat(253), "697b545f57", 4000);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 4000);
        assert!(names.iter().all(|name| name.len() == MAX_HOST_NAME));
    }

    #[test]
    fn an_lxc_name_is_as_long_as_an_interface_name_may_be() {
        assert_eq!(lxc_interface("default/curl-pod").len(), 15);
    }
}
