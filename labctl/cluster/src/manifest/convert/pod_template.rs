//! What a pod's `spec` says, whether of a Pod or of the template of many.

use std::collections::BTreeMap;

use lab_model::diagnostic::Diagnostics;
use lab_model::document::At;
use lab_model::node_state::DnsPolicy;

use super::super::kubernetes::{self, Affinity, Container, PodSpec};
use super::super::workload::{Image, image};
use super::metadata::{DNS1123_LABEL, LOWER_CASE, selector};
use super::protocol;
use super::volume::mounted_file;
use crate::names::{is_dns1123_label, is_dns1123_subdomain, is_port_name};
use crate::object::{NamedPort, PodTemplate};
use crate::selector::{Labels, Selector};

const OS_LABEL: &str = "kubernetes.io/os";
const HOST_NAME_LABEL: &str = "kubernetes.io/hostname";
/// The pod at `at`, whose `spec` this is; `None` when there is a fault in it.
pub(super) fn pod_template(
    labels: Labels,
    spec: &PodSpec,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<PodTemplate> {
    let spec_at = at.key("spec");
    let service_account = service_account(spec, &spec_at, faults);
    let anti_affinity = anti_affinity(spec.affinity.as_ref(), &spec_at.key("affinity"), faults);
    let containers_at = spec_at.key("containers");
    let container = container(&spec.containers, &containers_at, faults)?;
    let container_at = containers_at.index(0);
    let named_ports = named_ports(container, &container_at.key("ports"), faults);
    node_selector(spec, &spec_at.key("nodeSelector"), faults);
    host_names(spec, &spec_at, faults);
    let with_corefile = |image: Image| {
        let path = image.corefile.as_deref();
        let file = path.map(|path| mounted_file(spec, container, path, &spec_at, &container_at));
        Ok((image.workload, image.upstream_service, file.transpose()?))
    };
    let run = image(container, &container_at).and_then(with_corefile);
    let (workload, upstream_service, corefile) = run.map_err(|fault| faults.push(fault)).ok()?;
    Some(PodTemplate {
        labels,
        node_name: spec.node_name.clone(),
        hostname: spec.hostname.clone(),
        subdomain: spec.subdomain.clone(),
        service_account,
        anti_affinity,
        host_network: spec.host_network.unwrap_or(false),
        dns_policy: match spec.dns_policy {
            None | Some(kubernetes::DnsPolicy::ClusterFirst) => DnsPolicy::ClusterFirst,
            Some(kubernetes::DnsPolicy::Default) => DnsPolicy::Default,
        },
        workload,
        upstream_service,
        corefile,
        named_ports,
        canonical: canonical(at.to_json()).to_string(),
    })
}

fn service_account(spec: &PodSpec, at: &At<'_>, faults: &mut Diagnostics) -> String {
    let name = spec.service_account_name.as_deref().unwrap_or("default");
    if !is_dns1123_subdomain(name) {
        let message = format!("`{name}` cannot be the name of a service account");
        let fault = at.key("serviceAccountName").fault(message);
        faults.push(fault.with_help(LOWER_CASE));
    }
    name.to_owned()
}

/// The only container.
fn container<'a>(
    containers: &'a [Container],
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<&'a Container> {
    let [container] = containers else {
        faults.push(at.key_fault(match containers {
            [] => "a pod needs a container",
            _ => "pods of more than one container are not available yet",
        }));
        return None;
    };
    if !is_dns1123_label(&container.name) {
        let message = format!("`{}` cannot be the name of a container", container.name);
        let fault = at.index(0).key("name").fault(message);
        faults.push(fault.with_help(DNS1123_LABEL));
    }
    Some(container)
}

/// `hostname` and `subdomain`, each a label of the pod's full name.
fn host_names(spec: &PodSpec, at: &At<'_>, faults: &mut Diagnostics) {
    for (key, given) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(name) = given.as_deref().filter(|name| !is_dns1123_label(name)) {
            let message = format!("`{name}` cannot be a pod's `{key}`");
            faults.push(at.key(key).fault(message).with_help(DNS1123_LABEL));
        }
    }
}

/// All nodes of a lab are alike but for their names.
fn node_selector(spec: &PodSpec, at: &At<'_>, faults: &mut Diagnostics) {
    for (key, value) in spec.node_selector.iter().flatten() {
        if (key.as_str(), value.as_str()) != (OS_LABEL, "linux") {
            let message = format!("`nodeSelector` with `{key}: {value}` is not available yet");
            let help = format!("nodes of a lab have the label `{OS_LABEL}: linux`; use `nodeName`");
            faults.push(at.key(key).key_fault(message).with_help(help));
        }
    }
}

/// The container's ports that have a name, once each.
fn named_ports(container: &Container, at: &At<'_>, faults: &mut Diagnostics) -> Vec<NamedPort> {
    let mut named: Vec<NamedPort> = Vec::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let Some(name) = &port.name else { continue };
        let at = at.index(index);
        if !is_port_name(name) {
            let message = format!("`{name}` cannot be the name of a container's port");
            let help = "use at most 15 lower case letters, digits and `-`, at least one letter";
            faults.push(at.key("name").fault(message).with_help(help));
        }
        if named.iter().any(|other| other.name == *name) {
            let message = format!("another port has the name `{name}` too");
            faults.push(at.key("name").fault(message));
        }
        named.push(NamedPort {
            name: name.clone(),
            protocol: protocol(port.protocol, &at.key("protocol"), faults),
            port: port.container_port,
        });
    }
    named
}

fn anti_affinity(
    affinity: Option<&Affinity>,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Vec<Selector> {
    let at = at
        .key("podAntiAffinity")
        .key("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = affinity
        .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
        .and_then(|anti_affinity| anti_affinity.required.as_deref())
        .unwrap_or_default();
    let mut selectors = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let at = at.index(index);
        if term.topology_key != HOST_NAME_LABEL {
            let message = format!("topologyKey `{}` is not available yet", term.topology_key);
            let help = format!("nodes of a lab differ in `{HOST_NAME_LABEL}`");
            faults.push(at.key("topologyKey").fault(message).with_help(help));
        }
        // Without a selector a term means no pods, unlike with an empty one.
        let selector_at = at.key("labelSelector");
        selectors.extend(
            term.label_selector
                .as_ref()
                .map(|given| selector(given, &selector_at, faults)),
        );
    }
    selectors
}

/// The same value with the keys of every map sorted.
fn canonical(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map
                .into_iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}
