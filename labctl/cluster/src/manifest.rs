//! Manifests to [`Object`]s: ordinary Kubernetes YAML, several documents to a file.

mod convert;
mod kubernetes;
mod workload;

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::{At, Document};

use crate::object::Object;

/// Kinds that labctl obeys, with their `apiVersion`.
const KINDS: [(&str, &[&str]); 10] = [
    ("Pod", &["v1"]),
    ("Deployment", &["apps/v1"]),
    ("DaemonSet", &["apps/v1"]),
    ("Service", &["v1"]),
    ("ConfigMap", &["v1"]),
    ("ServiceAccount", &["v1"]),
    ("CiliumLocalRedirectPolicy", &["cilium.io/v2"]),
    (
        "CiliumLoadBalancerIPPool",
        &["cilium.io/v2", "cilium.io/v2alpha1"],
    ),
    ("CiliumL2AnnouncementPolicy", &["cilium.io/v2alpha1"]),
    ("List", &["v1"]),
];

/// Other kinds that manifests often have, to tell "not available yet" from a
/// misspelt kind.
const OTHER_KINDS: [&str; 18] = [
    "CiliumClusterwideNetworkPolicy",
    "CiliumNetworkPolicy",
    "ClusterRole",
    "ClusterRoleBinding",
    "CronJob",
    "EndpointSlice",
    "Endpoints",
    "Gateway",
    "HTTPRoute",
    "Ingress",
    "Job",
    "Namespace",
    "NetworkPolicy",
    "ReplicaSet",
    "Role",
    "RoleBinding",
    "Secret",
    "StatefulSet",
];

/// The objects of a manifest, in the order of the text.
///
/// # Errors
/// Every fault that shows in the file alone: YAML that cannot be read, kinds that
/// are not available, fields that are unknown, missing or of the wrong type,
/// names, labels, selectors and images that cannot be right.
pub fn parse(file_name: &str, text: &str) -> Result<Vec<Object>, Diagnostics> {
    let mut objects = Vec::new();
    let mut faults = Diagnostics::new();
    for document in Document::parse_all(file_name, text)? {
        read(&document, &mut objects, &mut faults);
    }
    faults.or(objects)
}

/// Reads an object, or those of a `List`.
fn read(document: &Document, objects: &mut Vec<Object>, faults: &mut Diagnostics) {
    let read = match kind(&document.at()) {
        Ok("List") => {
            // What is wrong around the items, beside what is wrong in each.
            faults.extend(
                document
                    .read::<kubernetes::List>()
                    .err()
                    .into_iter()
                    .flatten(),
            );
            document
                .items("items")
                .iter()
                .for_each(|item| read(item, objects, faults));
            return;
        }
        Ok("Pod") => convert::pod(document),
        Ok("DaemonSet") => convert::daemon_set(document),
        Ok("Service") => convert::service(document),
        Ok("ConfigMap") => convert::config_map(document),
        Ok("ServiceAccount") => convert::service_account(document),
        Ok("CiliumLocalRedirectPolicy") => convert::local_redirect_policy(document),
        Ok("CiliumLoadBalancerIPPool") => convert::load_balancer_ip_pool(document),
        Ok("CiliumL2AnnouncementPolicy") => convert::l2_announcement_policy(document),
        Ok(_) => convert::deployment(document),
        Err(fault) => Err(fault.into()),
    };
    match read {
        Ok(object) => objects.push(object),
        Err(found) => faults.extend(found),
    }
}

/// The object's kind, once it is one of [`KINDS`] with the right `apiVersion`.
fn kind<'a>(at: &At<'a>) -> Result<&'a str, Diagnostic> {
    let Some(kind) = at.key("kind").as_str() else {
        let help = format!("every object has an apiVersion and a kind: {}", available());
        return Err(at
            .key("kind")
            .fault("the object has no kind")
            .with_help(help));
    };
    let Some((_, versions)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err(unknown_kind(&at.key("kind"), kind));
    };
    match at.key("apiVersion").as_str() {
        Some(given) if versions.contains(&given) => Ok(kind),
        Some(given) => {
            let message = format!("a {kind} cannot have the apiVersion `{given}`");
            Err(at
                .key("apiVersion")
                .fault(message)
                .with_help(format!("write `{}`", versions[0])))
        }
        None => {
            let help = format!("write `apiVersion: {}`", versions[0]);
            Err(at
                .key("kind")
                .fault(format!("the {kind} has no apiVersion"))
                .with_help(help))
        }
    }
}

fn unknown_kind(at: &At<'_>, kind: &str) -> Diagnostic {
    let listed = || format!("labctl has {}", available());
    if OTHER_KINDS.contains(&kind) {
        return at
            .fault(format!("kind `{kind}` is not available yet"))
            .with_help(listed());
    }
    let kinds = KINDS.iter().map(|(kind, _)| *kind);
    at.fault(format!("unknown kind `{kind}`"))
        .with_suggestion(kind, kinds, || Some(listed()))
}

fn available() -> String {
    KINDS.map(|(kind, _)| kind).join(", ")
}
