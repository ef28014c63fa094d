//! The API objects that labctl obeys, checked, with where each was written.

use std::ops::Range;
use std::sync::Arc;

use lab_model::diagnostic::{Diagnostic, Source};
use lab_model::node_state::Workload;

use crate::selector::{Labels, Selector};

/// An API object out of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Kubernetes namespace.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// What kind of object it is, and what that kind says.
    pub kind: Kind,
    /// The pod, or the template of the pods.
    pub template: PodTemplate,
    /// Where it is written.
    pub origin: Origin,
}

/// The kinds of objects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `v1`
    Pod,
    /// `apps/v1`
    Deployment {
        /// `spec.replicas`
        replicas: u32,
    },
}

impl Kind {
    /// The word used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment { .. } => "Deployment",
        }
    }
}

/// A pod's labels and what of its `spec` makes a difference in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTemplate {
    /// `metadata.labels`
    pub labels: Labels,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `spec.serviceAccountName`, which is one of Cilium's identity labels.
    pub service_account: String,
    /// `spec.affinity.podAntiAffinity`: the pods that this one shares no node with.
    pub anti_affinity: Vec<Selector>,
    /// What the one container runs.
    pub workload: Workload,
    /// Everything in the template, as JSON with sorted keys: what
    /// `pod-template-hash` is the hash of.
    pub canonical: String,
}

/// Where in its file an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub source: Arc<Source>,
    /// Bytes of `metadata.name`.
    pub name: Range<usize>,
    /// Bytes of `spec.nodeName`, or of the name.
    pub node_name: Range<usize>,
    /// Bytes of `spec.replicas`, or of the name.
    pub replicas: Range<usize>,
}

impl Object {
    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn fault(&self, span: &Range<usize>, message: String) -> Diagnostic {
        Diagnostic::new(&self.origin.source, span.clone(), message)
    }
}
