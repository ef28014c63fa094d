//! What is read to what is meant: names and labels that Kubernetes would accept,
//! selectors that select, images that labctl has.

mod cilium;
mod metadata;
mod pod_template;
mod service;
mod volume;

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::{At, Document};
use lab_model::node_state::Protocol;

pub(super) use cilium::{l2_announcement_policy, load_balancer_ip_pool, local_redirect_policy};
pub(super) use service::service;
pub(super) use volume::{config_map, service_account};

use self::metadata::{labels, metadata, selector};
use self::pod_template::pod_template;
use super::kubernetes::{self, LabelSelector, ObjectMeta};
use crate::names::MAX_HOST_NAME;
use crate::object::{Kind, Object, Origin, PodTemplate};
use crate::selector::{Labels, Selector};

const TEMPLATE_MADE: &str = "a template without faults has been made";

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
    let template = pod_template(labels.clone(), &pod.spec, &at, &mut faults);
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
    let template = pod_template(labels, &set.template.spec, &template_at, &mut faults);
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

/// A port's protocol.
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
