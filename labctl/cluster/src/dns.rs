//! The objects that `dns:` in a lab file stands for.

use std::net::Ipv4Addr;

use lab_model::diagnostic::Diagnostics;
use lab_model::lab::{Lab, NodeLocalVia};
use lab_model::node_state::PodDns;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::manifest::parse;
use crate::object::Object;

/// Address of the cluster DNS service: the tenth of kubeadm's service range.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// kubeadm's `dnsDomain`.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

const COREDNS: (&str, &str) = (
    "templates/coredns.yaml.j2",
    include_str!("../../../templates/coredns.yaml.j2"),
);
const NODE_LOCAL: (&str, &str) = (
    "templates/nodelocaldns.yaml.j2",
    include_str!("../../../templates/nodelocaldns.yaml.j2"),
);

/// CoreDNS and the cache of each node, as far as the lab has them.
///
/// # Errors
/// Faults of the templates themselves.
pub fn dns_objects(lab: &Lab) -> Result<Vec<Object>, Diagnostics> {
    let Some(dns) = &lab.dns else {
        return Ok(Vec::new());
    };
    let dns_server = CLUSTER_DNS.to_string();
    let context = context! { domain => CLUSTER_DOMAIN, dns_server };
    let mut objects = rendered(COREDNS, &context)?;
    if let Some(cache) = &dns.node_local {
        let context = context! {
            redirect => cache.via == NodeLocalVia::Redirect,
            local_dns => cache.address.to_string(),
            ..context
        };
        objects.extend(rendered(NODE_LOCAL, &context)?);
    }
    Ok(objects)
}

fn rendered((name, template): (&str, &str), context: &Value) -> Result<Vec<Object>, Diagnostics> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = environment
        .render_str(template, context)
        .expect("templates of labctl's own have all that they name; a test renders each");
    parse(name, &text)
}

/// The kubelet's `clusterDNS` and `clusterDomain`, for pods under `ClusterFirst`.
///
/// Where eBPF translates services at the socket, what pods send to the service never
/// comes by the interface that has its address: there the kubelet names the cache.
pub(crate) fn pod_dns(lab: &Lab) -> PodDns {
    let dns = lab.dns.as_ref();
    let cache = dns.and_then(|dns| dns.node_local);
    let by_name = |cache: &lab_model::lab::NodeLocalDns| {
        cache.via == NodeLocalVia::Interface && lab.values.kube_proxy_replacement
    };
    let cache = cache.filter(by_name);
    PodDns {
        nameserver: cache.map_or(CLUSTER_DNS, |cache| cache.address),
        search: vec![format!("svc.{CLUSTER_DOMAIN}"), CLUSTER_DOMAIN.to_owned()],
        node_search: dns.map(|dns| dns.search.clone()).unwrap_or_default(),
        ndots: 5,
    }
}
