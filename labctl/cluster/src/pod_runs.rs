//! The pods that objects ask for: a Deployment's replicas, a DaemonSet's on every node.

use lab_model::diagnostic::Diagnostic;
use lab_model::lab::Lab;

use crate::identity::security_labels;
use crate::names::{daemon_pod_name, pod_names, template_hash};
use crate::object::{Kind, Object, PodTemplate};
use crate::placement::Wanted;

/// A pod that an object asks for.
pub(crate) struct PodRun<'a> {
    pub(crate) object: &'a Object,
    pub(crate) template: &'a PodTemplate,
    pub(crate) name: String,
    pub(crate) wanted: Wanted<'a>,
    pub(crate) security_labels: Vec<String>,
}

impl PodRun<'_> {
    pub(crate) fn too_many_label_sets(&self) -> Diagnostic {
        let message = "all security identities are exhausted: there are 65280, and each set of \
                       labels takes one";
        self.object
            .fault(&self.object.origin.name, message.to_owned())
    }
}

/// The pods that an object asks for, oldest first.
pub(crate) fn pod_runs<'a>(lab: &'a Lab, object: &'a Object) -> Vec<PodRun<'a>> {
    let Some(template) = object.template() else {
        return Vec::new();
    };
    let mut labels = template.labels.clone();
    let bound = template.node_name.as_deref();
    let (pods, owner): (Vec<(String, Option<&str>)>, _) = match object.kind {
        Kind::Deployment { replicas, .. } => {
            let hash = template_hash(&template.canonical);
            labels.insert("pod-template-hash".to_owned(), hash.clone());
            let names = pod_names(&object.namespace, &object.name, &hash, replicas);
            let pods = names.into_iter().map(|name| (name, bound));
            (pods.collect(), Some(object.key()))
        }
        Kind::DaemonSet(_) => {
            let nodes = lab.cluster_nodes().map(|node| node.name.as_str());
            let pods = nodes
                .filter(|node| bound.is_none_or(|bound| bound == *node))
                .map(|node| {
                    (
                        daemon_pod_name(&object.namespace, &object.name, node),
                        Some(node),
                    )
                });
            (pods.collect(), Some(object.key()))
        }
        _ => (vec![(object.name.clone(), bound)], None),
    };
    let run = |(name, node_name): (String, _)| PodRun {
        object,
        template,
        wanted: Wanted {
            namespace: &object.namespace,
            key: format!("{}/{name}", object.namespace),
            owner: owner.clone(),
            labels: labels.clone(),
            node_name,
            host_network: template.host_network,
            anti_affinity: &template.anti_affinity,
        },
        security_labels: security_labels(&object.namespace, &template.service_account, &labels),
        name,
    };
    pods.into_iter().map(run).collect()
}
