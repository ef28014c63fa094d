//! Local redirect policies, resolved for one node.

use lab_model::diagnostic::Diagnostic;
use lab_model::node_state::{Backend, LocalRedirect, RedirectFrontend, Service};

use super::{RunningPod, ServiceObject};
use crate::faults::beside;
use crate::object::{
    Kind, LocalRedirectPolicy, Object, RedirectFrontend as Frontend, RedirectPort,
};

/// The redirects of `node`. A service that is not there, or has no ClusterIP, has
/// nothing to redirect.
pub(crate) fn redirects(
    objects: &[&Object],
    services: &[Service],
    pods: &[RunningPod<'_>],
    node: &str,
) -> Vec<LocalRedirect> {
    let policies = objects.iter().filter_map(|object| match &object.kind {
        Kind::LocalRedirectPolicy(policy) => Some((object, policy)),
        _ => None,
    });
    policies
        .map(|(object, policy)| {
            let local: Vec<&RunningPod<'_>> = pods
                .iter()
                .filter(|pod| pod.node == node && pod.namespace == object.namespace)
                // Cilium leads nothing to pods on the node's network (cilium#28918).
                .filter(|pod| !pod.host_network)
                .filter(|pod| policy.endpoint_selector.matches(pod.labels))
                .collect();
            LocalRedirect {
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                skip_redirect_from_backend: policy.skip_redirect_from_backend,
                frontends: frontends(object, policy, services, &local),
            }
        })
        .collect()
}

/// Policies for a service that has nothing to redirect.
pub(crate) fn to_aliases(objects: &[&Object], services: &[ServiceObject<'_>]) -> Vec<Diagnostic> {
    let fault = |object: &&Object| {
        let Kind::LocalRedirectPolicy(policy) = &object.kind else {
            return None;
        };
        let Frontend::Service { name, .. } = &policy.frontend else {
            return None;
        };
        let is_it = |service: &&ServiceObject<'_>| {
            service.object.name == name.value && service.object.namespace == object.namespace
        };
        let service = services.iter().find(is_it)?;
        service.spec.external_name.as_ref()?;
        let message = format!(
            "Service `{}` is of the type ExternalName and has no address to redirect",
            service.object.key()
        );
        let fault = object
            .fault(&name.span, message)
            .with_help("a policy redirects the ClusterIP of a service");
        let span = &service.object.origin.name;
        Some(beside(fault, object, service.object, span, "the service"))
    };
    objects.iter().filter_map(fault).collect()
}

fn frontends(
    object: &Object,
    policy: &LocalRedirectPolicy,
    services: &[Service],
    local: &[&RunningPod<'_>],
) -> Vec<RedirectFrontend> {
    let (service, address, ports) = match &policy.frontend {
        Frontend::Address { ip, ports } => (None, *ip, ports.clone()),
        Frontend::Service { name, ports } => {
            let is_it = |service: &&Service| {
                service.name == name.value && service.namespace == object.namespace
            };
            let Some(service) = services.iter().find(is_it) else {
                return Vec::new();
            };
            let Some(address) = service.cluster_ip else {
                return Vec::new();
            };
            (Some(service.key()), address, ports_of(service, ports))
        }
    };
    // Ports of both sides belong together by name, unless there is only one.
    let single = ports.len() == 1 && policy.backend_ports.len() == 1;
    let frontend = |port: &RedirectPort| {
        let behind = policy.backend_ports.iter().find(|behind| {
            behind.protocol == port.protocol && (single || behind.name == port.name)
        })?;
        Some(RedirectFrontend {
            service: service.clone(),
            address,
            port: port.port,
            protocol: port.protocol,
            backends: backends(behind, local),
        })
    };
    ports.iter().filter_map(frontend).collect()
}

/// The ports of the service that the policy means: those of its list, or all.
fn ports_of(service: &Service, wanted: &[RedirectPort]) -> Vec<RedirectPort> {
    let ports = service.ports.iter().map(|port| RedirectPort {
        name: port.name.as_ref().map(|name| name.to_ascii_lowercase()),
        port: port.port,
        protocol: port.protocol,
    });
    ports
        .filter(|port| {
            let is_it = |wanted: &RedirectPort| {
                (wanted.port, wanted.protocol) == (port.port, port.protocol)
                    && (wanted.name.is_none() || wanted.name == port.name)
            };
            wanted.is_empty() || wanted.iter().any(is_it)
        })
        .collect()
}

fn backends(port: &RedirectPort, pods: &[&RunningPod<'_>]) -> Vec<Backend> {
    let mut backends: Vec<Backend> = pods
        .iter()
        .map(|pod| Backend {
            pod: pod.key.to_owned(),
            node: pod.node.to_owned(),
            address: pod.address,
            port: port.port,
        })
        .collect();
    backends.sort_by_key(|backend| backend.address);
    backends
}
