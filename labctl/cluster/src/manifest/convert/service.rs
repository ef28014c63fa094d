//! Services, as Kubernetes' `ValidateService` accepts them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::diagnostic::Diagnostics;
use lab_model::document::{At, Document};
use lab_model::node_state::{ServiceType, TrafficPolicy};

use super::super::kubernetes::{self, IntOrString, SessionAffinity};
use super::metadata::{DNS1123_LABEL, labels, metadata};
use super::protocol;
use crate::names::{is_dns1123_label, is_dns1123_subdomain, is_port_name};
use crate::object::{ClusterIp, Kind, Object, Origin, PortSpec, ServiceSpec, TargetPort, Written};

/// Seconds that a client stays with its backend unless `timeoutSeconds` says.
const AFFINITY_SECONDS: u32 = 10_800;

const HOST_NAME: &str = "it is a host name: lower case letters, digits, `-` and `.`, with a letter \
                         or digit at each end of every part, and at most 63 between dots";

/// Annotations with the LoadBalancer addresses asked for, separated by commas:
/// Cilium's, and its former name.
const REQUESTED_IPS: [&str; 2] = ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"];

/// Annotation that says whether source ranges are those of clients that the service is
/// there for (`allow`), or those of others (`deny`).
const SOURCE_RANGES_POLICY: &str = "service.cilium.io/src-ranges-policy";

/// A Service.
pub(in crate::manifest) fn service(document: &Document) -> Result<Object, Diagnostics> {
    let (service, mut faults) = document.read_partial::<kubernetes::Service>()?;
    let at = document.at();
    let metadata_at = at.key("metadata");
    let namespace = metadata(&service.metadata, &metadata_at, &mut faults);
    let name_at = metadata_at.key("name");
    if !is_dns1123_label(&service.metadata.name) {
        let message = "a service's name is a host name as well, without dots and at most 63 long";
        faults.push(name_at.fault(message));
    }
    let own = service.metadata.labels.as_ref();
    let own_labels = labels(own, &metadata_at.key("labels"), &mut faults);
    let spec_at = at.key("spec");
    let spec = spec(&service, &spec_at, &metadata_at, &mut faults);
    faults.or(Object {
        namespace,
        name: service.metadata.name,
        labels: own_labels,
        kind: Kind::Service(spec),
        origin: Origin::of_name(document),
    })
}

fn spec(
    service: &kubernetes::Service,
    at: &At<'_>,
    metadata_at: &At<'_>,
    faults: &mut Diagnostics,
) -> ServiceSpec {
    let given = &service.spec;
    let service_type = match given.service_type {
        kubernetes::ServiceType::ClusterIp => ServiceType::ClusterIp,
        kubernetes::ServiceType::NodePort => ServiceType::NodePort,
        kubernetes::ServiceType::LoadBalancer => ServiceType::LoadBalancer,
        kubernetes::ServiceType::ExternalName => ServiceType::ExternalName,
    };
    let cluster_ip = match service_type {
        ServiceType::ExternalName => no_cluster_ip(at, faults),
        _ => cluster_ip(given, at, faults),
    };
    let headless = cluster_ip == ClusterIp::Headless;
    if headless && service_type != ServiceType::ClusterIp {
        let message = format!(
            "a service of the type {} cannot be headless",
            service_type.as_str()
        );
        faults.push(at.key("clusterIP").fault(message));
    }
    external_policy(given, service_type, at, faults);
    ServiceSpec {
        service_type,
        external_name: external_name(given, service_type, &at.key("externalName"), faults),
        selector: labels(given.selector.as_ref(), &at.key("selector"), faults),
        external_ips: given.external_ips.clone().unwrap_or_default(),
        requested_ips: requested_ips(service, at, metadata_at, faults),
        source_ranges: source_ranges(given, service_type, at, faults),
        denies_source_ranges: denies_source_ranges(service, metadata_at, faults),
        ports: ports(given, service_type, headless, at, faults),
        external_traffic_policy: policy(given.external_traffic_policy),
        internal_traffic_policy: policy(given.internal_traffic_policy),
        session_affinity: session_affinity(given),
        cluster_ip,
    }
}

/// The name that the service is an alias of. Its last dot goes, as it says nothing: every
/// external name is absolute.
fn external_name(
    spec: &kubernetes::ServiceSpec,
    service_type: ServiceType,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<String> {
    let given = spec.external_name.as_deref();
    if service_type != ServiceType::ExternalName {
        if given.is_some() {
            let message = format!(
                "`externalName` means nothing with the type {}",
                service_type.as_str()
            );
            let fault = at.key_fault(message);
            faults.push(fault.with_help("write `type: ExternalName`, or leave it out"));
        }
        return None;
    }
    let Some(given) = given.filter(|name| !name.is_empty()) else {
        let message = "a service of the type ExternalName needs an `externalName`";
        let help = "write the host name that it is an alias of, as `externalName: example.com`";
        faults.push(at.key_fault(message).with_help(help));
        return None;
    };
    let name = given.strip_suffix('.').unwrap_or(given);
    // Kubernetes lets longer labels pass, which no name can have (RFC 1035 §2.3.4).
    if !is_dns1123_subdomain(name) || !name.split('.').all(is_dns1123_label) {
        let message = format!("`{given}` cannot be an external name");
        faults.push(at.fault(message).with_help(HOST_NAME));
    }
    Some(name.to_owned())
}

/// An ExternalName is nothing but a name.
fn no_cluster_ip(at: &At<'_>, faults: &mut Diagnostics) -> ClusterIp {
    let set = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];
    for key in set.map(|key| at.key(key)).iter().filter(|at| at.exists()) {
        let message = "a service of the type ExternalName has no addresses";
        faults.push(key.key_fault(message).with_help("leave it out"));
    }
    ClusterIp::Unused
}

fn cluster_ip(spec: &kubernetes::ServiceSpec, at: &At<'_>, faults: &mut Diagnostics) -> ClusterIp {
    let one = at.key("clusterIP");
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    let (text, at) = match (spec.cluster_ip.as_deref(), list.first()) {
        (Some(text), _) if !text.is_empty() => (text, one),
        (_, Some(text)) => (text.as_str(), at.key("clusterIPs").index(0)),
        _ => return ClusterIp::Any,
    };
    if list.first().is_some_and(|first| first != text) {
        faults.push(at.fault("`clusterIP` must be the first of `clusterIPs`"));
    }
    if text == "None" {
        return ClusterIp::Headless;
    }
    match text.parse() {
        Ok(value) => ClusterIp::Explicit(Written {
            value,
            span: at.span(),
        }),
        Err(_) => {
            let message = format!("`{text}` is neither an IPv4 address nor `None`");
            faults.push(at.fault(message));
            ClusterIp::Any
        }
    }
}

/// `externalTrafficPolicy` means something only where traffic comes from outside.
fn external_policy(
    spec: &kubernetes::ServiceSpec,
    service_type: ServiceType,
    at: &At<'_>,
    faults: &mut Diagnostics,
) {
    let outside = service_type.is_external()
        || spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty());
    if spec.external_traffic_policy.is_some() && !outside {
        let at = at.key("externalTrafficPolicy");
        let message = "`externalTrafficPolicy` is for services with addresses outside the cluster";
        let help = "use `internalTrafficPolicy`, or the type NodePort or LoadBalancer";
        faults.push(at.key_fault(message).with_help(help));
    }
}

fn requested_ips(
    service: &kubernetes::Service,
    at: &At<'_>,
    metadata_at: &At<'_>,
    faults: &mut Diagnostics,
) -> Vec<Written<Ipv4Addr>> {
    let own = service.spec.load_balancer_ip.map(|value| Written {
        value,
        span: at.key("loadBalancerIP").span(),
    });
    let mut requested: Vec<_> = own.into_iter().collect();
    let annotations = service.metadata.annotations.iter().flatten();
    for (key, list) in annotations.filter(|(key, _)| REQUESTED_IPS.contains(&key.as_str())) {
        let at = metadata_at.key("annotations").key(key);
        for text in list.split(',').map(str::trim) {
            match text.parse() {
                Ok(value) => requested.push(Written {
                    value,
                    span: at.span(),
                }),
                Err(_) => faults.push(
                    at.fault(format!("`{text}` is no IPv4 address"))
                        .with_help("several addresses are separated by commas"),
                ),
            }
        }
    }
    requested
}

/// As `ValidateService` reads them: white space around a range is nothing, and host bits
/// are cut off.
fn source_ranges(
    spec: &kubernetes::ServiceSpec,
    service_type: ServiceType,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Vec<Ipv4Net> {
    let Some(given) = &spec.load_balancer_source_ranges else {
        return Vec::new();
    };
    let at = at.key("loadBalancerSourceRanges");
    if service_type != ServiceType::LoadBalancer && !given.is_empty() {
        let message = format!(
            "`loadBalancerSourceRanges` cannot be used with the type {}",
            service_type.as_str()
        );
        let fault = at.key_fault(message);
        faults.push(fault.with_help("write `type: LoadBalancer`"));
    }
    let mut ranges = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        match text.trim().parse::<Ipv4Net>() {
            Ok(range) => ranges.push(range.trunc()),
            Err(_) => {
                let message = format!("`{text}` is no range of IPv4 addresses like 10.240.0.0/24");
                faults.push(at.index(index).fault(message));
            }
        }
    }
    ranges
}

fn denies_source_ranges(
    service: &kubernetes::Service,
    metadata_at: &At<'_>,
    faults: &mut Diagnostics,
) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let policy = annotations.and_then(|annotations| annotations.get(SOURCE_RANGES_POLICY));
    match policy.map(String::as_str) {
        None | Some("allow") => false,
        Some("deny") => true,
        Some(other) => {
            let at = metadata_at.key("annotations").key(SOURCE_RANGES_POLICY);
            let message = format!("`{other}` is no policy for source ranges");
            faults.push(at.fault(message).with_help("write `allow` or `deny`"));
            false
        }
    }
}

const fn policy(given: Option<kubernetes::TrafficPolicy>) -> TrafficPolicy {
    match given {
        None | Some(kubernetes::TrafficPolicy::Cluster) => TrafficPolicy::Cluster,
        Some(kubernetes::TrafficPolicy::Local) => TrafficPolicy::Local,
    }
}

fn session_affinity(spec: &kubernetes::ServiceSpec) -> Option<u32> {
    if spec.session_affinity != Some(SessionAffinity::ClientIp) {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let client_ip = config.and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
    Some(seconds.unwrap_or(AFFINITY_SECONDS))
}

fn ports(
    spec: &kubernetes::ServiceSpec,
    service_type: ServiceType,
    headless: bool,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Vec<PortSpec> {
    let given = spec.ports.as_deref().unwrap_or_default();
    let list_at = at.key("ports");
    let needed = !headless && service_type != ServiceType::ExternalName;
    if given.is_empty() && needed {
        let at = if list_at.exists() {
            list_at
        } else {
            at.clone()
        };
        faults.push(at.key_fault("a service needs a port, unless it is headless"));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::with_capacity(given.len());
    for (index, port) in given.iter().enumerate() {
        let at = list_at.index(index);
        let protocol = protocol(port.protocol, &at.key("protocol"), faults);
        port_name(port, given.len() > 1, &mut names, &at, faults);
        if !numbers.insert((port.port, protocol)) {
            let message = format!("port {}/{protocol} is there twice", port.port);
            faults.push(at.key("port").fault(message));
        }
        let node_port = port.node_port.map(|value| Written {
            value,
            span: at.key("nodePort").span(),
        });
        if node_port.is_some() && !service_type.is_external() {
            let message = format!(
                "`nodePort` cannot be used with the type {}",
                service_type.as_str()
            );
            let fault = at.key("nodePort").key_fault(message);
            faults.push(fault.with_help("write `type: NodePort`"));
        }
        ports.push(PortSpec {
            name: port.name.clone(),
            protocol,
            port: port.port,
            target: target(port, &at.key("targetPort"), faults),
            node_port,
        });
    }
    ports
}

fn port_name<'a>(
    port: &'a kubernetes::ServicePort,
    among_several: bool,
    names: &mut BTreeSet<&'a str>,
    at: &At<'_>,
    faults: &mut Diagnostics,
) {
    let Some(name) = port.name.as_deref() else {
        if among_several {
            faults.push(at.key("port").fault("of several ports, each needs a name"));
        }
        return;
    };
    let at = at.key("name");
    if !is_dns1123_label(name) {
        let message = format!("`{name}` cannot be the name of a port");
        faults.push(at.fault(message).with_help(DNS1123_LABEL));
    }
    if !names.insert(name) {
        faults.push(at.fault(format!("another port has the name `{name}` too")));
    }
}

fn target(port: &kubernetes::ServicePort, at: &At<'_>, faults: &mut Diagnostics) -> TargetPort {
    match &port.target_port {
        None => TargetPort::Number(port.port),
        Some(IntOrString::Int(number)) => match u16::try_from(*number) {
            Ok(number) if number != 0 => TargetPort::Number(number),
            _ => {
                let message = format!("`targetPort` must be between 1 and 65535, not {number}");
                faults.push(at.fault(message));
                TargetPort::Number(port.port)
            }
        },
        Some(IntOrString::String(name)) => {
            if !is_port_name(name) {
                let message = format!("`{name}` cannot be the name of a container's port");
                let help = "use at most 15 lower case letters, digits and `-`, at least one letter";
                faults.push(at.fault(message).with_help(help));
            }
            TargetPort::Name(name.clone())
        }
    }
}
