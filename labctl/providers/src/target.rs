//! Nodes and pods, found by name.

use std::fmt;

use lab_model::node_state::NodeState;
use serde::{Deserialize, Serialize};

use crate::error::ProviderError;

/// A node or a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A node.
    Node {
        /// Its name.
        name: String,
    },
    /// A pod.
    Pod {
        /// The node it runs on.
        node: String,
        /// Its Kubernetes namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { name } => out.write_str(name),
            Self::Pod {
                namespace, name, ..
            } => write!(out, "{namespace}/{name}"),
        }
    }
}

impl Target {
    /// The node that it is, or that it runs on.
    #[must_use]
    pub fn node(&self) -> &str {
        match self {
            Self::Node { name } => name,
            Self::Pod { node, .. } => node,
        }
    }
}

/// The pods of a node's state.
pub(crate) fn pods(node: &str, state: &NodeState) -> Vec<Target> {
    let own = state.pods.iter().map(|pod| (&pod.namespace, &pod.name));
    let host = state.host_pods.iter();
    let host = host.map(|pod| (&pod.namespace, &pod.name));
    own.chain(host)
        .map(|(namespace, name)| Target::Pod {
            node: node.to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
        })
        .collect()
}

/// The one of `targets` that `asked` is about.
pub(crate) fn choose(
    targets: Vec<Target>,
    lab: &str,
    asked: &str,
) -> Result<Target, ProviderError> {
    let node = |it: &&Target| matches!(it, Target::Node { name } if name == asked);
    if let Some(found) = targets.iter().find(node) {
        return Ok(found.clone());
    }
    let (kind, name) = match asked.split_once('/') {
        Some(("deploy" | "deployment" | "deployments" | "deployment.apps", name)) => {
            (Sought::AnyOf, name)
        }
        Some(("pod" | "pods" | "po", name)) => (Sought::One, name),
        _ => (Sought::One, asked),
    };
    let fits = |exactly: bool| -> Vec<&Target> {
        let fits = |it: &&Target| match it {
            Target::Node { .. } => false,
            Target::Pod {
                namespace,
                name: pod,
                ..
            } if exactly => pod == name || format!("{namespace}/{pod}") == name,
            Target::Pod {
                namespace,
                name: pod,
                ..
            } => {
                let begins = |full: &str| {
                    full.strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('-'))
                };
                begins(pod) || begins(&format!("{namespace}/{pod}"))
            }
        };
        targets.iter().filter(fits).collect()
    };
    let mut found = fits(true);
    if found.is_empty() || kind == Sought::AnyOf {
        found = fits(false);
    }
    found.sort();
    match (found.as_slice(), kind) {
        ([], _) => Err(ProviderError::NoTarget {
            lab: lab.to_owned(),
            name: asked.to_owned(),
            known: targets.iter().map(ToString::to_string).collect(),
        }),
        ([one], _) | ([one, ..], Sought::AnyOf) => Ok((*one).clone()),
        (many, Sought::One) => Err(ProviderError::Ambiguous {
            name: asked.to_owned(),
            found: many.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Whether several pods may fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sought {
    One,
    AnyOf,
}
