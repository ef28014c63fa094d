//! Services: the addresses and node ports that they get, and the pods behind them.

mod addresses;
mod announcements;
mod backends;
mod load_balancer;
mod redirects;

use std::collections::BTreeMap;

use lab_model::diagnostic::Diagnostics;
use lab_model::lab::Lab;
use lab_model::node_state::{Announcement, LocalRedirect, Service};

pub(crate) use backends::RunningPod;

use crate::allocations::{Allocations, ServiceAllocation};
use crate::datapath_settings::devices;
use crate::object::{Kind, Object, ServiceSpec};
use crate::selector::Labels;

/// An object that is a Service.
#[derive(Clone, Copy)]
pub(crate) struct ServiceObject<'a> {
    pub(crate) object: &'a Object,
    pub(crate) spec: &'a ServiceSpec,
}

/// The services among objects, in their order.
pub(crate) fn services_of<'a>(objects: &[&'a Object]) -> Vec<ServiceObject<'a>> {
    let service = |object: &&'a Object| match &object.kind {
        Kind::Service(spec) => Some(ServiceObject { object, spec }),
        _ => None,
    };
    objects.iter().filter_map(service).collect()
}

/// Gives every service the addresses and ports that it asks for or needs, and finds what is to
/// lead to none.
pub(crate) fn allocate(
    lab: &Lab,
    services: &[ServiceObject<'_>],
    objects: &[&Object],
    previous: &Allocations,
    faults: &mut Diagnostics,
) -> BTreeMap<String, ServiceAllocation> {
    let range = lab.values.node_port.range;
    let mut given = addresses::allocate(services, range, previous, faults);
    load_balancer::allocate(services, objects, previous, &mut given, faults);
    faults.extend(redirects::to_aliases(objects, services));
    given
}

/// A service's labels as the selectors of Cilium's objects see them.
fn service_labels(service: &Object) -> Labels {
    let mut labels = service.labels.clone();
    let derived = [
        ("io.kubernetes.service.name", &service.name),
        ("io.kubernetes.service.namespace", &service.namespace),
    ];
    labels.extend(derived.map(|(key, value)| (key.to_owned(), value.clone())));
    labels
}

/// Services, and what leads to them or past them.
pub(crate) struct Portals {
    pub(crate) services: Vec<Service>,
    /// By node.
    pub(crate) redirects: BTreeMap<String, Vec<LocalRedirect>>,
    pub(crate) announcements: Vec<Announcement>,
}

impl Portals {
    /// Everything, once pods have their nodes and addresses. Redirects and
    /// announcements are there only where the lab's values have them obeyed.
    pub(crate) fn new(
        lab: &Lab,
        objects: &[&Object],
        services: &[ServiceObject<'_>],
        allocations: &Allocations,
        pods: &[RunningPod<'_>],
    ) -> Self {
        let resolved = backends::resolve(services, &allocations.services, pods);
        let mut redirects = BTreeMap::new();
        if lab.values.redirects_locally() {
            for node in lab.cluster_nodes() {
                let own = redirects::redirects(objects, &resolved, pods, &node.name);
                redirects.insert(node.name.clone(), own);
            }
        }
        let announcements = if lab.values.l2announcements.enabled {
            let pairs: Vec<_> = services.iter().copied().zip(&resolved).collect();
            announcements::announcements(lab, &devices(lab), objects, &pairs)
        } else {
            Vec::new()
        };
        Self {
            services: resolved,
            redirects,
            announcements,
        }
    }
}
