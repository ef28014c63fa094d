//! What follows from a pod's entry in the document. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lab_model::node_state::{NodeState, Pod};

use super::AgentError;
use crate::netlink::Mac;

/// `<namespace>_<pod>`: its folder and its cgroup. Neither part can have an
/// underscore (RFC 1123 labels).
pub(super) fn folder_name(namespace: &str, name: &str) -> String {
    format!("{namespace}_{name}")
}

/// The twelve hex digits of a pod's interface.
fn digits(interface: &str) -> Option<&str> {
    let digits = interface.strip_prefix("lxc")?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == 12 && digits.bytes().all(hex)).then_some(digits)
}

/// Where the pod's network namespace is mounted, as the kubelet's runtime would
/// have it: `cni-…`.
pub(super) fn netns_path(folder: &Path, pod: &Pod) -> PathBuf {
    folder.join(format!(
        "cni-{}",
        digits(&pod.interface).unwrap_or(&pod.interface)
    ))
}

/// Ethernet addresses of the pod's `eth0` and of its `lxc…`: the digits of the
/// interface's name, made locally administered and unicast, the last bit telling
/// the two apart. They are the same after every restart, so that the maps need
/// no look at the interfaces.
pub(crate) fn macs(pod: &Pod) -> (Mac, Mac) {
    let number = digits(&pod.interface).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let [_, _, bytes @ ..] = number.unwrap_or(0).to_be_bytes();
    let mut inside = bytes;
    inside[0] = inside[0] & 0xfc | 0x02;
    inside[5] &= 0xfe;
    let mut outside = inside;
    outside[5] |= 0x01;
    (Mac(inside), Mac(outside))
}

/// Whether the document's pods can stand side by side on one node.
pub(super) fn validate(state: &NodeState) -> Result<(), AgentError> {
    let fault =
        |pod: &Pod, what: String| Err(AgentError::Document(format!("{what} of pod {}", pod.key())));
    let (mut interfaces, mut addresses, mut keys) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let legal = |name: &str| {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(character)
    };
    for pod in &state.host_pods {
        if !legal(&pod.namespace) || !legal(&pod.name) || !keys.insert(pod.key()) {
            let what = "a name that is no RFC 1123 name, or another's, of pod";
            return Err(AgentError::Document(format!("{what} {}", pod.key())));
        }
    }
    for pod in &state.pods {
        if !legal(&pod.namespace) || !legal(&pod.name) {
            return fault(pod, "a name that is no RFC 1123 name".to_owned());
        }
        if digits(&pod.interface).is_none() {
            return fault(
                pod,
                format!(
                    "{:?} is no lxc and twelve hex digits, interface",
                    pod.interface
                ),
            );
        }
        if !state.node.pod_cidr.contains(&pod.address) || pod.address == state.node.cilium_host {
            let cidr = state.node.pod_cidr;
            return fault(
                pod,
                format!("{} is no free address of {cidr}, address", pod.address),
            );
        }
        // The last bit of a MAC address is not the name's.
        if !interfaces.insert(macs(pod).0) {
            return fault(pod, format!("another pod has {}, interface", pod.interface));
        }
        if !addresses.insert(pod.address) {
            return fault(pod, format!("another pod has {}, address", pod.address));
        }
        if !keys.insert(pod.key()) {
            return fault(pod, "there are two".to_owned());
        }
    }
    Ok(())
}

/// Whether `new` needs a new workload or interface, rather than new map entries.
pub(super) fn is_another(old: &Pod, new: &Pod) -> bool {
    (old.address, &old.interface, &old.workload) != (new.address, &new.interface, &new.workload)
        || (&old.hostname, &old.subdomain) != (&new.hostname, &new.subdomain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::document;

    #[track_caller]
    fn assert_refused(change: impl FnOnce(&mut NodeState), because: &str) {
        let mut state = document("k8s-ctr", 0);
        validate(&state).expect("legal before the change");
        change(&mut state);
        let error = validate(&state).expect_err("illegal after it").to_string();
        assert_eq!(error, format!("apply the node state: {because}"));
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        assert_refused(
            |state| state.pods[0].interface = "lxc../../etc/x".into(),
            "\"lxc../../etc/x\" is no lxc and twelve hex digits, interface of pod default/pod-a",
        );
        assert_refused(
            |state| state.pods[0].name = "../..".into(),
            "a name that is no RFC 1123 name of pod default/../..",
        );
        assert_refused(
            |state| state.pods[1].interface = state.pods[0].interface.clone(),
            "another pod has lxc0000000000a0, interface of pod default/pod-b",
        );
        assert_refused(
            |state| state.pods[1].address = state.pods[0].address,
            "another pod has 10.244.0.10, address of pod default/pod-b",
        );
        assert_refused(
            |state| state.pods[0].address = state.node.cilium_host,
            "10.244.0.1 is no free address of 10.244.0.0/24, address of pod default/pod-a",
        );
    }

    #[test]
    fn ethernet_addresses_are_local_unicast_and_differ() {
        let mut pod = document("k8s-ctr", 0).pods.remove(0);
        pod.interface = "lxcffffffffffff".into();
        let (inside, outside) = macs(&pod);
        assert_eq!(inside.to_string(), "fe:ff:ff:ff:ff:fe");
        assert_eq!(outside.to_string(), "fe:ff:ff:ff:ff:ff");
    }
}
