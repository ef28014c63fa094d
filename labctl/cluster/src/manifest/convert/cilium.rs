//! Cilium's own objects, as its agent and operator accept them.

use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use lab_model::diagnostic::Diagnostics;
use lab_model::document::{At, Document};
use lab_model::node_state::Protocol;
use regex::Regex;

use super::super::kubernetes::{self, Block, LabelSelector, PortInfo, PortProtocol, YesNo};
use super::metadata::{labels, metadata, selector};
use crate::object::{
    Kind, L2AnnouncementPolicy, LoadBalancerIpPool, LocalRedirectPolicy, Object, Origin,
    RedirectFrontend, RedirectPort, Written,
};
use crate::selector::Selector;

/// A CiliumLocalRedirectPolicy (`pkg/redirectpolicy`, `getSanitizedLRPConfig`).
pub(in crate::manifest) fn local_redirect_policy(
    document: &Document,
) -> Result<Object, Diagnostics> {
    let (policy, mut faults) = document.read_partial::<kubernetes::LocalRedirectPolicy>()?;
    let at = document.at();
    let metadata_at = at.key("metadata");
    let namespace = metadata(&policy.metadata, &metadata_at, &mut faults);
    let spec = &policy.spec;
    let backend_at = at.key("spec").key("redirectBackend");
    let selector_at = backend_at.key("localEndpointSelector");
    let backend = &spec.redirect_backend;
    let endpoint_selector = selector(&backend.local_endpoint_selector, &selector_at, &mut faults);
    let ports_at = backend_at.key("toPorts");
    let backend_ports = ports(&backend.to_ports, &ports_at, &mut faults);
    if backend_ports.is_empty() {
        faults.push(ports_at.key_fault("a policy needs a port to redirect to"));
    }
    let frontend_at = at.key("spec").key("redirectFrontend");
    let frontend = frontend(
        &spec.redirect_frontend,
        &namespace,
        &frontend_at,
        &mut faults,
    );
    let own = policy.metadata.labels.as_ref();
    let own_labels = labels(own, &metadata_at.key("labels"), &mut faults);
    let frontend = faults.clone().or(frontend)?.ok_or(faults)?;
    Ok(Object {
        namespace,
        name: policy.metadata.name,
        labels: own_labels,
        kind: Kind::LocalRedirectPolicy(LocalRedirectPolicy {
            frontend,
            endpoint_selector,
            backend_ports,
            skip_redirect_from_backend: spec.skip_redirect_from_backend,
        }),
        origin: Origin::of_name(document),
    })
}

/// `None` with a fault when there is not exactly one matcher.
fn frontend(
    given: &kubernetes::RedirectFrontend,
    namespace: &str,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<RedirectFrontend> {
    match (&given.service_matcher, &given.address_matcher) {
        (Some(matcher), None) => {
            let at = at.key("serviceMatcher");
            if matcher.namespace != namespace {
                let message = format!(
                    "the service's namespace `{}` is not the policy's, `{namespace}`",
                    matcher.namespace
                );
                let help = "a policy redirects services of its own namespace only";
                faults.push(at.key("namespace").fault(message).with_help(help));
            }
            let given = matcher.to_ports.as_deref().unwrap_or_default();
            Some(RedirectFrontend::Service {
                name: Written {
                    value: matcher.service_name.clone(),
                    span: at.key("serviceName").span(),
                },
                ports: ports(given, &at.key("toPorts"), faults),
            })
        }
        (None, Some(matcher)) => {
            let at = at.key("addressMatcher").key("toPorts");
            if matcher.to_ports.is_empty() {
                faults.push(at.key_fault("an address needs a port to be redirected"));
            }
            Some(RedirectFrontend::Address {
                ip: matcher.ip,
                ports: ports(&matcher.to_ports, &at, faults),
            })
        }
        _ => {
            let message = "a policy has either a `serviceMatcher` or an `addressMatcher`";
            faults.push(at.key_fault(message));
            None
        }
    }
}

fn ports(given: &[PortInfo], at: &At<'_>, faults: &mut Diagnostics) -> Vec<RedirectPort> {
    let mut ports = Vec::with_capacity(given.len());
    for (index, info) in given.iter().enumerate() {
        let at = at.index(index);
        if given.len() > 1 && info.name.is_none() {
            let at = at.key("port");
            faults.push(at.fault("of several ports, each needs a name"));
        }
        // Names are compared in lower case.
        let name = info.name.as_ref().map(|name| name.to_ascii_lowercase());
        if name.is_some() && ports.iter().any(|port: &RedirectPort| port.name == name) {
            faults.push(at.key("name").fault("another port has this name too"));
        }
        match info.port.parse() {
            Ok(port) if port != 0 => ports.push(RedirectPort {
                name,
                port,
                protocol: match info.protocol {
                    PortProtocol::Tcp => Protocol::Tcp,
                    PortProtocol::Udp => Protocol::Udp,
                },
            }),
            _ => {
                let message = format!("`{}` is no port from 1 to 65535", info.port);
                faults.push(at.key("port").fault(message));
            }
        }
    }
    ports
}

/// A CiliumLoadBalancerIPPool.
pub(in crate::manifest) fn load_balancer_ip_pool(
    document: &Document,
) -> Result<Object, Diagnostics> {
    let (pool, mut faults) = document.read_partial::<kubernetes::LoadBalancerIpPool>()?;
    let at = document.at().key("spec");
    let spec = &pool.spec;
    let service_selector = optional_selector(
        spec.service_selector.as_ref(),
        &at.key("serviceSelector"),
        &mut faults,
    );
    let first_last = spec.allow_first_last_ips == YesNo::Yes;
    let mut blocks = Vec::with_capacity(spec.blocks.len());
    for (index, given) in spec.blocks.iter().enumerate() {
        let at = at.key("blocks").index(index);
        let block = block(given, first_last, &at, &mut faults);
        let place = ["cidr", "start"].map(|key| at.key(key));
        let place = place.iter().find(|at| at.exists()).unwrap_or(&at);
        blocks.extend(block.map(|block| (block, place.span())));
    }
    if spec.blocks.is_empty() && at.key("blocks").exists() {
        faults.push(
            at.key("blocks")
                .key_fault("a pool needs a block of addresses"),
        );
    }
    let kind = Kind::LoadBalancerIpPool(LoadBalancerIpPool {
        blocks,
        service_selector,
        disabled: spec.disabled,
    });
    cluster_wide(document, &pool.metadata, kind, faults)
}

/// The addresses of a block. First and last are reserved only where the block
/// has others.
fn block(
    given: &Block,
    first_last: bool,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<RangeInclusive<u32>> {
    match (&given.cidr, given.start, given.stop) {
        (Some(text), None, None) => {
            let Ok(cidr) = text.parse::<Ipv4Net>() else {
                let message = format!("`{text}` is no range of IPv4 addresses like 10.0.10.0/24");
                faults.push(at.key("cidr").fault(message));
                return None;
            };
            let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
            Some(if first_last || cidr.prefix_len() >= 31 {
                first..=last
            } else {
                first + 1..=last - 1
            })
        }
        (None, Some(start), stop) => {
            let stop = stop.unwrap_or(start);
            if stop < start {
                let message = format!("the block ends at {stop}, before it starts");
                faults.push(at.key("stop").fault(message));
                return None;
            }
            Some(u32::from(start)..=u32::from(stop))
        }
        _ => {
            let message = "a block has either a `cidr`, or a `start` and a `stop`";
            faults.push(at.key_fault(message));
            None
        }
    }
}

/// A CiliumL2AnnouncementPolicy.
pub(in crate::manifest) fn l2_announcement_policy(
    document: &Document,
) -> Result<Object, Diagnostics> {
    let (policy, mut faults) = document.read_partial::<kubernetes::L2AnnouncementPolicy>()?;
    let at = document.at().key("spec");
    let spec = &policy.spec;
    let mut optional = |given: &Option<LabelSelector>, key: &str| {
        optional_selector(given.as_ref(), &at.key(key), &mut faults)
    };
    let service_selector = optional(&spec.service_selector, "serviceSelector");
    let node_selector = optional(&spec.node_selector, "nodeSelector");
    let mut interfaces = Vec::new();
    for (index, text) in spec.interfaces.iter().flatten().enumerate() {
        match Regex::new(text) {
            Ok(regex) => interfaces.push(regex),
            Err(error) => {
                let at = at.key("interfaces").index(index);
                let message = format!("`{text}` is no regular expression: {error}");
                faults.push(at.fault(message).with_help("as in `^eth[0-9]+`"));
            }
        }
    }
    let kind = Kind::L2AnnouncementPolicy(L2AnnouncementPolicy {
        service_selector,
        node_selector,
        interfaces,
        load_balancer_ips: spec.load_balancer_ips,
        external_ips: spec.external_ips,
    });
    cluster_wide(document, &policy.metadata, kind, faults)
}

fn optional_selector(
    given: Option<&LabelSelector>,
    at: &At<'_>,
    faults: &mut Diagnostics,
) -> Option<Selector> {
    given.map(|given| selector(given, at, faults))
}

/// An object that belongs to no namespace.
fn cluster_wide(
    document: &Document,
    meta: &kubernetes::ObjectMeta,
    kind: Kind,
    mut faults: Diagnostics,
) -> Result<Object, Diagnostics> {
    let at = document.at().key("metadata");
    metadata(meta, &at, &mut faults);
    if meta.namespace.is_some() {
        let message = format!("a {} belongs to no namespace", kind.as_str());
        let fault = at.key("namespace").key_fault(message);
        faults.push(fault.with_help("leave the namespace out"));
    }
    let labels = labels(meta.labels.as_ref(), &at.key("labels"), &mut faults);
    faults.or(Object {
        namespace: String::new(),
        name: meta.name.clone(),
        labels,
        kind,
        origin: Origin::of_name(document),
    })
}
