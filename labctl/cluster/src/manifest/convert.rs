//! What is read to what is meant: names and labels that Kubernetes would accept,
//! selectors that select, images that labctl has.

mod cilium;
mod service;
mod volume;

use std::collections::BTreeMap;

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::{At, Document};
use lab_model::node_state::{DnsPolicy, Protocol};

pub(super) use cilium::{l2_announcement_policy, load_balancer_ip_pool, local_redirect_policy};
pub(super) use service::service;
pub(super) use volume::{config_map, service_account};

use super::kubernetes::{
    self, Affinity, Container, LabelSelector, MatchExpression, ObjectMeta, Operator, PodSpec,
};
use super::workload::{Image, image};
use crate::names::{
    MAX_HOST_NAME, is_dns1123_label, is_dns1123_subdomain, is_label_key, is_label_value,
    is_port_name,
};
use crate::object::{Kind, NamedPort, Object, Origin, PodTemplate};
use crate::selector::{Condition, Labels, Requirement, Selector};
use volume::mounted_file;

const TEMPLATE_MADE: &str = "a template without faults has been made";
const OS_LABEL: &str = "kubernetes.io/os";
const HOST_NAME_LABEL: &str = "kubernetes.io/hostname";
const LOWER_CASE: &str = "use lower case letters, digits, `-` and `.`, with a letter or digit at \
                          each end of every part";
const LABEL_KEY: &str = "a label's key is `name` or `prefix/name`, of letters, digits, `-`, `_` \
                         and `.`, at most 63 after the slash";
const LABEL_VALUE: &str = "a label's value has at most 63 letters, digits, `-`, `_` and `.`, with \
                           a letter or digit at each end";

/// A Pod.
pub(super) fn pod(document: &Document) -> Result<Object, Diagnostics> {
    let (pod, mut faults) = document.read_partial::<kubernetes::Pod>()?;
    let at = document.at();
    let namespace = metadata(&pod.metadata, &at.key("metadata"), &mut faults);
    let name_at = at.key("metadata").key("name");
    if pod.metadata.name.len() > MAX_HOST_NAME {
        let message = "a pod's name is its host name as well, and has at most 63 characters";
        faults.push(name_at.fault(message));
    }
    let labels_at = at.key("metadata").key("labels");
    let labels = labels(pod.metadata.labels.as_ref(), &labels_at, &mut faults);
    let template = template(labels.clone(), &pod.spec, &at, &mut faults);
    let origin = origin(document, &at.key("spec"));
    let template = faults.or(template)?.expect(TEMPLATE_MADE);
    Ok(Object {
        namespace,
        name: pod.metadata.name,
        labels,
        kind: Kind::Pod(template),
        origin,
    })
}

/// A Deployment.
pub(super) fn deployment(document: &Document) -> Result<Object, Diagnostics> {
    let (deployment, faults) = document.read_partial::<kubernetes::Deployment>()?;
    let spec = deployment.spec;
    let replicas = spec.replicas.unwrap_or(1);
    let set = PodSet {
        metadata: deployment.metadata,
        selector: spec.selector,
        template: spec.template,
    };
    pod_set(document, set, faults, |template| Kind::Deployment {
        replicas,
        template,
    })
}

/// A DaemonSet.
pub(super) fn daemon_set(document: &Document) -> Result<Object, Diagnostics> {
    let (daemon_set, faults) = document.read_partial::<kubernetes::DaemonSet>()?;
    let set = PodSet {
        metadata: daemon_set.metadata,
        selector: daemon_set.spec.selector,
        template: daemon_set.spec.template,
    };
    pod_set(document, set, faults, Kind::DaemonSet)
}

/// What Deployments and DaemonSets have in common.
struct PodSet {
    metadata: ObjectMeta,
    selector: LabelSelector,
    template: kubernetes::PodTemplateSpec,
}

fn pod_set(
    document: &Document,
    set: PodSet,
    mut faults: Diagnostics,
    kind: impl FnOnce(PodTemplate) -> Kind,
) -> Result<Object, Diagnostics> {
    let whole = faults.is_empty();
    let at = document.at();
    let namespace = metadata(&set.metadata, &at.key("metadata"), &mut faults);
    let own_labels_at = at.key("metadata").key("labels");
    let own_labels = labels(set.metadata.labels.as_ref(), &own_labels_at, &mut faults);

    let template_at = at.key("spec").key("template");
    let labels_at = template_at.key("metadata").key("labels");
    let given = set.template.metadata.labels.as_ref();
    let labels = labels(given, &labels_at, &mut faults);
    let selector_at = at.key("spec").key("selector");
    let selector = selector(&set.selector, &selector_at, &mut faults);
    if whole {
        // Otherwise what does not match may have been left out for its own faults.
        faults.extend(mismatch(&selector, &labels, &selector_at, &labels_at));
    }
    let template = template(labels, &set.template.spec, &template_at, &mut faults);
    let origin = origin(document, &template_at.key("spec"));
    let template = faults.or(template)?.expect(TEMPLATE_MADE);
    Ok(Object {
        namespace,
        name: set.metadata.name,
        labels: own_labels,
        kind: kind(template),
        origin,
    })
}

/// A selector that doesn't select its object's own pods.
fn mismatch(
    selector: &Selector,
    labels: &Labels,
    selector_at: &At<'_>,
    labels_at: &At<'_>,
) -> Option<Diagnostic> {
    if selector.requirements.is_empty() {
        let help = "repeat the template's labels in `matchLabels`";
        return Some(
            selector_at
                .key_fault("the selector is empty")
                .with_help(help),
        );
    }
    if selector.matches(labels) {
        return None;
    }
    let fault = selector_at
        .key_fault("the selector does not match the template's labels")
        .with_label("the object would never find its own pods");
    Some(fault.with_related(labels_at.key_span(), "the labels"))
}

impl Origin {
    /// Where an object without pods is written.
    fn of_name(document: &Document) -> Self {
        let name = document.at().key("metadata").key("name").span();
        Self {
            source: document.source().clone(),
            node_name: name.clone(),
            replicas: name.clone(),
            name,
        }
    }
}

fn origin(document: &Document, pod_spec: &At<'_>) -> Origin {
    let of_name = Origin::of_name(document);
    let or_name = |at: At<'_>| {
        if at.exists() {
            at.span()
        } else {
            of_name.name.clone()
        }
    };
    Origin {
        node_name: or_name(pod_spec.key("nodeName")),
        replicas: or_name(document.at().key("spec").key("replicas")),
        ..of_name.clone()
    }
}

/// Checks an object's name and namespace, and gives the namespace.
fn metadata(meta: &ObjectMeta, at: &At<'_>, faults: &mut Diagnostics) -> String {
    if !is_dns1123_subdomain(&meta.name) {
        let message = format!("`{}` cannot be the name of an object", meta.name);
        faults.push(at.key("name").fault(message).with_help(LOWER_CASE));
    }
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    if !is_dns1123_label(namespace) {
        let message = format!("`{namespace}` cannot be the name of a namespace");
        let help = "use at most 63 lower case letters, digits and `-`";
        faults.push(at.key("namespace").fault(message).with_help(help));
    }
    namespace.to_owned()
}

fn labels(labels: Option<&Labels>, at: &At<'_>, faults: &mut Diagnostics) -> Labels {
    for (key, value) in labels.into_iter().flatten() {
        label(key, value, &at.key(key), faults);
    }
    labels.cloned().unwrap_or_default()
}

fn label(key: &str, value: &str, at: &At<'_>, faults: &mut Diagnostics) {
    if !is_label_key(key) {
        let message = format!("`{key}` cannot be a label's key");
        faults.push(at.key_fault(message).with_help(LABEL_KEY));
    }
    if !is_label_value(value) {
        let message = format!("`{value}` cannot be a label's value");
        faults.push(at.fault(message).with_help(LABEL_VALUE));
    }
}

fn selector(selector: &LabelSelector, at: &At<'_>, faults: &mut Diagnostics) -> Selector {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| {
        label(key, value, &at.key("matchLabels").key(key), faults);
        Requirement {
            key: key.clone(),
            condition: Condition::In(vec![value.clone()]),
        }
    });
    let mut requirements: Vec<Requirement> = equal.collect();
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let at = at.key("matchExpressions").index(index);
        requirements.push(requirement(expression, &at, faults));
    }
    Selector { requirements }
}

fn requirement(given: &MatchExpression, at: &At<'_>, faults: &mut Diagnostics) -> Requirement {
    let values = given.values.clone().unwrap_or_default();
    let takes_values = matches!(given.operator, Operator::In | Operator::NotIn);
    if takes_values && values.is_empty() {
        faults.push(
            at.key("operator")
                .fault("this operator needs at least one of `values`"),
        );
    }
    if !takes_values && !values.is_empty() {
        faults.push(
            at.key("values")
                .key_fault("`values` must be left out with this operator"),
        );
    }
    if !is_label_key(&given.key) {
        let message = format!("`{}` cannot be a label's key", given.key);
        faults.push(at.key("key").fault(message).with_help(LABEL_KEY));
    }
    for (index, value) in values
        .iter()
        .enumerate()
        .filter(|(_, value)| !is_label_value(value))
    {
        let message = format!("`{value}` cannot be a label's value");
        faults.push(
            at.key("values")
                .index(index)
                .fault(message)
                .with_help(LABEL_VALUE),
        );
    }
    let condition = match given.operator {
        Operator::In => Condition::In(values),
        Operator::NotIn => Condition::NotIn(values),
        Operator::Exists => Condition::Exists,
        Operator::DoesNotExist => Condition::DoesNotExist,
    };
    Requirement {
        key: given.key.clone(),
        condition,
    }
}

/// The pod at `at`, whose `spec` this is; `None` when there is a fault in it.
fn template(
    labels: BTreeMap<String, String>,
    spec: &PodSpec,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<PodTemplate> {
    let spec_at = at.key("spec");
    let service_account = spec
        .service_account_name
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    if !is_dns1123_subdomain(&service_account) {
        let message = format!("`{service_account}` cannot be the name of a service account");
        let fault = spec_at.key("serviceAccountName").fault(message);
        faults.push(fault.with_help(LOWER_CASE));
    }
    let anti_affinity = anti_affinity(spec.affinity.as_ref(), &spec_at.key("affinity"), faults);
    let containers_at = spec_at.key("containers");
    let container = match spec.containers.as_slice() {
        [container] => container,
        [] => {
            faults.push(containers_at.key_fault("a pod needs a container"));
            return None;
        }
        [_, ..] => {
            let message = "pods of more than one container are not available yet";
            faults.push(containers_at.key_fault(message));
            return None;
        }
    };
    let container_at = containers_at.index(0);
    if !is_dns1123_label(&container.name) {
        let message = format!("`{}` cannot be the name of a container", container.name);
        let help = "use at most 63 lower case letters, digits and `-`";
        faults.push(container_at.key("name").fault(message).with_help(help));
    }
    let named_ports = named_ports(container, &container_at.key("ports"), faults);
    node_selector(spec, &spec_at.key("nodeSelector"), faults);
    host_names(spec, &spec_at, faults);
    let with_corefile = |image: Image| {
        let path = image.corefile.as_deref();
        let file = path.map(|path| mounted_file(spec, container, path, &spec_at, &container_at));
        Ok((image.workload, image.upstream_service, file.transpose()?))
    };
    match image(container, &container_at).and_then(with_corefile) {
        Ok((workload, upstream_service, corefile)) => Some(PodTemplate {
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
        }),
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

/// `hostname` and `subdomain`, each a label of the pod's full name.
fn host_names(spec: &PodSpec, at: &At<'_>, faults: &mut Diagnostics) {
    for (key, given) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(name) = given.as_deref().filter(|name| !is_dns1123_label(name)) {
            let message = format!("`{name}` cannot be a pod's `{key}`");
            let help = "use at most 63 lower case letters, digits and `-`";
            faults.push(at.key(key).fault(message).with_help(help));
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

fn protocol(
    given: Option<kubernetes::Protocol>,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Protocol {
    match given {
        None | Some(kubernetes::Protocol::Tcp) => Protocol::Tcp,
        Some(kubernetes::Protocol::Udp) => Protocol::Udp,
        Some(kubernetes::Protocol::Sctp) => {
            let help = "it is one of `TCP`, `UDP`";
            faults.push(at.fault("SCTP is not available yet").with_help(help));
            Protocol::Tcp
        }
    }
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
