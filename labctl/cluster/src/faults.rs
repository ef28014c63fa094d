//! Faults that only show once all objects are seen together with the lab.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lab_model::diagnostic::{Diagnostic, Source};
use lab_model::lab::Lab;

use crate::allocations::NodeAllocation;
use crate::ipam::{AddressPool, IpamError};
use crate::object::{Kind, Object};
use crate::placement::PlacementError;
use crate::pod_runs::PodRun;

/// Objects of one kind that have the same namespace and name.
pub(crate) fn duplicates(objects: &[Object]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<(&str, String), &Object> = BTreeMap::new();
    let mut faults = Vec::new();
    for object in objects {
        let kind = object.kind.as_str();
        if let Some(other) = first.get(&(kind, object.key())) {
            faults.push(defined_twice(object, other));
        } else {
            first.insert((kind, object.key()), object);
        }
    }
    faults
}

fn defined_twice(object: &Object, other: &Object) -> Diagnostic {
    let message = format!(
        "{} `{}` is defined twice",
        object.kind.as_str(),
        object.key()
    );
    let fault = object.fault(&object.origin.name, message);
    beside(
        fault,
        object,
        other,
        &other.origin.name,
        "first defined here",
    )
}

/// A fault of `object`, with what it clashes with: marked in the same text, or
/// named with its place in another.
pub(crate) fn beside(
    fault: Diagnostic,
    object: &Object,
    other: &Object,
    span: &Range<usize>,
    label: &str,
) -> Diagnostic {
    if object.origin.source == other.origin.source {
        return fault.with_related(span.clone(), label);
    }
    let source = &other.origin.source;
    let (line, column) = source.line_column(span.start);
    fault.with_help(format!("{label}: {}:{line}:{column}", source.name()))
}

/// A `nodeName` that is no node of the lab, or one that runs no pods.
pub(crate) fn unknown_node(lab: &Lab, object: &Object) -> Option<Diagnostic> {
    let name = object.template()?.node_name.as_deref()?;
    let message = match lab.node(name) {
        Some(node) if node.role.runs_pods() => return None,
        Some(node) => format!("node `{name}` has the role {} and runs no pods", node.role),
        None => format!("there is no node `{name}` in lab {}", lab.name),
    };
    let candidates = || lab.cluster_nodes().map(|node| node.name.as_str());
    let fault = object.fault(&object.origin.node_name, message);
    Some(fault.with_suggestion(name, candidates(), || {
        Some(format!(
            "pods run on {}",
            candidates().collect::<Vec<_>>().join(", ")
        ))
    }))
}

/// More replicas than the nodes they may run on have pod addresses.
pub(crate) fn too_many_replicas(
    nodes: &BTreeMap<String, NodeAllocation>,
    object: &Object,
) -> Option<Diagnostic> {
    let Kind::Deployment { replicas, template } = &object.kind else {
        return None;
    };
    let (replicas, node_name) = (*replicas, template.node_name.as_ref());
    if template.host_network {
        return None;
    }
    let allowed = nodes
        .iter()
        .filter(|(node, _)| node_name.is_none_or(|name| name == *node));
    // One address of each podCIDR is `cilium_host`'s.
    let room: u32 = allowed
        .map(|(_, node)| AddressPool::new(node.pod_cidr).usable().saturating_sub(1))
        .sum();
    (replicas > room).then(|| {
        let message = format!("{replicas} replicas are too many: there are {room} pod addresses");
        let at = match node_name {
            Some(node) => format!("on node {node}, in its podCIDR"),
            None => format!("in the podCIDRs of {} nodes", nodes.len()),
        };
        object
            .fault(&object.origin.replicas, message)
            .with_label(at)
    })
}

/// Pods of a Deployment that have the name of another pod.
pub(crate) fn name_clashes(runs: &[PodRun<'_>]) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    let clashing = runs
        .iter()
        .filter(|run| !seen.insert(run.wanted.key.as_str()));
    clashing
        .map(|run| {
            let message = format!("pod `{}` is defined twice", run.wanted.key);
            let help = "another object asks for a pod of that name; rename one of them";
            run.object
                .fault(&run.object.origin.name, message)
                .with_help(help)
        })
        .collect()
}

/// A pod that runs nowhere.
pub(crate) fn unplaceable(run: &PodRun<'_>, error: &PlacementError) -> Diagnostic {
    let origin = &run.object.origin;
    let span = match run.object.kind {
        Kind::Deployment { .. } => &origin.replicas,
        _ => &origin.node_name,
    };
    run.object.fault(span, error.to_string())
}

/// More nodes than there are podCIDRs. No manifest is at fault, so this points
/// at none.
pub(crate) fn no_pod_cidr(lab: &Lab, error: &IpamError) -> Diagnostic {
    Diagnostic::new(
        &Source::new(format!("lab {}", lab.name), ""),
        0..0,
        error.to_string(),
    )
}
